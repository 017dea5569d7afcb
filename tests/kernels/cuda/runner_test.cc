// The whole engine over a tiny model on the device, emulated or real: steps that are planned ahead, recorded
// and run again, preempted and found in the cache change no answer of a deterministic backend.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "engine/device_runner.h"
#include "engine/engine.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/runtime.h"
#include "models/model_files.h"
#include "tests/engine/engine_world.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::GatheringSink;

constexpr int kRequests = 8, kAnswer = 26;

struct Setting {
  int max_num_seqs = 6;
  int max_num_batched_tokens = 40;
  int64_t blocks = 60;
  bool prefix_caching = true;
  bool async_scheduling = true;
  bool graphs = true;
  bool deterministic = true;
};

struct Answers {
  std::map<uint64_t, GatheringSink::Answer> by_tag;
  EngineStats stats;
};

class Runner : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
    TinyShape shape;
    shape.architecture = "llama";
    shape.width = 128;
    shape.mlp_width = 128;
    shape.query_heads = 2;
    shape.kv_heads = 1;
    shape.head_size = 64;
    shape.format = WeightFormat::kBF16;
    file_ =
        std::filesystem::temp_directory_path() / ("sluice_cuda_runner_" + std::to_string(getpid()) + ".gguf");
    write_tiny_gguf(shape, file_);
  }
  void TearDown() override { std::filesystem::remove(file_); }

  std::unique_ptr<ModelRunner> make_runner(EngineOptions& options, const Setting& setting) {
    auto files = open_model_files(file_);
    EXPECT_TRUE(files.ok());
    options.max_model_len = 128;
    options.max_num_seqs = setting.max_num_seqs;
    options.max_num_batched_tokens = setting.max_num_batched_tokens;
    options.enable_prefix_caching = setting.prefix_caching;
    options.async_scheduling = setting.async_scheduling;
    options.kv_cache_dtype = GetParam();
    const KvLayout layout{.kv_heads = files->config.kv_heads,
                          .head_size = files->config.head_size,
                          .dtype = options.kv_cache_dtype,
                          .order = KvOrder::kRows};
    options.kv_cache_memory_bytes = layout.block_bytes() * 2 * static_cast<size_t>(files->config.layers) *
                                    static_cast<size_t>(setting.blocks);
    auto backend =
        std::move(cuda::make_cuda_backend({.deterministic = setting.deterministic, .graphs = setting.graphs}))
            .value();
    auto model = std::move(load_model(files->config, *files->tensors, *backend,
                                      {.max_tokens_per_step = options.max_num_batched_tokens,
                                       .max_rows_to_sample = options.max_num_seqs}))
                     .value();
    return std::move(DeviceRunner::make(options, {}, std::move(backend), std::move(model))).value();
  }

  Answers answer_all(const Setting& setting) {
    EngineOptions options;
    auto runner = make_runner(options, setting);
    const int vocabulary = runner->facts().vocabulary;
    auto engine = std::move(Engine::start(options, std::move(runner))).value();
    auto sink = std::make_shared<GatheringSink>();
    std::mt19937_64 random(3);
    const auto shared = testing::random_tokens(random, 32, vocabulary);
    std::vector<RequestHandle> handles;
    for (uint64_t i = 0; i < kRequests; ++i) {
      auto prompt = testing::random_tokens(random, 1 + static_cast<int>(random() % 20), vocabulary);
      if (i % 2 == 0) prompt.insert(prompt.begin(), shared.begin(), shared.end());
      Request request = testing::make_request(sink, i, prompt, kAnswer);
      request.sampling.ignore_eos = true;
      request.sampling.seed = i;
      if (i % 3 == 0) request.sampling.temperature = 0.8F;
      if (i % 4 == 0) request.sampling.repetition_penalty = 1.3F;
      if (i % 5 == 0) request.sampling.logprobs = 2;
      handles.push_back(std::move(engine->submit(std::move(request))).value());
    }
    sink->wait_for_finals(kRequests);
    return {sink->answers(), engine->stats()};
  }

 private:
  std::filesystem::path file_;
};

TEST_P(Runner, answers_are_the_same_under_any_schedule) {
  const Answers alone = answer_all({.max_num_seqs = 1,
                                    .max_num_batched_tokens = 128,
                                    .prefix_caching = false,
                                    .async_scheduling = false,
                                    .graphs = false});
  EXPECT_EQ(alone.stats.preemptions, 0U);
  const Answers crowded = answer_all({});
  EXPECT_GT(crowded.stats.prefix_cache_hits, 0U);
  const Answers cramped = answer_all({.max_num_seqs = 8, .max_num_batched_tokens = 8, .blocks = 8});
  EXPECT_GT(cramped.stats.preemptions, 0U);
  for (const auto& [tag, answer] : alone.by_tag) {
    EXPECT_EQ(answer.tokens.size(), static_cast<size_t>(kAnswer));
    EXPECT_EQ(crowded.by_tag.at(tag).tokens, answer.tokens) << "request " << tag;
    EXPECT_EQ(cramped.by_tag.at(tag).tokens, answer.tokens) << "request " << tag;
  }
}

// What is faster and not deterministic answers alike where the company is the same.
TEST_P(Runner, answers_alike_whether_steps_are_recorded_and_planned_ahead_or_not) {
  const Setting one_at_a_time{.max_num_seqs = 1, .deterministic = false};
  Setting plain = one_at_a_time;
  plain.async_scheduling = plain.graphs = false;
  const Answers want = answer_all(plain), got = answer_all(one_at_a_time);
  for (const auto& [tag, answer] : want.by_tag)
    EXPECT_EQ(got.by_tag.at(tag).tokens, answer.tokens) << "request " << tag;
}

INSTANTIATE_TEST_SUITE_P(Caches, Runner, ::testing::Values(DType::kBF16, DType::kF8),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace sluice
