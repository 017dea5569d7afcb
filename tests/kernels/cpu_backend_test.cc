// Every operation of the CPU backend against the reference, under every instruction set that this machine
// runs.
#include "kernels/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/kernel_world.h"

namespace sluice {
namespace {

using testing::Caches;
using testing::FileWeight;
using testing::Matrix;
using testing::Step;

class CpuBackend : public ::testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  void SetUp() override {
    auto made = make_cpu_backend(std::get<1>(GetParam()), std::get<0>(GetParam()));
    ASSERT_TRUE(made.ok()) << made.error().message;
    cpu_ = std::move(made).value();
  }
  std::unique_ptr<Backend> cpu_;
  std::unique_ptr<Backend> reference_ = make_reference_backend();
};

INSTANTIATE_TEST_SUITE_P(Isas, CpuBackend,
                         ::testing::Combine(::testing::ValuesIn(cpu_isas()), ::testing::Values(1, 3)),
                         [](const auto& test) {
                           return std::get<0>(test.param) + "_" + std::to_string(std::get<1>(test.param)) +
                                  "_threads";
                         });

// Largest difference over the root mean square of what was wanted.
double relative_error(const Matrix& got, const Matrix& want) {
  double squares = 0, worst = 0;
  for (size_t i = 0; i < want.values.size(); ++i) {
    squares += static_cast<double>(want.values[i]) * want.values[i];
    const double difference = std::fabs(static_cast<double>(got.values[i]) - want.values[i]);
    if (!(difference <= worst)) worst = difference;  // NaN counts
  }
  return worst / std::sqrt(squares / static_cast<double>(want.values.size()) + 1e-30);
}

// Activations are int8 for quantised weights: some 0.4% of the group's largest value each, averaged over the
// inputs.
double matmul_tolerance(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
    case WeightFormat::kF16:
    case WeightFormat::kF8:
      return 1e-5;
    case WeightFormat::kBF16:
      return 0.02;  // activations may be bf16 too
    default:
      return 0.05;
  }
}

TEST_P(CpuBackend, multiplies_weights_of_every_format) {
  for (const WeightFormat format : testing::kAllFormats) {
    const FileWeight w(format, 100, 512, 7);
    auto packed = cpu_->load_weight({&w.host, 1}), plain = reference_->load_weight({&w.host, 1});
    ASSERT_TRUE(packed.ok() && plain.ok());
    EXPECT_EQ((*packed)->rows(), 100);
    EXPECT_EQ((*packed)->columns(), 512);
    for (const int64_t rows : {1, 2, 7, 33}) {
      Matrix x = Matrix::random(rows, 512, 11), bias = Matrix::random(1, 100, 12), got(rows, 100),
             want(rows, 100);
      cpu_->matmul(**packed, x.view(), bias.row(0), got.view());
      reference_->matmul(**plain, x.view(), bias.row(0), want.view());
      EXPECT_LT(relative_error(got, want), matmul_tolerance(format))
          << facts_of(format).name << ", " << rows << " rows";
    }
  }
}

// Against dequantised activations the integer path is exact up to fp32 rounding: errors of indexing cannot
// hide in int8 noise.
TEST_P(CpuBackend, multiplies_exactly_when_activations_are_whole) {
  for (const WeightFormat format : testing::kAllFormats) {
    const FileWeight w(format, 37, 256, 5);
    auto packed = cpu_->load_weight({&w.host, 1}), plain = reference_->load_weight({&w.host, 1});
    Matrix x(9, 256), got(9, 37), want(9, 37);
    std::mt19937 random(3);
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = static_cast<float>(static_cast<int>(random() % 255) - 127);
      if (i % 32 == 0) x.values[i] = 127;
    }
    cpu_->matmul(**packed, x.view(), nullptr, got.view());
    reference_->matmul(**plain, x.view(), nullptr, want.view());
    // The K formats' products of scales are rounded to f16 in the panel.
    const double tolerance = format >= WeightFormat::kQ2_K ? 2e-3 : 2e-5;
    EXPECT_LT(relative_error(got, want), tolerance) << facts_of(format).name;
  }
}

