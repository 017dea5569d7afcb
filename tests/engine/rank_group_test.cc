// The whole engine over models that are divided among ranks: the answers of one rank, whatever the schedule;
// and an end with a sentence when a rank is lost.
#include "engine/rank_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/make_backend.h"
#include "models/model_files.h"
#include "tests/engine/engine_world.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::GatheringSink;
using testing::make_request;
using testing::small_runner;

constexpr int kAnswer = 20;  // tokens

struct Setting {
  int max_num_seqs = 8;
  int max_num_batched_tokens = 24;
  int64_t blocks = 40;
  bool prefix_caching = true;
  bool async_scheduling = true;
};

struct Answers {
  std::map<uint64_t, GatheringSink::Answer> by_tag;
  EngineStats stats;
};

// Each rank's memory is what `blocks` blocks of its own heads take.
Result<std::unique_ptr<ModelRunner>> runner_of(const ModelFiles& files, const BackendOptions& devices,
                                               EngineOptions options, int64_t blocks) {
  auto backends = make_backends(devices);
  if (!backends.ok()) return backends.error();
  auto models = load_models(
      files.config, *files.tensors, *backends,
      {.max_tokens_per_step = options.max_num_batched_tokens, .max_rows_to_sample = options.max_num_seqs});
  if (!models.ok()) return models.error();
  const KvLayout layout{.kv_heads = (*models)[0]->held().kv_heads,
                        .head_size = files.config.head_size,
                        .dtype = options.kv_cache_dtype};
  options.kv_cache_memory_bytes =
      layout.block_bytes() * 2 * static_cast<size_t>(files.config.layers) * static_cast<size_t>(blocks);
  return make_runner(options, files.tokenizer.eos_ids, std::move(*backends), std::move(*models));
}

Answers answer_all(const std::string& path, const BackendOptions& devices, const Setting& setting) {
  const auto files = std::move(open_model_files(path)).value();
  EngineOptions options;
  options.max_model_len = 128;
  options.max_num_seqs = setting.max_num_seqs;
  options.max_num_batched_tokens = setting.max_num_batched_tokens;
  options.enable_prefix_caching = setting.prefix_caching;
  options.async_scheduling = setting.async_scheduling;
  auto runner = runner_of(files, devices, options, setting.blocks);
  EXPECT_TRUE(runner.ok()) << runner.error().message;
  EXPECT_EQ((*runner)->facts().block_count, setting.blocks);
  auto engine = Engine::start(options, std::move(*runner));
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  auto sink = std::make_shared<GatheringSink>();
  std::mt19937_64 random(3);
  const auto shared = testing::random_tokens(random, 40, files.config.vocabulary);
  constexpr int kRequests = 16;
  std::vector<RequestHandle> handles;
  for (uint64_t i = 0; i < kRequests; ++i) {
    auto prompt =
        testing::random_tokens(random, 1 + static_cast<int>(random() % 50), files.config.vocabulary);
    if (i % 2 == 0) prompt.insert(prompt.begin(), shared.begin(), shared.end());
    Request request = make_request(sink, i, prompt, kAnswer);
    request.sampling.ignore_eos = true;
    request.sampling.seed = i;
    if (i % 4 == 0) request.sampling.repetition_penalty = 1.3F;
    if (i % 5 == 0) request.sampling.logprobs = 2;
    auto handle = (*engine)->submit(std::move(request));
    EXPECT_TRUE(handle.ok()) << handle.error().message;
    handles.push_back(std::move(*handle));
  }
  sink->wait_for_finals(kRequests);
  return {sink->answers(), (*engine)->stats()};
}

void expect_the_answers_of_one_rank(const std::string& path, const std::string& device, int ranks) {
  const auto alone = answer_all(path, {.device = device, .threads = 2},
                                {.max_num_seqs = 1, .max_num_batched_tokens = 128, .prefix_caching = false});
  const BackendOptions devices{.device = device, .ranks = ranks, .threads = 2};
  const auto crowded = answer_all(path, devices, {});
  EXPECT_GT(crowded.stats.prefix_cache_hits, 0U);
  const auto cramped =
      answer_all(path, devices,
                 {.max_num_seqs = 16, .max_num_batched_tokens = 16, .blocks = 10, .async_scheduling = false});
  EXPECT_GT(cramped.stats.preemptions, 0U);
  for (const auto& [tag, answer] : alone.by_tag) {
    EXPECT_EQ(answer.tokens.size(), size_t{kAnswer});
    EXPECT_EQ(crowded.by_tag.at(tag).tokens, answer.tokens) << path << ", request " << tag;
    EXPECT_EQ(cramped.by_tag.at(tag).tokens, answer.tokens) << path << ", request " << tag;
  }
}

