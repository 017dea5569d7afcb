#include "bench/kernels_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "models/dummy_tensors.h"
#include "models/model_files.h"

namespace sluice::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr int kRounds = 5;
constexpr int kBlockTokens = 16;
// Weights are used in turn, so many bytes of them that no cache holds all.
constexpr double kManyBytes = 192e6;
constexpr int kMostCopies = 48;

// Memory of the device with small random numbers in it, so that nothing is special about them.
class Memory {
 public:
  static Result<Memory> make(Backend& backend, DType type, int64_t rows, int64_t columns) {
    const auto count = static_cast<size_t>(rows * columns);
    Memory memory;
    SLUICE_ASSIGN(memory.buffer_, backend.allocate(count * bytes_of(type)));
    memory.view_ = TensorView::of(memory.buffer_->data(), type, rows, columns);
    std::mt19937 random(1);
    std::vector<std::byte> values(count * bytes_of(type));
    for (size_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(random() % 2001) * 1e-3F - 1;
      const uint16_t half = type == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      if (type == DType::kF32)
        std::memcpy(&values[i * 4], &value, 4);
      else
        std::memcpy(&values[i * 2], &half, 2);
    }
    backend.copy_to_device(memory.buffer_->data(), values.data(), values.size());
    return memory;
  }
  TensorView head(int64_t rows) const { return view_.head(rows); }
  const float* floats() const { return view_.f32(); }

 private:
  std::unique_ptr<Buffer> buffer_;
  TensorView view_;
};

// So many sequences, each with `stored` tokens in the cache and `added` new ones; their blocks lie one
// sequence after another.
class Batch {
 public:
  Batch(int sequences, int stored, int added, int vocabulary) {
    const int64_t stride = (stored + added + kBlockTokens - 1) / kBlockTokens;
    blocks = sequences * stride;
    table_.resize(static_cast<size_t>(blocks));
    std::iota(table_.begin(), table_.end(), 0);
    for (int s = 0; s < sequences; ++s) {
      for (int i = stored; i < stored + added; ++i) {
        positions_.push_back(i);
        slots_.push_back((s * stride + i / kBlockTokens) * kBlockTokens + i % kBlockTokens);
        ids_.push_back(static_cast<int32_t>((ids_.size() * 7919) % static_cast<size_t>(vocabulary)));
      }
      starts_.push_back(static_cast<int32_t>(positions_.size()));
      lengths_.push_back(stored + added);
      rows_.push_back(static_cast<int32_t>(positions_.size()) - 1);
    }
    batch = {ids_, positions_, slots_, starts_, lengths_, table_, stride, rows_};
  }

  StepBatch batch;
  int64_t blocks = 0;

 private:
  std::vector<int32_t> ids_, positions_, starts_{0}, lengths_, table_, rows_;
  std::vector<int64_t> slots_;
};

class Bench {
 public:
  static Result<std::unique_ptr<Bench>> open(const KernelBenchOptions& options, ModelConfig config,
                                             KernelReport& report,
                                             const std::function<void(const std::string&)>& say) {
    SLUICE_ASSIGN(auto backend, make_backend(options.backend));
    std::unique_ptr<Bench> bench(new Bench(options, std::move(config), std::move(backend), report, say));
    SLUICE_TRY(bench->make_memory());
    return bench;
  }

  Status run() {
    for (const WeightFormat format : options_.weights) SLUICE_TRY(products(format));
    for (const DType cache : options_.caches) SLUICE_TRY(attention(cache));
    pointwise();
    return sampling();
  }

 private:
  Bench(const KernelBenchOptions& options, ModelConfig config, std::unique_ptr<Backend> backend,
        KernelReport& report, const std::function<void(const std::string&)>& say)
      : options_(options),
        c_(std::move(config)),
        backend_(std::move(backend)),
        report_(report),
        say_(say),
        most_tokens_(std::ranges::max(options.tokens)),
        shape_(c_.attention_shape()),
        activation_bytes_(static_cast<double>(bytes_of(backend_->activation_dtype()))) {
    report_.device = backend_->facts().kind + ", " + backend_->facts().name;
    report_.peaks = peaks_of(*backend_);
    say_(peaks_line(report_.device, report_.peaks));
    say_(table_head());
  }

