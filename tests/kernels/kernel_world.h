// Builds what the kernel tests run on: seeded activations, weights of every format, a filled paged cache with
// a scattered block table, and ragged batches over it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/quant_blocks.h"

namespace sluice::testing {

inline constexpr WeightFormat kAllFormats[] = {
    WeightFormat::kF32,  WeightFormat::kF16,   WeightFormat::kBF16,  WeightFormat::kQ4_0,
    WeightFormat::kQ4_1, WeightFormat::kQ5_0,  WeightFormat::kQ5_1,  WeightFormat::kQ8_0,
    WeightFormat::kQ2_K, WeightFormat::kQ3_K,  WeightFormat::kQ4_K,  WeightFormat::kQ5_K,
    WeightFormat::kQ6_K, WeightFormat::kI4_32, WeightFormat::kI4_64, WeightFormat::kF8};

struct Matrix {
  Matrix(int64_t rows, int64_t columns)
      : values(static_cast<size_t>(rows * columns)), rows(rows), columns(columns) {}
  static Matrix random(int64_t rows, int64_t columns, uint32_t seed, float deviation = 1) {
    Matrix m(rows, columns);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, deviation);
    for (float& v : m.values) v = normal(random);
    return m;
  }
  TensorView view() { return TensorView::of(values.data(), DType::kF32, rows, columns); }
  float* row(int64_t r) { return values.data() + r * columns; }
  std::vector<float> values;
  int64_t rows, columns;
};

// A weight as it lies in a file, with the memory it lies in.
struct FileWeight {
  FileWeight(WeightFormat format, int64_t rows, int64_t columns, uint32_t seed) {
    const auto facts = facts_of(format);
    host = {nullptr, format, rows, columns};
    bytes.resize(host.row_bytes() * static_cast<size_t>(rows));
    host.bytes = bytes.data();
    std::mt19937 random(seed);
    const bool writable = format < WeightFormat::kQ2_K || format > WeightFormat::kQ6_K;
    if (writable) {
      const bool f8 = format == WeightFormat::kF8;  // values of any size, the scales make weights of them
      std::normal_distribution<float> normal(f8 ? 20.0F : 0.01F, f8 ? 100.0F : 0.05F);
      std::vector<float> row(static_cast<size_t>(columns));
      if (f8) scale_blocks(1, columns, random());
      for (int64_t r = 0; r < rows; ++r) {
        for (float& v : row) v = normal(random);
        quantize(format, row.data(), columns, bytes.data() + static_cast<size_t>(r) * host.row_bytes());
      }
      return;
    }
    // K formats are only read: any bits are weights, but the f16 scales must be sane.
    for (auto& b : bytes) b = static_cast<std::byte>(random() & 0xff);
    std::uniform_real_distribution<float> scale(0.0002F, 0.002F);
    const auto put_half = [&](size_t at) {
      const uint16_t half = f32_to_f16(scale(random));
      std::memcpy(bytes.data() + at, &half, 2);
    };
    const auto block_bytes = static_cast<size_t>(facts.block_bytes);
    for (size_t b = 0; b < bytes.size(); b += block_bytes) {
      switch (format) {
        case WeightFormat::kQ2_K:
          put_half(b + 80);
          put_half(b + 82);
          break;
        case WeightFormat::kQ3_K:
          put_half(b + 108);
          break;
        case WeightFormat::kQ4_K:
        case WeightFormat::kQ5_K:
          put_half(b);
          put_half(b + 2);
          break;
        default:
          put_half(b + 208);
          break;
      }
    }
  }

