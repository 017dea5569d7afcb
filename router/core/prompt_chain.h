// Names every prefix of a prompt: bytes or token ids in, a chain of 64-bit hashes out, the i-th of which
// covers all that stands before it. Whoever shares the first i hashes shares the first i pieces. Pure; any
// thread; no allocation: the caller brings the room.
//
// Text is cut into chunks of 512 bytes and hashed with a hash of the router's own under a secret seed, so
// that nobody outside can make two texts collide. Token ids are cut into KV blocks and hashed as the engine
// does (base/block_hash.h). What is left over behind the last whole chunk or block has no name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::router {

inline constexpr size_t kChunkBytes = 512;

// A prompt as the router knows it. `unit` and `size` count bytes for text and tokens for blocks.
struct PromptChain {
  enum class Kind : uint8_t { kText, kBlocks };
  Kind kind = Kind::kText;
  uint32_t unit = kChunkBytes;   // of one hash
  uint64_t size = 0;             // of the whole prompt, with the part behind the last hash
  std::vector<uint64_t> hashes;  // at most size / unit; fewer when the room was too small
};

// The seed of a text chain: `secret` of this router's start and what tells prompts apart before their text:
// model, cache salt, tools, template arguments. Each field's length counts, so fields cannot flow together.
uint64_t text_seed(uint64_t secret, std::span<const std::string_view> fields);

// Hashes text that comes in pieces.
class TextChain {
 public:
  // Hashes go to `room`, as many as fit; the rest of the text is only counted.
  TextChain(uint64_t seed, std::span<uint64_t> room) : room_(room), hash_(seed) {}

  void add(std::string_view piece);

  std::span<const uint64_t> hashes() const { return room_.first(count_); }
  uint64_t bytes() const { return bytes_; }

 private:
  void add_chunk(const char* bytes);

  std::span<uint64_t> room_;
  size_t count_ = 0;
  uint64_t hash_;
  uint64_t bytes_ = 0;
  size_t held_ = 0;                        // bytes in partial_
  std::array<char, kChunkBytes> partial_;  // of a chunk that pieces share
};

// Hashes the whole blocks of `tokens` into `room`, as many as fit; returns how many.
size_t chain_blocks(uint64_t salt, std::span<const int32_t> tokens, uint32_t block_tokens,
                    std::span<uint64_t> room);

}  // namespace sluice::router
