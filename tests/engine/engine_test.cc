#include "engine/engine.h"

#include <gtest/gtest.h>

#include "tests/engine/engine_world.h"

namespace sluice {
namespace {

using testing::expected_answer;
using testing::GatheringSink;
using testing::make_request;
using testing::options_for;
using testing::random_tokens;
using testing::small_runner;
using testing::start_engine;

TEST(Engine, answers_each_of_many_requests_as_if_it_were_alone) {
  const auto runner = small_runner();
  auto engine = start_engine(runner, options_for(runner));
  auto sink = std::make_shared<GatheringSink>();
  std::mt19937_64 random(7);
  constexpr int kRequests = 64;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<RequestHandle> handles;
  for (int i = 0; i < kRequests; ++i) {
    prompts.push_back(random_tokens(random, 1 + static_cast<int>(random() % 300), 1000));
    auto handle = engine->submit(make_request(sink, static_cast<uint64_t>(i), prompts.back(), 40));
    ASSERT_TRUE(handle.ok()) << handle.error().message;
    handles.push_back(std::move(handle).value());
  }
  sink->wait_for_finals(kRequests);
  for (int i = 0; i < kRequests; ++i) {
    const auto answer = sink->answer(static_cast<uint64_t>(i));
    SamplingParams sampling;
    sampling.max_tokens = 40;
    sampling.temperature = 0;
    EXPECT_EQ(answer.tokens, expected_answer(runner, prompts[static_cast<size_t>(i)], sampling).tokens)
        << "request " << i;
    EXPECT_EQ(answer.finals, 1);
    EXPECT_EQ(answer.last.finish_reason, FinishReason::kLength);
    EXPECT_EQ(answer.last.completion_tokens, 40);
  }
  EXPECT_TRUE(engine->idle());
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
  EXPECT_EQ(engine->stats().finished[static_cast<size_t>(FinishReason::kLength)], uint64_t{kRequests});
}

}  // namespace
}  // namespace sluice