TEST_P(CpuBackend, fused_parts_of_mixed_formats_and_odd_heights_give_what_each_gives_alone) {
  const FileWeight q(WeightFormat::kQ4_K, 72, 256, 1), k(WeightFormat::kQ6_K, 23, 256, 2),
      v(WeightFormat::kQ8_0, 17, 256, 3), dense(WeightFormat::kF32, 5, 256, 4),
      half(WeightFormat::kBF16, 40, 256, 5);
  const HostWeight parts[] = {q.host, k.host, v.host, dense.host, half.host};
  auto fused = cpu_->load_weight(parts);
  ASSERT_TRUE(fused.ok());
  EXPECT_EQ((*fused)->rows(), 157);
  Matrix x = Matrix::random(13, 256, 9), bias = Matrix::random(1, 157, 2), got(13, 157), want(13, 157);
  cpu_->matmul(**fused, x.view(), bias.row(0), got.view());
  int64_t column = 0;
  for (const HostWeight& part : parts) {
    auto alone = cpu_->load_weight({&part, 1});
    cpu_->matmul(**alone, x.view(), bias.row(0) + column, want.view().slice(column, part.rows));
    column += part.rows;
  }
  EXPECT_EQ(got.values, want.values);
}

// The integers of symmetric checkpoints lose nothing on the way into panels, whatever group they share.
TEST_P(CpuBackend, symmetric_four_bit_weights_are_exact_but_for_their_scales_in_f16) {
  for (const WeightFormat format : {WeightFormat::kI4_32, WeightFormat::kI4_64}) {
    FileWeight w(format, 37, 192, 5);
    w.set_zeros(8);
    auto packed = cpu_->load_weight({&w.host, 1}), plain = reference_->load_weight({&w.host, 1});
    EXPECT_LT((*packed)->bytes() * 8, size_t{48} * 192 * 9 / 2 + 1) << "4.5 bits a weight";
    Matrix got(37, 192), want(37, 192);
    std::vector<int32_t> ids(37);
    std::iota(ids.begin(), ids.end(), 0);
    cpu_->embed(**packed, ids, got.view());
    reference_->embed(**plain, ids, want.view());
    EXPECT_EQ(got.values, want.values) << facts_of(format).name;
  }
}

TEST_P(CpuBackend, f8_weights_have_scales_by_rows_or_blocks_and_any_width_of_eights) {
  for (const auto& [scale_rows, scale_columns] : {std::pair(1, 0), std::pair(1000, 0), std::pair(16, 128)}) {
    for (const int64_t columns : {8, 120, 136, 384}) {
      FileWeight w(WeightFormat::kF8, 41, columns, 5);
      w.scale_blocks(scale_rows, scale_columns == 0 ? columns : scale_columns, 9);
      for (int i = 0; i < 256; ++i) {  // every number there is
        if ((i & 0x7f) != 0x7f && i < columns) w.bytes[static_cast<size_t>(i)] = static_cast<std::byte>(i);
      }
      auto packed = cpu_->load_weight({&w.host, 1}), plain = reference_->load_weight({&w.host, 1});
      Matrix x = Matrix::random(7, columns, 8), got(7, 41), want(7, 41);
      cpu_->matmul(**packed, x.view(), nullptr, got.view());
      reference_->matmul(**plain, x.view(), nullptr, want.view());
      EXPECT_LT(relative_error(got, want), 1e-5) << scale_rows << " " << scale_columns << " " << columns;
    }
  }
  FileWeight narrow(WeightFormat::kF8, 4, 256, 5);
  narrow.scale_blocks(1, 64, 9);
  EXPECT_EQ(cpu_->load_weight({&narrow.host, 1}).error().code, ErrorCode::kUnsupported);
}

