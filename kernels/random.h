// Random numbers as a pure function of (seed, index): a request's draws do not depend on what else ran.
// SplitMix64 finaliser (Steele, Lea, Flood, https://doi.org/10.1145/2714064.2660195) over the folded pair.
#pragma once

#include <cstdint>

#include "base/hash.h"

namespace sluice {

inline uint64_t random_bits(uint64_t seed, uint64_t index) {
  uint64_t z = hash_combine(seed + 0x9e3779b97f4a7c15ULL, index + 0x632be59bd9b4e019ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// Uniform in [0, 1), 53 bits.
inline double random_uniform(uint64_t seed, uint64_t index) {
  return static_cast<double>(random_bits(seed, index) >> 11) * 0x1p-53;
}

}  // namespace sluice