  // F8: a scale for each block of so many rows and columns.
  void scale_blocks(int64_t scale_rows, int64_t scale_columns, uint32_t seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> scale(0.0002F, 0.0008F);
    const int64_t across = (host.columns + scale_columns - 1) / scale_columns;
    scales.resize(static_cast<size_t>((host.rows + scale_rows - 1) / scale_rows * across));
    for (float& s : scales) s = scale(random);
    host.scales = {scales.data(), scale_rows, scale_columns, across};
  }
  // I4: as symmetric checkpoints have it.
  void set_zeros(int zero) {
    for (size_t at = kI4ZeroAt; at < bytes.size();
         at += static_cast<size_t>(facts_of(host.format).block_bytes))
      bytes[at] = static_cast<std::byte>(zero);
  }
  void shuffle_inputs(uint32_t seed) {
    input_order.resize(static_cast<size_t>(host.columns));
    std::iota(input_order.begin(), input_order.end(), 0);
    std::shuffle(input_order.begin(), input_order.end(), std::mt19937(seed));
    host.input_order = input_order;
  }
  // As f32, by inputs of an activation.
  std::vector<float> values() const {
    std::vector<float> all(static_cast<size_t>(host.rows * host.columns)),
        row(static_cast<size_t>(host.columns));
    for (int64_t r = 0; r < host.rows; ++r) {
      dequantize_row(host, r, row.data());
      for (int64_t c = 0; c < host.columns; ++c) {
        const int64_t input = input_order.empty() ? c : input_order[static_cast<size_t>(c)];
        all[static_cast<size_t>(r * host.columns + input)] = row[static_cast<size_t>(c)];
      }
    }
    return all;
  }

  HostWeight host;
  std::vector<std::byte> bytes;
  std::vector<float> scales;
  std::vector<int32_t> input_order;
};

// Sequences with paged caches whose blocks lie scattered over the pool; what no token has written is garbage.
struct Caches {
  Caches(KvLayout layout, int64_t blocks, uint32_t seed)
      : view{.layout = layout, .block_count = blocks}, free_blocks(blocks) {
    keys.resize(layout.block_bytes() * static_cast<size_t>(blocks));
    values.resize(keys.size());
    std::mt19937 random(seed);
    for (int64_t b = 0; b < blocks; ++b) free_blocks[static_cast<size_t>(b)] = static_cast<int32_t>(b);
    std::shuffle(free_blocks.begin(), free_blocks.end(), random);
    fill_with_garbage(keys, layout, random);
    fill_with_garbage(values, layout, random);
    view.keys = keys.data();
    view.values = values.data();
  }

  // Finite garbage of the cache's type.
  static void fill_with_garbage(std::vector<std::byte>& bytes, const KvLayout& layout, std::mt19937& random) {
    std::normal_distribution<float> normal(0, 30);
    for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
      const float v = normal(random);
      const uint32_t pair_bf16 = f32_to_bf16(v) * 0x10001U, pair_f16 = f32_to_f16(v) * 0x10001U;
      if (layout.dtype == DType::kF32) std::memcpy(bytes.data() + at, &v, 4);
      if (layout.dtype == DType::kBF16) std::memcpy(bytes.data() + at, &pair_bf16, 4);
      if (layout.dtype == DType::kF16) std::memcpy(bytes.data() + at, &pair_f16, 4);
      if (layout.dtype == DType::kI8) std::memcpy(bytes.data() + at, &v, 4);  // finite as a scale too
    }
  }

  KvView view;
  std::vector<std::byte> keys, values;
  std::vector<int32_t> free_blocks;
};

// One step over sequences that hold `stored` tokens already and add `added` each.
struct Step {
  struct Part {
    int stored, added;
  };
  Step(const std::vector<Part>& parts, Caches& caches) {
    const int block_tokens = caches.view.layout.block_tokens;
    query_start.push_back(0);
    size_t next_block = 0;
    for (const Part& p : parts)
      stride = std::max<int64_t>(stride, (p.stored + p.added + block_tokens - 1) / block_tokens);
    for (const Part& p : parts) {
      const size_t first = table.size();
      for (int64_t b = 0; b < stride; ++b) {
        const bool used = b * block_tokens < p.stored + p.added;
        table.push_back(used ? caches.free_blocks.at(next_block++)
                             : -1);  // what is not the sequence's must not be read
      }
      for (int i = p.stored; i < p.stored + p.added; ++i) {
        positions.push_back(i);
        slots.push_back(static_cast<int64_t>(table[first + static_cast<size_t>(i / block_tokens)]) *
                            block_tokens +
                        i % block_tokens);
      }
      query_start.push_back(static_cast<int32_t>(positions.size()));
      lengths.push_back(p.stored + p.added);
    }
  }
  StepBatch batch() const {
    StepBatch b;
    b.positions = positions;
    b.slots = slots;
    b.query_start = query_start;
    b.context_lengths = lengths;
    b.block_table = table;
    b.block_table_stride = stride;
    b.token_ids = positions;
    return b;
  }
  std::vector<int32_t> positions, query_start, lengths, table;
  std::vector<int64_t> slots;
  int64_t stride = 1;
};

}  // namespace sluice::testing