  Status make_memory() {
    const DType type = backend_->activation_dtype();
    const int64_t widest = std::max({2 * c_.mlp_width, shape_.qkv_columns(), c_.width});
    for (Memory* each : {&a_, &b_, &d_}) {
      SLUICE_ASSIGN(*each, Memory::make(*backend_, type, most_tokens_, widest));
    }
    SLUICE_ASSIGN(angles_, Memory::make(*backend_, DType::kF32, most_tokens_, c_.head_size));
    SLUICE_ASSIGN(scale_, Memory::make(*backend_, DType::kF32, 1, std::max(c_.width, c_.head_size)));
    return {};
  }
  // The first `columns` of the memory, tightly packed.
  TensorView cut(const Memory& memory, int64_t rows, int64_t columns) const {
    return TensorView::of(memory.head(1).bytes, backend_->activation_dtype(), rows, columns);
  }

  bool wanted(const std::string& name) const {
    return options_.filter.empty() || name.find(options_.filter) != std::string::npos;
  }

  // `issue` begins the work; it is waited for once a round, as in a step.
  void measure(std::string name, std::string shape, double bytes, double operations,
               const std::function<void()>& issue) {
    const auto run = [&](int times) {
      const auto start = SteadyClock::now();
      for (int i = 0; i < times; ++i) issue();
      backend_->synchronize();
      return std::chrono::duration<double>(SteadyClock::now() - start).count();
    };
    run(1);
    const int times =
        static_cast<int>(std::clamp(options_.min_seconds / std::max(run(2) / 2, 1e-7), 1.0, 1e6));
    std::vector<double> rounds;
    for (int i = 0; i < kRounds; ++i) rounds.push_back(run(times) / times);
    std::ranges::nth_element(rounds, rounds.begin() + kRounds / 2);
    const MachinePeaks& peaks = report_.peaks;
    const double compute = peaks.operations_per_s > 0 ? operations / peaks.operations_per_s : 0;
    report_.kernels.push_back({.operation = std::move(name),
                               .shape = std::move(shape),
                               .seconds = rounds[kRounds / 2],
                               .bytes = bytes,
                               .operations = operations,
                               .limit_s = std::max(bytes / peaks.bytes_per_s, compute)});
    say_(as_line(report_.kernels.back()));
  }

  Status products(WeightFormat format) {
    const int64_t queries = int64_t{c_.query_heads} * c_.head_size;
    const struct {
      const char* name;
      int64_t rows, columns;
    } matrices[] = {{"qkv", shape_.qkv_columns(), c_.width},
                    {"o", c_.width, queries},
                    {"gate_up", 2 * int64_t{c_.mlp_width}, c_.width},
                    {"down", c_.width, c_.mlp_width},
                    {"head", c_.vocabulary, c_.width}};
    SLUICE_ASSIGN(const auto tensors, make_dummy_tensors(format));
    const auto facts = facts_of(format);
    for (const auto& m : matrices) {
      const std::string name = fmt::format("matmul {} {}", m.name, facts.name);
      if (!wanted(name)) continue;
      if (m.columns % facts.block_weights != 0) {
        report_.left_out.push_back(
            fmt::format("{}: {} columns are not whole blocks of {}", name, m.columns, facts.block_weights));
        say_(report_.left_out.back());
        continue;
      }
      SLUICE_TRY(product(name, *tensors, m.rows, m.columns));
    }
    return {};
  }

  Status product(const std::string& name, const TensorSource& tensors, int64_t rows, int64_t columns) {
    SLUICE_ASSIGN(const HostWeight host, tensors.matrix("model.layers.0.mlp.up_proj.weight", rows, columns));
    std::vector<std::unique_ptr<Weight>> copies;
    double bytes = 0;
    while (copies.empty() ||
           (bytes * static_cast<double>(copies.size()) < kManyBytes && copies.size() < kMostCopies)) {
      SLUICE_ASSIGN(auto weight, backend_->load_weight({&host, 1}));
      bytes = static_cast<double>(weight->bytes());
      copies.push_back(std::move(weight));
    }
    SLUICE_ASSIGN(const Memory logits,
                  Memory::make(*backend_, backend_->activation_dtype(), most_tokens_, rows));
    for (const int tokens : options_.tokens) {
      size_t turn = 0;
      measure(name, fmt::format("{} x {} -> {}", tokens, columns, rows),
              bytes + tokens * static_cast<double>(rows + columns) * activation_bytes_,
              2.0 * tokens * static_cast<double>(rows) * static_cast<double>(columns), [&] {
                backend_->matmul(*copies[turn++ % copies.size()], cut(a_, tokens, columns), nullptr,
                                 cut(logits, tokens, rows));
              });
    }
    return {};
  }

