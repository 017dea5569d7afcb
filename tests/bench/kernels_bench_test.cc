#include "bench/kernels_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/temp_folder.h"

namespace sluice::bench {
namespace {

using ::testing::HasSubstr;

constexpr const char* kTiny = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1,
  "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 512,
  "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true
})";

class KernelsBench : public ::testing::Test {
 protected:
  KernelsBench() {
    write_file(folder_ / "config.json", kTiny);
    options_.model = folder_.path();
    options_.backend.device = "reference";
    options_.weights = {WeightFormat::kF32};
    options_.caches = {DType::kF32};
    options_.tokens = {1, 3};
    options_.context = 20;
    options_.min_seconds = 1e-4;
  }
  Result<KernelReport> run() {
    return bench_kernels(options_, [](const std::string&) {});
  }
  static const KernelFigures& find(const KernelReport& report, const std::string& operation,
                                   const std::string& shape) {
    const auto at = std::ranges::find_if(report.kernels, [&](const KernelFigures& each) {
      return each.operation == operation && each.shape == shape;
    });
    EXPECT_NE(at, report.kernels.end()) << operation << " " << shape;
    return at == report.kernels.end() ? report.kernels.front() : *at;
  }

  TempFolder folder_;
  KernelBenchOptions options_;
};

TEST_F(KernelsBench, counts_what_each_operation_moves_and_computes) {
  const auto report = run();
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->left_out.empty());
  for (const KernelFigures& each : report->kernels) {
    EXPECT_GT(each.seconds, 0) << each.operation;
    EXPECT_GT(each.bytes, 0) << each.operation;
    EXPECT_GE(each.limit_s, each.bytes / report->peaks.bytes_per_s) << each.operation;
  }
  // Q, K and V are (4 + 2 * 2) * 16 rows of 64; each weight is read once, each input and output too.
  const KernelFigures& qkv = find(*report, "matmul qkv F32", "3 x 64 -> 128");
  EXPECT_EQ(qkv.bytes, 4.0 * (64 * 128 + 3 * (64 + 128)));
  EXPECT_EQ(qkv.operations, 2.0 * 3 * 64 * 128);
  EXPECT_EQ(find(*report, "matmul head F32", "1 x 64 -> 512").operations, 2.0 * 64 * 512);
  // Three sequences look at 21 tokens each: keys and values of two heads, queries and answers of four.
  const KernelFigures& decode = find(*report, "attention decode f32", "3 x 1 after 20");
  EXPECT_EQ(decode.bytes, 3 * (21 * 2 * 2 * 16 * 4.0 + 2 * 4 * 16 * 4));
  EXPECT_EQ(decode.operations, 4.0 * 3 * 21 * 4 * 16);
  // A prompt of three: 1 + 2 + 3 pairs.
  EXPECT_EQ(find(*report, "attention prefill f32", "1 x 3 after 0").operations, 4.0 * 6 * 4 * 16);
  EXPECT_EQ(find(*report, "add_rms_norm", "3 x 64").bytes, 4.0 * 3 * 64 * 4);
  EXPECT_EQ(find(*report, "sample greedy", "3 x 512").bytes, 4.0 * 3 * 512);
  for (const char* name : {"rms_norm", "gated_activation", "head_norm", "rope_angles", "sample top_p"}) {
    EXPECT_TRUE(std::ranges::any_of(report->kernels, [&](const auto& each) {
      return each.operation == name;
    })) << name;
  }
}

TEST_F(KernelsBench, says_what_the_shapes_or_the_device_do_not_allow) {
  options_.weights = {WeightFormat::kQ4_K};
  options_.caches = {DType::kF8};
  options_.filter = "a";
  const auto report = run();
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_THAT(report->left_out, ::testing::Contains(HasSubstr("64 columns are not whole blocks of 256")));
  EXPECT_THAT(report->left_out, ::testing::Contains(HasSubstr("no such KV cache")));
  options_.model = folder_ / "none";
  EXPECT_FALSE(run().ok());
}

TEST_F(KernelsBench, measures_what_the_filter_names) {
  options_.filter = "rms";
  const auto report = run();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->kernels.size(), 4U);
  for (const KernelFigures& each : report->kernels) EXPECT_THAT(each.operation, HasSubstr("rms_norm"));
  EXPECT_THAT(as_json(*report, options_), HasSubstr("\"share_of_limit\""));
}

}  // namespace
}  // namespace sluice::bench
