// Gathers the loops into the table of this instruction set. Included last by isa_*.cc inside their anonymous
// namespace, after kTableName has been set.
constexpr KernelTable make_table() {
  KernelTable t{};
  t.name = kTableName;
#ifdef SLUICE_DOT_BF16
  t.bf16_dot = true;
#endif
  const auto at = [&](PanelFormat f) -> auto& {
    return t.matmul[static_cast<int>(f)];
  };
  at(PanelFormat::kNibble) = matmul_panels<QuantPanel<true, false, 32>>;
  at(PanelFormat::kNibbleMin) = matmul_panels<QuantPanel<true, true, 32>>;
  at(PanelFormat::kByte) = matmul_panels<QuantPanel<false, false, 32>>;
  at(PanelFormat::kByteMin) = matmul_panels<QuantPanel<false, true, 32>>;
  at(PanelFormat::kNibble16) = matmul_panels<QuantPanel<true, false, 16>>;
  at(PanelFormat::kNibbleMin16) = matmul_panels<QuantPanel<true, true, 16>>;
  at(PanelFormat::kByte16) = matmul_panels<QuantPanel<false, false, 16>>;
  at(PanelFormat::kF32) = matmul_panels<DensePanel<PanelFormat::kF32>>;
  at(PanelFormat::kF16) = matmul_panels<DensePanel<PanelFormat::kF16>>;
  at(PanelFormat::kBF16) = matmul_panels<DensePanel<PanelFormat::kBF16>>;
  at(PanelFormat::kF8) = matmul_panels<F8Panel>;
  t.quantize_row = quantize_row;
  t.round_row = round_row;
  t.rms_norm = rms_norm;
  t.add = add;
  t.silu_mul = silu_mul;
  t.gelu_mul = gelu_mul;
  t.rotate_half = rotate_half;
  t.rotate_interleaved = rotate_interleaved;
  t.store_kv[static_cast<int>(CacheType::kF32)] = store_kv<CacheType::kF32>;
  t.store_kv[static_cast<int>(CacheType::kF16)] = store_kv<CacheType::kF16>;
  t.store_kv[static_cast<int>(CacheType::kBF16)] = store_kv<CacheType::kBF16>;
  t.store_kv[static_cast<int>(CacheType::kI8)] = store_kv<CacheType::kI8>;
  t.attend[static_cast<int>(CacheType::kF32)] = attend<CacheType::kF32>;
  t.attend[static_cast<int>(CacheType::kF16)] = attend<CacheType::kF16>;
  t.attend[static_cast<int>(CacheType::kBF16)] = attend<CacheType::kBF16>;
  t.attend[static_cast<int>(CacheType::kI8)] = attend<CacheType::kI8>;
  t.merge = merge;
  t.finish = finish;
  t.largest = largest_of;
  t.argmax = argmax;
  t.exp_sum = exp_sum;
  t.collect_at_least = collect_at_least;
  return t;
}

constexpr KernelTable kTable = make_table();
