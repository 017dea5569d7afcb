// The whole engine over tiny models of tests/golden: chunks, shared prefixes, preemptions and company change
// no answer.
#include "engine/device_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/engine.h"
#include "kernels/make_backend.h"
#include "models/model_files.h"
#include "tests/engine/engine_world.h"

namespace sluice {
namespace {

using testing::GatheringSink;
using testing::make_request;

struct Setting {
  int max_num_seqs = 8;
  int max_num_batched_tokens = 24;
  int64_t blocks = 40;
  bool prefix_caching = true;
};

Result<std::unique_ptr<ModelRunner>> make_runner(const std::string& name, const std::string& device,
                                                 const EngineOptions& options) {
  auto files = open_model_files("tests/golden/models/" + name);
  if (!files.ok()) return files.error();
  auto backend = make_backend({.device = device, .threads = 2});
  if (!backend.ok()) return backend.error();
  auto model = load_model(
      files->config, *files->tensors, **backend,
      {.max_tokens_per_step = options.max_num_batched_tokens, .max_rows_to_sample = options.max_num_seqs});
  if (!model.ok()) return model.error();
  return DeviceRunner::make(options, files->tokenizer.eos_ids, std::move(*backend), std::move(*model));
}

EngineOptions options_for(const std::string& name, const Setting& setting) {
  const auto config = open_model_files("tests/golden/models/" + name)->config;
  EngineOptions options;
  options.max_model_len = 128;
  options.max_num_seqs = setting.max_num_seqs;
  options.max_num_batched_tokens = setting.max_num_batched_tokens;
  options.enable_prefix_caching = setting.prefix_caching;
  const KvLayout layout{
      .kv_heads = config.kv_heads, .head_size = config.head_size, .dtype = options.kv_cache_dtype};
  options.kv_cache_memory_bytes =
      layout.block_bytes() * 2 * static_cast<size_t>(config.layers) * static_cast<size_t>(setting.blocks);
  return options;
}

struct Answers {
  std::map<uint64_t, GatheringSink::Answer> by_tag;
  EngineStats stats;
};

Answers answer_all(const std::string& name, const std::string& device, const Setting& setting) {
  const EngineOptions options = options_for(name, setting);
  auto runner = make_runner(name, device, options);
  EXPECT_TRUE(runner.ok()) << runner.error().message;
  const int vocabulary = (*runner)->facts().vocabulary;
  auto engine = Engine::start(options, std::move(*runner));
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  auto sink = std::make_shared<GatheringSink>();
  std::mt19937_64 random(3);
  const auto shared = testing::random_tokens(random, 40, vocabulary);
  constexpr int kRequests = 24;
  std::vector<RequestHandle> handles;
  for (uint64_t i = 0; i < kRequests; ++i) {
    auto prompt = testing::random_tokens(random, 1 + static_cast<int>(random() % 50), vocabulary);
    if (i % 2 == 0) prompt.insert(prompt.begin(), shared.begin(), shared.end());
    Request request = make_request(sink, i, prompt, 30);
    request.sampling.ignore_eos = true;
    request.sampling.seed = i;
    if (i % 3 == 0) request.sampling.temperature = 0.8F;
    if (i % 4 == 0) request.sampling.repetition_penalty = 1.3F;
    if (i % 5 == 0) request.sampling.logprobs = 2;
    auto handle = (*engine)->submit(std::move(request));
    EXPECT_TRUE(handle.ok()) << handle.error().message;
    handles.push_back(std::move(*handle));
  }
  sink->wait_for_finals(kRequests);
  return {sink->answers(), (*engine)->stats()};
}

class DeviceRunnerOn : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(DeviceRunnerOn, answers_are_the_same_under_any_schedule) {
  const auto& [name, device] = GetParam();
  const auto alone =
      answer_all(name, device, {.max_num_seqs = 1, .max_num_batched_tokens = 128, .prefix_caching = false});
  EXPECT_EQ(alone.stats.preemptions, 0U);
  const auto crowded = answer_all(name, device, {});
  EXPECT_GT(crowded.stats.prefix_cache_hits, 0U);
  const auto cramped =
      answer_all(name, device, {.max_num_seqs = 16, .max_num_batched_tokens = 16, .blocks = 14});
  EXPECT_GT(cramped.stats.preemptions, 0U);
  for (const auto& [tag, answer] : alone.by_tag) {
    EXPECT_EQ(answer.tokens.size(), 30U);
    EXPECT_EQ(crowded.by_tag.at(tag).tokens, answer.tokens) << "request " << tag;
    EXPECT_EQ(cramped.by_tag.at(tag).tokens, answer.tokens) << "request " << tag;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceRunnerOn,
                         ::testing::Combine(::testing::Values("llama3", "qwen3"),
                                            ::testing::Values("reference", "cpu")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

// What tests/golden/make_model_golden.py wrote: the final hidden states of the logits' own prompt.
struct HiddenGolden {
  std::vector<int32_t> ids;
  std::vector<float> last, mean;
};

HiddenGolden hidden_golden(const std::string& name) {
  const std::string folder = "tests/golden/models/" + name;
  const auto logits = nlohmann::json::parse(std::ifstream(folder + "/logits.json"));
  const auto hidden = nlohmann::json::parse(std::ifstream(folder + "/hidden.json"));
  return {logits.at("ids"), hidden.at("last"), hidden.at("mean")};
}

class Embedding : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(Embedding, is_the_last_or_the_mean_hidden_state_whatever_the_chunks) {
  const auto& [name, device] = GetParam();
  const HiddenGolden golden = hidden_golden(name);
  for (const int chunk : {7, 64}) {
    EngineOptions options = options_for(name, {.max_num_seqs = 4, .max_num_batched_tokens = chunk});
    options.kv_cache_dtype = DType::kF32;
    auto runner = make_runner(name, device, options);
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    auto engine = Engine::start(options, std::move(*runner));
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    auto sink = std::make_shared<GatheringSink>();
    std::vector<RequestHandle> handles;
    for (uint64_t tag = 0; tag < 4; ++tag) {  // the second time over, the prefix cache knows the prompt
      Request request = make_request(sink, tag, golden.ids, 1);
      request.pooling = tag % 2 == 0 ? Pooling::kLast : Pooling::kMean;
      auto handle = (*engine)->submit(std::move(request));
      ASSERT_TRUE(handle.ok()) << handle.error().message;
      handles.push_back(std::move(*handle));
      sink->wait_for_finals(static_cast<int>(tag) + 1);
    }
    for (uint64_t tag = 0; tag < 4; ++tag) {
      const TokenEvent last = sink->answer(tag).last;
      EXPECT_EQ(last.cached_tokens > 0, tag == 2);
      const std::vector<float>& expected = tag % 2 == 0 ? golden.last : golden.mean;
      ASSERT_EQ(last.embedding.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(last.embedding[i], expected[i], std::string(device) == "cpu" ? 0.05 : 5e-4) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Embedding,
                         ::testing::Combine(::testing::Values("llama", "llama3", "mistral", "qwen2", "qwen3"),
                                            ::testing::Values("reference", "cpu")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

class PromptLogprobs : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(PromptLogprobs, are_those_of_transformers_whatever_the_chunks) {
  const auto& [name, device] = GetParam();
  const std::string folder = std::string("tests/golden/models/") + name;
  const auto golden = nlohmann::json::parse(std::ifstream(folder + "/logits.json"));
  const std::vector<int32_t> ids = golden.at("ids");
  const std::vector<std::vector<float>> logits = golden.at("logits");
  for (const int rows : {1, 5, 64}) {
    EngineOptions options = options_for(name, {.max_num_seqs = rows, .max_num_batched_tokens = 64});
    options.kv_cache_dtype = DType::kF32;
    auto runner = make_runner(name, device, options);
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    auto engine = Engine::start(options, std::move(*runner));
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    auto sink = std::make_shared<GatheringSink>();
    Request request = make_request(sink, 1, ids, 1);
    request.sampling.prompt_logprobs = 3;
    auto handle = (*engine)->submit(std::move(request));
    ASSERT_TRUE(handle.ok()) << handle.error().message;
    sink->wait_for_finals(1);
    const auto scored = sink->answer(1).prompt_logprobs;
    ASSERT_EQ(scored.size(), ids.size() - 1);
    for (size_t i = 0; i < scored.size(); ++i) {
      double total = 0;
      for (const float l : logits[i]) total += std::exp(static_cast<double>(l));
      const double expected = logits[i][static_cast<size_t>(ids[i + 1])] - std::log(total);
      EXPECT_EQ(scored[i].id, ids[i + 1]);
      EXPECT_NEAR(scored[i].logprob, expected, std::string(device) == "cpu" ? 0.1 : 1e-3) << i;
      ASSERT_EQ(scored[i].top_logprobs.size(), 3U);
      const auto best = std::max_element(logits[i].begin(), logits[i].end());
      EXPECT_NEAR(scored[i].top_logprobs[0].logprob, *best - std::log(total), 0.1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PromptLogprobs,
                         ::testing::Combine(::testing::Values("llama", "llama3", "mistral", "qwen2", "qwen3"),
                                            ::testing::Values("reference", "cpu")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

TEST(DeviceRunner, takes_the_context_length_from_the_model_and_allows_no_longer_one) {
  EngineOptions options = options_for("llama3", {});
  options.max_model_len = 0;
  options.kv_cache_memory_bytes = 0;
  const auto config = open_model_files("tests/golden/models/llama3")->config;
  auto runner = make_runner("llama3", "reference", options);
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  EXPECT_EQ((*runner)->facts().max_model_len, config.context_length);
  options.max_model_len = config.context_length + 1;
  auto longer = make_runner("llama3", "reference", options);
  ASSERT_FALSE(longer.ok());
  EXPECT_THAT(longer.error().message, ::testing::HasSubstr("at most"));
}

}  // namespace
}  // namespace sluice
