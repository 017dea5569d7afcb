// The one 64-bit hash of the house: chained block hashes of the prefix cache, shared byte for byte by engine
// and router. wyhash-style multiply-and-fold (https://github.com/wangyi-fudan/wyhash, public domain
// construction): fast, not cryptographic; whoever trusts a match compares the content. Values are stable
// across processes and releases.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice {

inline uint64_t hash_fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_combine(uint64_t seed, uint64_t value) {
  return hash_fold(seed ^ 0xa0761d6478bd642fULL, value ^ 0xe7037ed1a0b428dbULL);
}

inline uint64_t hash_bytes(const void* bytes, size_t size, uint64_t seed = 0) {
  const auto* p = static_cast<const unsigned char*>(bytes);
  uint64_t h = hash_combine(seed, size);
  while (size >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = hash_combine(h, word);
    p += 8;
    size -= 8;
  }
  if (size > 0) {
    uint64_t word = 0;
    std::memcpy(&word, p, size);
    h = hash_combine(h, word);
  }
  return h;
}

}  // namespace sluice
