// A ring of hashes with many points for each member (consistent hashing, Karger et al. 1997): when a member
// comes or goes, only its share of the keys moves. Immutable once built; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::router {

class HashRing {
 public:
  HashRing() = default;
  // Points are hashes of the names, so that every router builds the same ring.
  HashRing(std::span<const std::string_view> names, int points_each);

  // The member (index into `names`) at or behind `key`, and those that follow on the ring: visit(index)
  // returns true to stop there. Each member may be visited several times. Returns false when nobody stopped
  // it.
  template <class Visit>
  bool walk(uint64_t key, Visit&& visit) const {
    if (points_.empty()) return false;
    const size_t start = first_at(key);
    for (size_t i = 0; i < points_.size(); ++i) {
      if (visit(points_[(start + i) % points_.size()].member)) return true;
    }
    return false;
  }
  bool empty() const { return points_.empty(); }

 private:
  struct Point {
    uint64_t hash;
    uint32_t member;
  };
  size_t first_at(uint64_t key) const;
  std::vector<Point> points_;  // sorted by hash
};

}  // namespace sluice::router