  Status attention(DType type) {
    if (std::ranges::count(backend_->kv_types(), type) == 0) {
      report_.left_out.push_back(
          fmt::format("attention {}: this device has no such KV cache", name_of(type)));
      say_(report_.left_out.back());
      return {};
    }
    for (const int tokens : options_.tokens) {
      SLUICE_TRY(
          attend(type, fmt::format("attention decode {}", name_of(type)), tokens, options_.context, 1));
    }
    for (const int tokens : options_.tokens) {
      if (tokens > 1)
        SLUICE_TRY(attend(type, fmt::format("attention prefill {}", name_of(type)), 1, 0, tokens));
    }
    return {};
  }

  Status attend(DType type, const std::string& name, int sequences, int stored, int added) {
    const std::string store = fmt::format("rope_store_kv {}", name_of(type));
    if (!wanted(name) && !wanted(store)) return {};
    const Batch world(sequences, stored, added, c_.vocabulary);
    const KvLayout layout{kBlockTokens, c_.kv_heads, c_.head_size, type, backend_->kv_order()};
    const size_t bytes = layout.block_bytes() * static_cast<size_t>(world.blocks);
    // Caches of several layers, in turn, for the same reason as with weights; each really there.
    const std::vector<std::byte> content(2 * bytes, std::byte{0x3c});  // a small number in every type
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<KvView> caches;
    while (caches.empty() ||
           (static_cast<double>(2 * bytes * caches.size()) < kManyBytes && caches.size() < kMostCopies)) {
      SLUICE_ASSIGN(auto buffer, backend_->allocate(2 * bytes));
      backend_->copy_to_device(buffer->data(), content.data(), content.size());
      caches.push_back({layout, buffer->data(), buffer->data() + bytes, world.blocks});
      buffers.push_back(std::move(buffer));
    }
    const StepBatch& staged = backend_->stage(world.batch);
    const int64_t tokens = world.batch.tokens();
    const TensorView qkv = cut(a_, tokens, shape_.qkv_columns());
    const TensorView out = cut(b_, tokens, int64_t{c_.query_heads} * c_.head_size);
    size_t turn = 0;
    const double token_bytes = 2.0 * c_.kv_heads * c_.head_size * static_cast<double>(bytes_of(type));
    const double head_columns = static_cast<double>(c_.query_heads) * c_.head_size;
    double pairs = 0;
    for (int i = 0; i < added; ++i) pairs += stored + i + 1;
    const std::string shape = fmt::format("{} x {} after {}", sequences, added, stored);
    if (wanted(store)) {
      measure(store, shape,
              static_cast<double>(tokens) * (2.0 * shape_.qkv_columns() * activation_bytes_ + token_bytes), 0,
              [&] {
                backend_->rope_store_kv(
                    staged, shape_, RopeStyle::kHalf,
                    TensorView::of(angles_.head(1).bytes, DType::kF32, tokens, c_.head_size), qkv,
                    caches[turn++ % caches.size()]);
              });
    }
    if (wanted(name)) {
      measure(name, shape,
              sequences * (stored + added) * token_bytes +
                  2 * static_cast<double>(tokens) * head_columns * activation_bytes_,
              4 * sequences * pairs * head_columns,
              [&] { backend_->attention(staged, shape_, qkv, caches[turn++ % caches.size()], out); });
    }
    backend_->synchronize();
    return {};
  }

  void pointwise() {
    const float* scale = scale_.floats();
    const std::vector<float> frequencies(static_cast<size_t>(c_.head_size / 2), 0.1F);
    for (const int t : options_.tokens) {
      const auto one = [&](const char* name, int64_t columns, double passes,
                           const std::function<void()>& issue) {
        if (!wanted(name)) return;
        measure(name, fmt::format("{} x {}", t, columns),
                passes * t * static_cast<double>(columns) * activation_bytes_, 0, issue);
      };
      const TensorView x = cut(a_, t, c_.width), y = cut(b_, t, c_.width), z = cut(d_, t, c_.width);
      const TensorView q = cut(a_, t, int64_t{c_.query_heads} * c_.head_size);
      const TensorView gate_up = cut(a_, t, 2 * int64_t{c_.mlp_width}), inner = cut(b_, t, c_.mlp_width);
      one("rms_norm", c_.width, 2, [&] { backend_->rms_norm(x, scale, 1e-5F, y); });
      one("add_rms_norm", c_.width, 4, [&] { backend_->add_rms_norm(x, y, scale, 1e-5F, z); });
      one("head_norm", q.columns, 2,
          [&] { backend_->head_norm(q, c_.query_heads, c_.head_size, scale, 1e-5F); });
      one("gated_activation", c_.mlp_width, 3,
          [&] { backend_->gated_activation(Activation::kSilu, gate_up, inner); });
      const Batch world(1, 0, t, c_.vocabulary);
      const StepBatch& staged = backend_->stage(world.batch);
      one("rope_angles", c_.head_size, 4 / activation_bytes_, [&] {
        backend_->rope_angles(staged.positions, frequencies, 1,
                              TensorView::of(angles_.head(1).bytes, DType::kF32, t, c_.head_size));
      });
      backend_->synchronize();
    }
  }

