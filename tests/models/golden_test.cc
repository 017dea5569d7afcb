// Logits held against transformers': tests/golden/make_model_golden.py wrote the models and the numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/make_backend.h"
#include "models/model.h"
#include "models/model_files.h"
#include "tests/support/solo_sequence.h"

namespace sluice {
namespace {

using nlohmann::json;

json read_json(const std::string& path) {
  std::ifstream in(path);
  return json::parse(in);
}

struct Opened {
  ModelFiles files;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
};

Opened open(const std::string& path, const std::string& device) {
  auto files = open_model_files(path);
  if (!files.ok()) throw std::runtime_error(files.error().message);
  auto backend = std::move(make_backend({.device = device})).value();
  auto model = load_model(files->config, *files->tensors, *backend,
                          {.max_tokens_per_step = 128, .max_rows_to_sample = 128});
  if (!model.ok()) throw std::runtime_error(model.error().message);
  return {std::move(*files), std::move(backend), std::move(*model)};
}

class TinyModel : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(TinyModel, logits_equal_those_of_transformers_however_the_prompt_is_cut) {
  const auto& [name, device] = GetParam();
  const std::string folder = std::string("tests/golden/models/") + name;
  const json golden = read_json(folder + "/logits.json");
  const std::vector<int32_t> ids = golden["ids"];
  auto world = open(folder, device);
  // The file's own rounding apart, both compute in fp32; our CPU kernels multiply bf16 weights with bf16
  // activations.
  const bool half_weights = std::string(name) != "llama" && std::string(name) != "qwen3";
  const float tolerance = half_weights && std::string(device) == "cpu" ? 0.15F : 5e-4F;
  for (const size_t cut : {ids.size(), size_t{1}, size_t{17}}) {
    SoloSequence sequence(*world.model, *world.backend, DType::kF32, 64);
    for (size_t first = 0; first < ids.size(); first += cut) {
      const size_t last = std::min(first + cut, ids.size());
      const auto logits =
          sequence.append({ids.begin() + static_cast<long>(first), ids.begin() + static_cast<long>(last)});
      for (size_t i = first; i < last; ++i) {
        for (size_t v = 0; v < logits[0].size(); ++v) {
          ASSERT_NEAR(logits[i - first][v], golden["logits"][i][v].get<float>(), tolerance)
              << "position " << i << " token " << v << " chunks of " << cut;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, TinyModel,
                         testing::Combine(testing::Values("llama", "llama3", "mistral", "qwen2", "qwen3"),
                                          testing::Values("reference", "cpu")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

// Checkpoints of every quantised kind, by tests/golden/make_quantised_golden.py: what they stand for,
// computed in fp32.
class QuantisedModel : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(QuantisedModel, gives_the_logits_of_the_weights_it_stands_for) {
  const auto& [name, device] = GetParam();
  const std::string folder = std::string("tests/golden/quantised/") + name;
  const json golden = read_json(folder + "/logits.json");
  const std::vector<int32_t> ids = golden["ids"];
  auto world = open(folder, device);
  SoloSequence sequence(*world.model, *world.backend, DType::kF32, 64);
  const auto logits = sequence.append(ids);
  ASSERT_EQ(logits.size(), ids.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t v = 0; v < logits[i].size(); ++v) {
      const double want = golden["logits"][i][v].get<double>();
      difference += std::pow(logits[i][v] - want, 2);
      size += want * want;
    }
  }
  // Our CPU multiplies 4-bit weights with int8 activations.
  const bool four_bits = !std::string_view(name).starts_with("f8");
  EXPECT_LT(std::sqrt(difference / size), four_bits && std::string_view(device) == "cpu" ? 0.06 : 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Golden, QuantisedModel,
                         testing::Combine(testing::Values("awq", "gptq", "gptq_v2", "gptq_order", "packed",
                                                          "packed_rows", "f8_tensor", "f8_rows", "f8_blocks"),
                                          testing::Values("reference", "cpu")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

std::string default_model() {
  const char* path = std::getenv("SLUICE_TEST_MODEL");
  return path != nullptr && std::filesystem::exists(path) ? path : "";
}

// log(sum(exp)) of a row, in double.
double log_sum_exp(const std::vector<float>& row) {
  const double largest = *std::max_element(row.begin(), row.end());
  double total = 0;
  for (const float v : row) total += std::exp(v - largest);
  return std::log(total) + largest;
}

TEST(SmolLM2, fp32_twin_equals_transformers_on_the_dequantised_weights) {
  if (default_model().empty())
    GTEST_SKIP() << "needs the default model: SLUICE_TEST_MODEL=FILE.gguf (./test sets it)";
  auto world = open(default_model(), "reference");
  // The reference is slow: one prompt.
  const json prompt = read_json("tests/golden/smollm2.json")["prompts"][0];
  SoloSequence sequence(*world.model, *world.backend, DType::kF32, 64);
  const auto logits = sequence.append(prompt["ids"]);
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(log_sum_exp(logits[i]), prompt["log_sum_exp"][i].get<double>(), 5e-3) << i;
    for (size_t k = 0; k < 32; ++k) {
      const auto id = prompt["top_ids"][i][k].get<size_t>();
      EXPECT_NEAR(logits[i][id], prompt["top_logits"][i][k].get<float>(), 2e-2)
          << "position " << i << " token " << id;
    }
  }
}

// The whole fast path (int8 activations, bf16 cache) against transformers in fp32: how often the most likely
// token is the same, and KL(fp32 || ours) over the 32 most likely tokens and the rest taken as one.
TEST(SmolLM2, quantised_path_stays_close_to_transformers) {
  if (default_model().empty())
    GTEST_SKIP() << "needs the default model: SLUICE_TEST_MODEL=FILE.gguf (./test sets it)";
  auto world = open(default_model(), "cpu");
  int agree = 0, positions = 0;
  double divergence = 0;
  const json golden = read_json("tests/golden/smollm2.json");
  for (const auto& prompt : golden["prompts"]) {
    SoloSequence sequence(*world.model, *world.backend, DType::kBF16, 128);
    const auto logits = sequence.append(prompt["ids"]);
    for (size_t i = 0; i < logits.size(); ++i, ++positions) {
      const auto best = std::max_element(logits[i].begin(), logits[i].end()) - logits[i].begin();
      agree += best == prompt["top_ids"][i][0].get<long>() ? 1 : 0;
      const double ours = log_sum_exp(logits[i]), theirs = prompt["log_sum_exp"][i];
      double p_rest = 1, q_rest = 1;
      for (size_t k = 0; k < 32; ++k) {
        const double p = prompt["top_logits"][i][k].get<double>() - theirs;
        const double q = logits[i][prompt["top_ids"][i][k].get<size_t>()] - ours;
        divergence += std::exp(p) * (p - q);
        p_rest -= std::exp(p);
        q_rest -= std::exp(q);
      }
      if (p_rest > 1e-6 && q_rest > 1e-6) divergence += p_rest * std::log(p_rest / q_rest);
    }
  }
  const double share = static_cast<double>(agree) / positions, mean = divergence / positions;
  std::printf("top-1 agreement %.3f over %d positions, mean KL %.5f nats\n", share, positions, mean);
  RecordProperty("top1_agreement", std::to_string(share));
  RecordProperty("mean_kl_nats", std::to_string(mean));
  EXPECT_GE(share, 0.95);
  EXPECT_LE(mean, 0.01);
}

}  // namespace
}  // namespace sluice
