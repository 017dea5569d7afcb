// Work that falls into equal pieces, shared out over threads that end with it: for loading, where it happens
// seldom and takes long.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

namespace sluice {

inline constexpr int64_t kMostParallel = 16;  // threads

// Calls body(begin, end) for neighbouring ranges that make up [0, count), at the same time; returns when all
// have. `body` must not throw.
template <class Body>
void in_parallel(int64_t count, const Body& body) {
  const auto cores = static_cast<int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  const int64_t parts = std::clamp<int64_t>(std::min(cores, count), 1, kMostParallel);
  std::vector<std::jthread> others;
  for (int64_t part = 1; part < parts; ++part) {
    others.emplace_back(
        [&body, begin = count * part / parts, end = count * (part + 1) / parts] { body(begin, end); });
  }
  body(int64_t{0}, count / parts);
}

}  // namespace sluice