  Status sampling() {
    if (!wanted("sample greedy") && !wanted("sample top_p")) return {};
    const int most = std::min(most_tokens_, 256);
    SLUICE_ASSIGN(const Memory logits, Memory::make(*backend_, DType::kF32, most, c_.vocabulary));
    for (const int rows : options_.tokens) {
      if (rows > most) continue;
      for (const bool greedy : {true, false}) {
        const std::string name = greedy ? "sample greedy" : "sample top_p";
        if (!wanted(name)) continue;
        std::vector<SamplingRow> how(static_cast<size_t>(rows));
        for (SamplingRow& row : how) {
          row.temperature = greedy ? 0.0F : 0.8F;
          if (!greedy) row.top_p = 0.95F;
        }
        std::vector<SampledToken> out(how.size());
        measure(name, fmt::format("{} x {}", rows, c_.vocabulary), 4.0 * rows * c_.vocabulary, 0, [&] {
          backend_->sample(logits.head(rows), how, out);
          backend_->finish_sample();
        });
      }
    }
    return {};
  }

  const KernelBenchOptions& options_;
  const ModelConfig c_;
  const std::unique_ptr<Backend> backend_;
  KernelReport& report_;
  const std::function<void(const std::string&)>& say_;
  const int most_tokens_;
  const AttentionShape shape_;
  const double activation_bytes_;
  Memory a_, b_, d_, angles_, scale_;
};

}  // namespace

Result<KernelReport> bench_kernels(const KernelBenchOptions& options,
                                   const std::function<void(const std::string&)>& say) {
  // Shapes are all that is wanted of the model: a config.json alone has them.
  Result<ModelFiles> files = options.model.ends_with(".gguf")
                                 ? open_model_files(options.model)
                                 : open_dummy_model(options.model, WeightFormat::kBF16);
  if (!files.ok()) return files.error();
  KernelReport report;
  SLUICE_ASSIGN(const auto bench, Bench::open(options, files->config, report, say));
  SLUICE_TRY(bench->run());
  return report;
}

std::string table_head() {
  return fmt::format("{:<28} {:<24} {:>11} {:>9} {:>9} {:>8}", "operation", "shape", "time", "GB/s",
                     "GFLOP/s", "of limit");
}

std::string as_line(const KernelFigures& f) {
  const std::string rate = f.operations > 0 ? fmt::format("{:.0f}", f.operations / f.seconds / 1e9) : "-";
  const std::string time = f.seconds < 1e-3 ? fmt::format("{:.2f} us", f.seconds * 1e6)
                                            : fmt::format("{:.3f} ms", f.seconds * 1e3);
  return fmt::format("{:<28} {:<24} {:>11} {:>9.1f} {:>9} {:>7.0f}%", f.operation, f.shape, time,
                     f.bytes / f.seconds / 1e9, rate, 100 * f.share());
}

std::string as_json(const KernelReport& report, const KernelBenchOptions& options) {
  ordered_json out = {{"device", report.device},
                      {"model", options.model},
                      {"context", options.context},
                      {"peak_bytes_per_s", report.peaks.bytes_per_s},
                      {"peak_operations_per_s", report.peaks.operations_per_s},
                      {"peak_operations", report.peaks.operations},
                      {"kernels", ordered_json::array()},
                      {"left_out", report.left_out}};
  for (const KernelFigures& f : report.kernels) {
    out["kernels"].push_back({{"operation", f.operation},
                              {"shape", f.shape},
                              {"seconds", f.seconds},
                              {"bytes", f.bytes},
                              {"operations", f.operations},
                              {"bytes_per_s", f.bytes / f.seconds},
                              {"operations_per_s", f.operations / f.seconds},
                              {"share_of_limit", f.share()}});
  }
  return out.dump(1) + "\n";
}

}  // namespace sluice::bench
