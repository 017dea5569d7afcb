#include "router/core/prompt_chain.h"

#include <algorithm>
#include <cstring>

#include "base/block_hash.h"
#include "base/check.h"

namespace sluice::router {
namespace {

uint64_t load(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

// Four lanes that do not wait for one another: a fold takes four cycles and two 8-byte words, so one chain of
// folds would hash some 16 bytes in five cycles and four hash 64.
uint64_t hash_chunk(uint64_t seed, const char* bytes) {
  uint64_t lanes[4] = {seed ^ 0x2d358dccaa6c78a5ULL, seed ^ 0x8bb84b93962eacc9ULL,
                       seed ^ 0x4b33a62ed433d4a3ULL, seed ^ 0x4d5a2da51de1aa47ULL};
  for (size_t i = 0; i < kChunkBytes; i += 64) {
    for (size_t lane = 0; lane < 4; ++lane) {
      lanes[lane] = hash_fold(load(bytes + i + 16 * lane) ^ lanes[lane],
                              load(bytes + i + 16 * lane + 8) ^ 0xa0761d6478bd642fULL);
    }
  }
  return hash_combine(hash_combine(hash_combine(lanes[0], lanes[1]), lanes[2]), lanes[3] ^ seed);
}

}  // namespace

uint64_t text_seed(uint64_t secret, std::span<const std::string_view> fields) {
  uint64_t seed = hash_combine(secret, fields.size());
  for (const std::string_view field : fields) seed = hash_bytes(field.data(), field.size(), seed);
  return seed;
}

void TextChain::add_chunk(const char* bytes) {
  if (count_ == room_.size()) return;
  hash_ = hash_chunk(hash_, bytes);
  room_[count_++] = hash_;
}

void TextChain::add(std::string_view piece) {
  if (piece.empty()) return;  // and may point nowhere
  bytes_ += piece.size();
  if (held_ > 0) {
    const size_t taken = std::min(piece.size(), kChunkBytes - held_);
    std::memcpy(partial_.data() + held_, piece.data(), taken);
    held_ += taken;
    piece.remove_prefix(taken);
    if (held_ < kChunkBytes) return;
    add_chunk(partial_.data());
    held_ = 0;
  }
  while (piece.size() >= kChunkBytes && count_ < room_.size()) {
    add_chunk(piece.data());
    piece.remove_prefix(kChunkBytes);
  }
  if (count_ == room_.size()) return;
  std::memcpy(partial_.data(), piece.data(), piece.size());
  held_ = piece.size();
}

size_t chain_blocks(uint64_t salt, std::span<const int32_t> tokens, uint32_t block_tokens,
                    std::span<uint64_t> room) {
  SLUICE_CHECK(block_tokens > 0);
  const size_t count = std::min(tokens.size() / block_tokens, room.size());
  uint64_t hash = prefix_seed(salt);
  for (size_t i = 0; i < count; ++i) {
    hash = block_hash(hash, tokens.subspan(i * block_tokens, block_tokens));
    room[i] = hash;
  }
  return count;
}

}  // namespace sluice::router