TEST_P(CpuBackend, sorted_inputs_find_their_activations) {
  for (const WeightFormat format : {WeightFormat::kI4_32, WeightFormat::kF32}) {
    FileWeight a(format, 40, 256, 5), b(format, 9, 256, 6);
    a.shuffle_inputs(3);
    b.shuffle_inputs(3);
    const HostWeight parts[] = {a.host, b.host};
    auto packed = cpu_->load_weight(parts), plain = reference_->load_weight(parts);
    ASSERT_TRUE(packed.ok() && plain.ok());
    for (const int64_t rows : {1, 70}) {
      Matrix x = Matrix::random(rows, 256, 8), got(rows, 49), want(rows, 49), by_hand(rows, 49);
      cpu_->matmul(**packed, x.view(), nullptr, got.view());
      reference_->matmul(**plain, x.view(), nullptr, want.view());
      EXPECT_LT(relative_error(got, want), matmul_tolerance(format));
      std::vector<float> values = a.values();
      const std::vector<float> more = b.values();
      values.insert(values.end(), more.begin(), more.end());
      reference::matmul(values.data(), 49, 256, x.view(), nullptr, by_hand.view());
      EXPECT_EQ(want.values, by_hand.values);
    }
    Matrix got(2, 256), want(2, 256);
    const std::vector<int32_t> ids = {3, 44};
    cpu_->embed(**packed, ids, got.view());
    reference_->embed(**plain, ids, want.view());
    EXPECT_LT(relative_error(got, want), 4e-3);
    b.shuffle_inputs(4);
    const HostWeight unequal[] = {a.host, b.host};
    EXPECT_EQ(cpu_->load_weight(unequal).error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(reference_->load_weight(unequal).error().code, ErrorCode::kUnsupported);
  }
}

TEST_P(CpuBackend, dense_weights_may_have_any_width) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
    for (const int64_t columns : {1, 7, 40, 65}) {
      const FileWeight w(format, 19, columns, 5);
      auto packed = cpu_->load_weight({&w.host, 1}), plain = reference_->load_weight({&w.host, 1});
      Matrix x = Matrix::random(5, columns, 8), got(5, 19), want(5, 19);
      cpu_->matmul(**packed, x.view(), nullptr, got.view());
      reference_->matmul(**plain, x.view(), nullptr, want.view());
      EXPECT_LT(relative_error(got, want), matmul_tolerance(format))
          << facts_of(format).name << " " << columns;
    }
  }
}

TEST_P(CpuBackend, a_slice_of_columns_is_an_input_and_an_output) {
  const FileWeight w(WeightFormat::kQ8_0, 32, 64, 5);
  auto packed = cpu_->load_weight({&w.host, 1});
  Matrix wide = Matrix::random(4, 200, 1), out = Matrix::random(4, 100, 2), before = out, narrow(4, 64),
         want(4, 32);
  for (int r = 0; r < 4; ++r) std::copy_n(wide.row(r) + 30, 64, narrow.row(r));
  cpu_->matmul(**packed, narrow.view(), nullptr, want.view());
  cpu_->matmul(**packed, wide.view().slice(30, 64), nullptr, out.view().slice(10, 32));
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 100; ++c) {
      ASSERT_EQ(out.row(r)[c], c >= 10 && c < 42 ? want.row(r)[c - 10] : before.row(r)[c]) << r << " " << c;
    }
  }
}

TEST_P(CpuBackend, a_row_of_a_product_has_the_same_bits_in_any_company) {
  const WeightFormat formats[] = {WeightFormat::kF32,  WeightFormat::kBF16, WeightFormat::kQ4_0,
                                  WeightFormat::kQ4_1, WeightFormat::kQ8_0, WeightFormat::kQ5_1,
                                  WeightFormat::kQ6_K, WeightFormat::kQ2_K, WeightFormat::kI4_32,
                                  WeightFormat::kF8};
  Matrix x = Matrix::random(40, 256, 21);
  for (const WeightFormat format : formats) {
    const FileWeight w(format, 83, 256, 6);
    auto packed = cpu_->load_weight({&w.host, 1});
    Matrix alone(40, 83);
    for (int64_t r = 0; r < 40; ++r) {
      cpu_->matmul(**packed, TensorView::of(x.row(r), DType::kF32, 1, 256), nullptr,
                   TensorView::of(alone.row(r), DType::kF32, 1, 83));
    }
    for (int64_t rows = 1; rows <= 40; ++rows) {
      for (const int64_t first : {int64_t{0}, 40 - rows}) {
        Matrix got(rows, 83);
        cpu_->matmul(**packed, TensorView::of(x.row(first), DType::kF32, rows, 256), nullptr, got.view());
        ASSERT_EQ(std::memcmp(got.row(0), alone.row(first), got.values.size() * 4), 0)
            << facts_of(format).name << ", rows " << first << " to " << first + rows;
      }
    }
  }
}

