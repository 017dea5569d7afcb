#include "router/core/prompt_chain.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

#include "base/block_hash.h"

namespace sluice::router {
namespace {

std::string random_text(std::mt19937_64& random, size_t size) {
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::vector<uint64_t> chain_of(uint64_t seed, std::span<const std::string_view> pieces, size_t room = 1000) {
  std::vector<uint64_t> hashes(room);
  TextChain chain(seed, hashes);
  for (const std::string_view piece : pieces) chain.add(piece);
  return {chain.hashes().begin(), chain.hashes().end()};
}

TEST(PromptChain, is_the_same_however_the_text_is_cut) {
  std::mt19937_64 random(1);
  const std::string text = random_text(random, 20'000);
  const std::string_view whole[] = {text};
  const auto expected = chain_of(7, whole);
  ASSERT_EQ(expected.size(), 20'000 / kChunkBytes);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string_view> pieces;
    for (std::string_view rest = text; !rest.empty();) {
      const size_t taken = std::min<size_t>(rest.size(), random() % (round % 2 == 0 ? 100 : 3000));
      pieces.push_back(rest.substr(0, taken));
      rest.remove_prefix(taken);
    }
    ASSERT_EQ(chain_of(7, pieces), expected) << "round " << round;
  }
}

TEST(PromptChain, shares_exactly_the_chunks_before_the_first_difference) {
  std::mt19937_64 random(2);
  const std::string text = random_text(random, 40 * kChunkBytes);
  const std::string_view whole[] = {text};
  const auto chain = chain_of(7, whole);
  for (size_t at = 0; at < text.size(); at += 97) {
    std::string other = text;
    other[at] = static_cast<char>(other[at] ^ (1 << (at % 8)));
    const std::string_view changed[] = {other};
    const auto other_chain = chain_of(7, changed);
    for (size_t i = 0; i < chain.size(); ++i) {
      ASSERT_EQ(chain[i] == other_chain[i], i < at / kChunkBytes) << "byte " << at << " chunk " << i;
    }
  }
}

TEST(PromptChain, seeds_part_prompts_and_fields_do_not_flow_together) {
  const std::string text(4096, 'x');
  const std::string_view whole[] = {text};
  std::set<uint64_t> first;
  for (const std::vector<std::string_view>& fields :
       {std::vector<std::string_view>{"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {}}) {
    first.insert(chain_of(text_seed(5, fields), whole).front());
    first.insert(chain_of(text_seed(6, fields), whole).front());
  }
  EXPECT_EQ(first.size(), 10U);
}

TEST(PromptChain, counts_what_has_no_room) {
  const std::string text(10 * kChunkBytes + 5, 'x');
  std::vector<uint64_t> room(3);
  TextChain chain(1, room);
  chain.add(text);
  chain.add(text);
  EXPECT_EQ(chain.hashes().size(), 3U);
  EXPECT_EQ(chain.bytes(), 2 * text.size());
}

TEST(PromptChain, blocks_are_the_engines) {
  std::vector<int32_t> tokens(50);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 31);
  std::vector<uint64_t> room(10);
  ASSERT_EQ(chain_blocks(9, tokens, 16, room), 3U);
  uint64_t hash = prefix_seed(9);
  for (size_t i = 0; i < 3; ++i) {
    hash = block_hash(hash, std::span<const int32_t>(tokens).subspan(i * 16, 16));
    EXPECT_EQ(room[i], hash);
  }
  EXPECT_EQ(chain_blocks(9, tokens, 16, std::span(room).first(2)), 2U);
  EXPECT_EQ(chain_blocks(9, {}, 16, room), 0U);
}

}  // namespace
}  // namespace sluice::router
