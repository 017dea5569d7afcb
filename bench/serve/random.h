// Draws whose values are the same on every machine, compiler and release, so that a workload's seed can be
// shared: splitmix64 (Steele, Lea, Flood 2014) and distributions of our own over it. One thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "base/hash.h"

namespace sluice::bench {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // A stream of its own for each (seed, purpose, number).
  Random(uint64_t seed, uint64_t purpose, uint64_t number)
      : state_(hash_combine(hash_combine(seed + 1, purpose + 1), number + 1)) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  // [0, n), n > 0; the bias is below n / 2^64.
  uint64_t below(uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }  // both included
  double exponential(double mean) { return -std::log1p(-unit()) * mean; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log1p(-unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }
  // Of mean 1 and coefficient of variation 1/sqrt(shape) (Marsaglia, Tsang 2000).
  double gamma(double shape) {
    if (shape < 1) return gamma(shape + 1) * (shape + 1) * std::pow(1 - unit(), 1 / shape) / shape;
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), v = std::pow(1 + c * x, 3);
      if (v > 0 && std::log1p(-unit()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v / shape;
    }
  }

 private:
  uint64_t state_;
};

}  // namespace sluice::bench