class RankGroupOf : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(RankGroupOf, golden_models_answers_as_one_rank_does_under_any_schedule) {
  const auto& [device, ranks] = GetParam();
  for (const std::string name : {"llama", "llama3", "mistral", "qwen2", "qwen3"})
    expect_the_answers_of_one_rank("tests/golden/models/" + name, device, ranks);
}

TEST_P(RankGroupOf, quantised_models_answers_as_one_rank_does_under_any_schedule) {
  const auto& [device, ranks] = GetParam();
  for (const auto format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0}) {
    const TempFolder folder;
    write_tiny_gguf({.head_size = 32, .mlp_width = 160, .tied_embedding = true, .format = format},
                    folder / "tiny.gguf");
    expect_the_answers_of_one_rank(folder / "tiny.gguf", device, ranks);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, RankGroupOf,
                         ::testing::Combine(::testing::Values("reference", "cpu"), ::testing::Values(2, 4)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(RankGroup, has_as_many_blocks_as_the_fullest_rank_can_hold) {
  // Three kv heads on two ranks: one holds two of them, and half as many blocks in the same memory.
  const TempFolder folder;
  write_tiny_gguf({.query_heads = 6, .kv_heads = 3}, folder / "tiny.gguf");
  const auto files = std::move(open_model_files(folder / "tiny.gguf")).value();
  EngineOptions options;
  options.max_model_len = 64;
  options.kv_cache_memory_bytes = KvLayout{.kv_heads = 1, .head_size = 16}.block_bytes() * 2 * 2 * 40;
  auto backends = std::move(make_backends({.device = "reference", .ranks = 2})).value();
  auto models = std::move(load_models(files.config, *files.tensors, backends, {})).value();
  const auto runner = make_runner(options, {}, std::move(backends), std::move(models));
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  EXPECT_EQ((*runner)->facts().block_count, 20);
}

// A rank that goes wrong in its third step.
class LostRank final : public ModelRunner {
 public:
  enum class Way { kThrows, kHangs };
  explicit LostRank(Way way) : way_(way), facts_(small_runner().facts) {}
  const RunnerFacts& facts() const override { return facts_; }
  void launch(const StepBatch&) override {
    if (++steps_ < 3) return;
    if (way_ == Way::kThrows) throw std::runtime_error("its memory is full");
    std::this_thread::sleep_for(std::chrono::hours(1));
  }
  void sample(std::span<const SamplingRow>) override {}
  std::span<const SampledToken> collect() override { return {}; }
  std::span<const float> hidden() const override { return {}; }

 private:
  const Way way_;
  const RunnerFacts facts_;
  int steps_ = 0;
};

void run_with(LostRank::Way way) {
  std::vector<std::unique_ptr<ModelRunner>> ranks;
  ranks.push_back(std::make_unique<SimulatedRunner>(small_runner()));
  ranks.push_back(std::make_unique<LostRank>(way));
  auto engine = Engine::start(testing::options_for(small_runner()),
                              std::make_unique<RankGroup>(std::move(ranks), std::chrono::milliseconds(200)));
  auto sink = std::make_shared<GatheringSink>();
  const auto handle = (*engine)->submit(make_request(sink, 1, {5, 6, 7}, 8));
  sink->wait_for_finals(1);
}

TEST(RankGroupDeathTest, ends_the_process_with_a_sentence_when_a_rank_is_lost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run_with(LostRank::Way::kThrows), ::testing::ExitedWithCode(1),
              "Rank 1 of 2 failed: its memory is full");
  EXPECT_EXIT(run_with(LostRank::Way::kHangs), ::testing::ExitedWithCode(1),
              "Rank 1 of 2 has not ended a step that rank 0 ended");
}

}  // namespace
}  // namespace sluice
