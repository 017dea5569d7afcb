#include "router/core/hash_ring.h"

#include <algorithm>

#include "base/hash.h"

namespace sluice::router {

HashRing::HashRing(std::span<const std::string_view> names, int points_each) {
  points_.reserve(names.size() * static_cast<size_t>(points_each));
  for (size_t member = 0; member < names.size(); ++member) {
    const uint64_t name = hash_bytes(names[member].data(), names[member].size());
    for (int i = 0; i < points_each; ++i) {
      points_.push_back({hash_combine(name, static_cast<uint64_t>(i)), static_cast<uint32_t>(member)});
    }
  }
  std::ranges::sort(points_, [](const Point& a, const Point& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.member < b.member;
  });
}

size_t HashRing::first_at(uint64_t key) const {
  const auto at = std::ranges::lower_bound(points_, key, {}, &Point::hash);
  return at == points_.end() ? 0 : static_cast<size_t>(at - points_.begin());
}

}  // namespace sluice::router