TEST_P(CpuBackend, embeds_rows_of_every_format) {
  for (const WeightFormat format : testing::kAllFormats) {
    const FileWeight a(format, 21, 256, 7), b(format, 30, 256, 8);
    const HostWeight parts[] = {a.host, b.host};
    auto packed = cpu_->load_weight(parts), plain = reference_->load_weight(parts);
    const std::vector<int32_t> ids = {0, 20, 21, 50, 16, 15, 37, 3, 3};
    Matrix got(9, 256), want(9, 256);
    cpu_->embed(**packed, ids, got.view());
    reference_->embed(**plain, ids, want.view());
    EXPECT_LT(relative_error(got, want), format >= WeightFormat::kQ2_K ? 4e-3 : 1e-5)
        << facts_of(format).name;
  }
}

TEST_P(CpuBackend, refuses_weights_that_cannot_be) {
  const FileWeight a(WeightFormat::kQ4_0, 4, 64, 7), b(WeightFormat::kQ4_0, 4, 96, 7);
  const HostWeight unequal[] = {a.host, b.host};
  EXPECT_EQ(cpu_->load_weight(unequal).error().code, ErrorCode::kCorrupt);
  HostWeight ragged = a.host;
  ragged.columns = 63;
  EXPECT_EQ(cpu_->load_weight({&ragged, 1}).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(cpu_->allocate(size_t{1} << 50).error().code, ErrorCode::kOutOfMemory);
}

TEST_P(CpuBackend, normalises) {
  for (const int64_t width : {1, 8, 64, 100, 576, 1000}) {
    Matrix x = Matrix::random(9, width, 1, 3), delta = Matrix::random(9, width, 2),
           scale = Matrix::random(1, width, 3);
    Matrix got(9, width), want(9, width), x2 = x;
    cpu_->rms_norm(x.view(), scale.row(0), 1e-5F, got.view());
    reference_->rms_norm(x.view(), scale.row(0), 1e-5F, want.view());
    EXPECT_LT(relative_error(got, want), 1e-5) << width;
    cpu_->add_rms_norm(x.view(), delta.view(), scale.row(0), 1e-6F, got.view());
    reference_->add_rms_norm(x2.view(), delta.view(), scale.row(0), 1e-6F, want.view());
    EXPECT_LT(relative_error(got, want), 1e-5) << width;
    EXPECT_EQ(x.values, x2.values) << width;
  }
  for (const int head_size : {8, 64, 80, 128}) {
    Matrix x = Matrix::random(6, 3 * head_size, 4), scale = Matrix::random(1, head_size, 5), x2 = x;
    cpu_->head_norm(x.view(), 3, head_size, scale.row(0), 1e-6F);
    reference_->head_norm(x2.view(), 3, head_size, scale.row(0), 1e-6F);
    EXPECT_LT(relative_error(x, x2), 1e-5) << head_size;
  }
}

TEST_P(CpuBackend, activates) {
  for (const auto kind : {Activation::kSilu, Activation::kGeluTanh}) {
    for (const int64_t width : {5, 64, 1536}) {
      Matrix x = Matrix::random(7, 2 * width, 1, 5), got(7, width), want(7, width);
      x.values[0] = 200, x.values[1] = -200, x.values[2] = 0;
      cpu_->gated_activation(kind, x.view(), got.view());
      reference_->gated_activation(kind, x.view(), want.view());
      EXPECT_LT(relative_error(got, want), 1e-5) << width;
    }
  }
}

TEST_P(CpuBackend, gathers_rows_and_makes_angles) {
  Matrix x = Matrix::random(9, 33, 1), got(3, 33);
  const std::vector<int32_t> rows = {8, 0, 8};
  cpu_->gather_rows(x.view(), rows, got.view());
  for (int r = 0; r < 3; ++r)
    EXPECT_EQ(std::memcmp(got.row(r), x.row(rows[static_cast<size_t>(r)]), 33 * 4), 0);
  const std::vector<int32_t> positions = {0, 1, 77, 131071};
  const std::vector<float> frequencies = {1, 0.5F, 0.01F, 1e-5F};
  Matrix angles(4, 8), want(4, 8);
  cpu_->rope_angles(positions, frequencies, 1.25F, angles.view());
  reference_->rope_angles(positions, frequencies, 1.25F, want.view());
  EXPECT_LT(relative_error(angles, want), 1e-6);
}

struct AttentionCase {
  int query_heads, kv_heads, head_size, block_tokens, window;
  DType dtype;
  std::vector<Step::Part> parts;
};

// bf16 scores and weights where the machine multiplies bf16; int8 caches are compared with what the cache
// holds.
double attention_tolerance(DType dtype) {
  return dtype == DType::kBF16 ? 0.03 : 5e-5;
}

TEST_P(CpuBackend, attends_as_the_reference_does) {
  std::vector<AttentionCase> cases;
  const std::vector<Step::Part> mixed = {{0, 1},   {15, 1},  {16, 1},  {0, 17}, {63, 2},
                                         {250, 9}, {255, 1}, {256, 1}, {600, 3}};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    cases.push_back({9, 3, 64, 16, 0, dtype, mixed});
    cases.push_back({4, 4, 80, 32, 0, dtype, mixed});
    cases.push_back({8, 1, 96, 16, 0, dtype, {{0, 40}, {300, 1}}});
    cases.push_back({4, 2, 128, 64, 100, dtype, mixed});
    cases.push_back({6, 1, 256, 16, 0, dtype, {{10, 3}, {500, 1}}});
    cases.push_back({10, 2, 72, 128, 7, dtype, {{0, 90}, {129, 30}, {513, 1}}});
    cases.push_back({2, 1, 8, 16, 0, dtype, {{0, 5}, {20, 1}}});
    cases.push_back({70, 1, 64, 16, 0, dtype, {{0, 3}, {1000, 1}}});
  }
  uint32_t seed = 1;
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(name_of(c.dtype)) + " D=" + std::to_string(c.head_size) +
                 " seed=" + std::to_string(++seed));
    const AttentionShape shape{c.query_heads, c.kv_heads, c.head_size,
                               1 / std::sqrt(static_cast<float>(c.head_size)), c.window};
    Caches caches({c.block_tokens, c.kv_heads, c.head_size, c.dtype}, 300, seed);
    std::vector<Step::Part> whole;
    for (const auto& p : c.parts) whole.push_back({0, p.stored + p.added});
    const Step fill(whole, caches), step(c.parts, caches);
    std::vector<float> frequencies(static_cast<size_t>(c.head_size / 2));
    for (size_t i = 0; i < frequencies.size(); ++i)
      frequencies[i] = std::pow(10000.0F, -2.0F * static_cast<float>(i) / c.head_size);

    // Rotation and stores: each backend into a cache of its own.
    const auto tokens = static_cast<int64_t>(fill.positions.size());
    Matrix angles(tokens, c.head_size), qkv = Matrix::random(tokens, shape.qkv_columns(), seed), qkv2 = qkv;
    reference_->rope_angles(fill.positions, frequencies, 1, angles.view());
    Caches other = caches;
    other.view.keys = other.keys.data();
    other.view.values = other.values.data();
    const RopeStyle style = seed % 2 == 0 ? RopeStyle::kHalf : RopeStyle::kInterleaved;
    cpu_->rope_store_kv(fill.batch(), shape, style, angles.view(), qkv.view(), caches.view);
    reference_->rope_store_kv(fill.batch(), shape, style, angles.view(), qkv2.view(), other.view);
    ASSERT_LT(relative_error(qkv, qkv2), 1e-5);
    size_t unequal_bytes = 0;  // neighbouring roundings of values that differ in the last fp32 bit
    for (size_t i = 0; i < caches.keys.size(); ++i) {
      unequal_bytes +=
          (caches.keys[i] != other.keys[i] ? 1U : 0U) + (caches.values[i] != other.values[i] ? 1U : 0U);
    }
    ASSERT_LT(unequal_bytes, caches.keys.size() / (c.dtype == DType::kF32 ? 5 : 200));

    // Both over the reference's cache, whose answer is the same for every instruction set.
    Matrix q = Matrix::random(static_cast<int64_t>(step.positions.size()), shape.qkv_columns(), seed + 100);
    Matrix got(q.rows, c.query_heads * c.head_size);
    static std::map<uint32_t, Matrix> answers;
    const auto [answer, is_new] = answers.try_emplace(seed, q.rows, got.columns);
    if (is_new) reference_->attention(step.batch(), shape, q.view(), other.view, answer->second.view());
    cpu_->attention(step.batch(), shape, q.view(), other.view, got.view());
    EXPECT_LT(relative_error(got, answer->second), attention_tolerance(c.dtype));
  }
}

