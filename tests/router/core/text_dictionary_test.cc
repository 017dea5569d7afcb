#include "router/core/text_dictionary.h"

#include <gtest/gtest.h>

#include <random>

#include "base/hash.h"
#include "router/core/prompt_chain.h"

namespace sluice::router {
namespace {

constexpr uint32_t kBlock = 16;

// A prompt of pieces; each has its own bytes per token, as prose and code do.
struct Prompt {
  std::vector<uint64_t> chunks, blocks;
  std::vector<double> chunk_tokens;  // true number of tokens at each chunk's end
  uint64_t bytes = 0;
  uint32_t tokens = 0;
};

Prompt make_prompt(std::initializer_list<std::pair<uint64_t, size_t>> pieces) {
  Prompt prompt;
  uint64_t chunk = 1, block = 2;
  std::vector<uint64_t> token_ids;
  for (const auto& [id, bytes] : pieces) {
    const double bytes_per_token = 2.5 + static_cast<double>(id % 5) * 0.7;
    double left = 0;
    for (size_t b = 0; b < bytes; ++b) {
      chunk = hash_combine(chunk, hash_combine(id, b));
      if (++prompt.bytes % kChunkBytes == 0) {
        prompt.chunks.push_back(chunk);
        prompt.chunk_tokens.push_back(static_cast<double>(token_ids.size()));
      }
      if ((left += 1) >= bytes_per_token) {
        left -= bytes_per_token;
        token_ids.push_back(hash_combine(id, b));
      }
    }
  }
  prompt.tokens = static_cast<uint32_t>(token_ids.size());
  for (size_t i = 0; i + kBlock <= token_ids.size(); i += kBlock) {
    for (size_t j = 0; j < kBlock; ++j) block = hash_combine(block, token_ids[i + j]);
    prompt.blocks.push_back(block);
  }
  return prompt;
}

void learn(TextDictionary& dictionary, const Prompt& prompt) {
  dictionary.learn({.chunks = prompt.chunks,
                    .bytes = prompt.bytes,
                    .prompt_tokens = prompt.tokens,
                    .block_tokens = kBlock,
                    .blocks = prompt.blocks});
}

TEST(TextDictionary, knows_a_prompt_that_it_was_taught) {
  TextDictionary dictionary(1 << 20, 1);
  const Prompt prompt = make_prompt({{3, 30'000}});
  learn(dictionary, prompt);
  for (size_t i = 0; i < prompt.chunks.size(); ++i) {
    const auto meaning = dictionary.find(prompt.chunks[i]);
    ASSERT_TRUE(meaning.has_value()) << i;
    EXPECT_EQ(meaning->block, prompt.blocks[meaning->tokens / kBlock - 1]);
    EXPECT_NEAR(meaning->tokens, prompt.chunk_tokens[i], kBlock + 2) << i;
  }
}

TEST(TextDictionary, corrects_itself_until_all_that_share_a_text_agree) {
  // A system prompt of one density and questions of others: proportion alone misplaces the border.
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TextDictionary dictionary(4 << 20, seed);
    std::mt19937_64 random(seed);
    const size_t shared = 4096 + random() % 20'000;
    std::vector<Prompt> prompts;
    for (uint64_t user = 0; user < 40; ++user) {
      prompts.push_back(make_prompt({{5, shared}, {100 + user + seed * 100, 2000 + random() % 9000}}));
    }
    for (int round = 0; round < 3; ++round) {
      for (const Prompt& prompt : prompts) learn(dictionary, prompt);
    }
    const size_t last_shared = shared / kChunkBytes - 1;
    for (size_t i = 0; i <= last_shared; ++i) {
      const auto meaning = dictionary.find(prompts[0].chunks[i]);
      if (!meaning) continue;
      // Never a block that holds what only one of them has, and not far below what is shared.
      EXPECT_LE(meaning->tokens, prompts[0].chunk_tokens[last_shared] + kChunkBytes / 2.5) << "seed " << seed;
      for (const Prompt& prompt : prompts) {
        ASSERT_EQ(prompt.blocks[meaning->tokens / kBlock - 1], meaning->block) << "seed " << seed << " " << i;
      }
      EXPECT_GE(meaning->tokens, prompts[0].chunk_tokens[i] * 0.8 - 4 * kBlock)
          << "seed " << seed << " " << i;
    }
    EXPECT_TRUE(dictionary.find(prompts[0].chunks[last_shared]).has_value());
  }
}

TEST(TextDictionary, takes_lessons_that_make_no_sense) {
  TextDictionary dictionary(1 << 16, 1);
  const Prompt prompt = make_prompt({{3, 30'000}});
  TextDictionary::Lesson lesson{.chunks = prompt.chunks, .block_tokens = kBlock, .blocks = prompt.blocks};
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{600}, ~uint64_t{0}}) {
    for (const uint32_t tokens : {0U, 1U, 4'000'000'000U}) {
      lesson.bytes = bytes;
      lesson.prompt_tokens = tokens;
      dictionary.learn(lesson);
    }
  }
  for (const uint64_t chunk : prompt.chunks) {
    const auto meaning = dictionary.find(chunk);
    EXPECT_TRUE(!meaning || meaning->tokens / kBlock <= prompt.blocks.size());
  }
}

TEST(TextDictionary, keeps_its_bytes) {
  TextDictionary dictionary(1 << 16, 1);
  const uint64_t bytes = dictionary.bytes();
  for (uint64_t i = 0; i < 50; ++i) learn(dictionary, make_prompt({{1000 + i, 40'000}}));
  EXPECT_EQ(dictionary.bytes(), bytes);
  EXPECT_LE(bytes, 1U << 16);
}

}  // namespace
}  // namespace sluice::router
