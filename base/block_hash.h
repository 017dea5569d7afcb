// The hash of a KV block and the seed of its chain, the same in engine and router: that is what lets a router
// know by name what a replica's prefix cache holds. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/hash.h"

namespace sluice {

inline constexpr std::string_view kBlockHashName = "sluice-1";  // changes with the values below

// What stands before the first block of a prompt whose cache is shared under `salt`.
inline uint64_t prefix_seed(uint64_t salt) {
  return hash_combine(0, salt);
}

// Of one whole block of token ids (as little-endian int32) behind `parent_hash`.
inline uint64_t block_hash(uint64_t parent_hash, std::span<const int32_t> tokens) {
  return hash_bytes(tokens.data(), tokens.size_bytes(), parent_hash);
}

}  // namespace sluice