// The same tokens as one prefill, as chunks, as a decode of one, and among others: the same bits.
TEST_P(CpuBackend, attention_of_a_token_has_the_same_bits_however_it_is_scheduled) {
  constexpr int kTokens = 600;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    for (const int window : {0, 70}) {
      const AttentionShape shape{6, 2, 64, 0.125F, window};
      Caches caches({16, 2, 64, dtype}, 200, 3);
      const Step whole({{0, kTokens}}, caches);
      Matrix qkv = Matrix::random(kTokens, shape.qkv_columns(), 4), angles(kTokens, 64),
             want(kTokens, 6 * 64);
      const std::vector<float> frequencies(32, 0.1F);
      cpu_->rope_angles(whole.positions, frequencies, 1, angles.view());
      cpu_->rope_store_kv(whole.batch(), shape, RopeStyle::kHalf, angles.view(), qkv.view(), caches.view);
      cpu_->attention(whole.batch(), shape, qkv.view(), caches.view, want.view());
      const auto expect_same = [&](const std::vector<std::pair<int, int>>& ranges) {
        std::vector<Step::Part> parts;
        int64_t rows = 0;
        for (const auto& [first, last] : ranges) {
          parts.push_back({first, last - first});
          rows += last - first;
        }
        Step step(parts, caches);  // all of them over the one sequence's blocks
        Matrix q(rows, qkv.columns), got(rows, want.columns);
        int64_t row = 0;
        for (size_t s = 0; s < ranges.size(); ++s) {
          for (int64_t b = 0; b < step.stride; ++b) {
            step.table[s * static_cast<size_t>(step.stride) + static_cast<size_t>(b)] =
                whole.table[static_cast<size_t>(b)];
          }
          for (int t = ranges[s].first; t < ranges[s].second; ++t)
            std::copy_n(qkv.row(t), qkv.columns, q.row(row++));
        }
        cpu_->attention(step.batch(), shape, q.view(), caches.view, got.view());
        row = 0;
        for (const auto& [first, last] : ranges) {
          for (int t = first; t < last; ++t, ++row) {
            ASSERT_EQ(std::memcmp(got.row(row), want.row(t), static_cast<size_t>(want.columns) * 4), 0)
                << name_of(dtype) << " token " << t << " of " << first << " to " << last << ", window "
                << window;
          }
        }
      };
      for (const int token : {0, 1, 15, 63, 64, 255, 256, 257, 511, 599}) expect_same({{token, token + 1}});
      expect_same({{0, 100}});
      expect_same({{100, 357}});
      expect_same({{357, 600}});
      expect_same({{599, 600}, {3, 4}, {256, 300}, {70, 71}, {0, 64}, {598, 600}});
    }
  }
}

// What lies in slots that no token of the sequence has written changes nothing.
TEST_P(CpuBackend, attention_ignores_what_lies_behind_the_context) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    const AttentionShape shape{4, 2, 64, 0.125F, 0};
    Matrix results[2] = {Matrix(3, 256), Matrix(3, 256)};
    for (uint32_t garbage = 0; garbage < 2; ++garbage) {
      Caches caches({16, 2, 64, dtype}, 40, 5);  // the same block order
      std::mt19937 random(garbage);
      Caches::fill_with_garbage(caches.keys, caches.view.layout, random);
      Caches::fill_with_garbage(caches.values, caches.view.layout, random);
      const Step step({{0, 3}}, caches);
      Matrix qkv = Matrix::random(3, shape.qkv_columns(), 4), angles = Matrix::random(3, 64, 5);
      cpu_->rope_store_kv(step.batch(), shape, RopeStyle::kHalf, angles.view(), qkv.view(), caches.view);
      cpu_->attention(step.batch(), shape, qkv.view(), caches.view, results[garbage].view());
    }
    EXPECT_EQ(results[0].values, results[1].values) << name_of(dtype);
  }
}

}  // namespace
}  // namespace sluice
