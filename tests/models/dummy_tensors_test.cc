// Models without weights: every format gives finite weights of the usual size, and a model of them runs.
#include "models/dummy_tensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "kernels/quant_blocks.h"
#include "kernels/reference/reference_backend.h"
#include "models/model.h"
#include "tests/support/solo_sequence.h"

namespace sluice {
namespace {

class DummyTensors : public ::testing::TestWithParam<WeightFormat> {};

TEST_P(DummyTensors, are_finite_and_of_the_usual_size_to_the_last_row) {
  const auto tensors = std::move(make_dummy_tensors(GetParam())).value();
  constexpr int64_t kRows = 40000, kColumns = 1024;  // further than one run of random bytes
  const HostWeight weight = std::move(tensors->matrix("any", kRows, kColumns)).value();
  std::vector<float> row(kColumns);
  for (const int64_t r : {int64_t{0}, int64_t{17}, kRows / 2, kRows - 1}) {
    dequantize_row(weight, r, row.data());
    double squares = 0;
    for (const float value : row) {
      ASSERT_TRUE(std::isfinite(value)) << "row " << r;
      squares += static_cast<double>(value) * value;
    }
    const double deviation = std::sqrt(squares / kColumns);
    EXPECT_GT(deviation, 0.004) << "row " << r;
    EXPECT_LT(deviation, 0.1) << "row " << r;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DummyTensors,
                         ::testing::Values(WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16,
                                           WeightFormat::kQ4_0, WeightFormat::kQ8_0, WeightFormat::kQ4_K,
                                           WeightFormat::kQ6_K, WeightFormat::kI4_32, WeightFormat::kI4_64,
                                           WeightFormat::kF8),
                         [](const auto& info) { return std::string(facts_of(info.param).name); });

TEST(DummyTensors, refuse_what_they_cannot_write) {
  EXPECT_EQ(make_dummy_tensors(WeightFormat::kQ3_K).error().code, ErrorCode::kUnsupported);
  const auto tensors = std::move(make_dummy_tensors(WeightFormat::kQ4_K)).value();
  EXPECT_EQ(tensors->matrix("narrow", 4, 64).error().code, ErrorCode::kUnsupported);
}

TEST(DummyModel, needs_a_config_alone) {
  const auto file =
      std::filesystem::temp_directory_path() / ("sluice_dummy_" + std::to_string(getpid()) + ".json");
  std::ofstream(file) << R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,
    "intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
    "vocab_size":100,"max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false})";
  const auto opened = open_dummy_model(file.string(), WeightFormat::kBF16);
  std::filesystem::remove(file);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto backend = make_reference_backend();
  const auto model = std::move(load_model(opened->config, *opened->tensors, *backend,
                                          {.max_tokens_per_step = 8, .max_rows_to_sample = 8}))
                         .value();
  SoloSequence sequence(*model, *backend, DType::kF32, 16);
  const std::vector<std::vector<float>> logits = sequence.append({1, 2, 3});
  for (const float logit : logits.back()) EXPECT_TRUE(std::isfinite(logit));
  EXPECT_EQ(open_dummy_model("/nowhere", WeightFormat::kBF16).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace sluice
