// How long until a prefix is used again: the mean over prompts that found theirs, with a fading memory.
// Remembers the last use of some 16,000 prefixes, newer ones in the place of older. A value; fixed bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "router/core/units.h"

namespace sluice::router {

class ReuseClock {
 public:
  ReuseClock() : places_(kPlaces) {}

  void used(uint64_t prefix, Seconds now) {
    Place& place = places_[prefix % kPlaces];
    if (place.prefix == prefix && now > place.at) interval_ += kWeight * (now - place.at - interval_);
    place = {prefix, now};
  }
  Seconds interval() const { return interval_; }

 private:
  static constexpr size_t kPlaces = 16'381;
  static constexpr double kWeight = 0.02;
  struct Place {
    uint64_t prefix = 0;
    Seconds at = 0;
  };
  std::vector<Place> places_;
  Seconds interval_ = 10;
};

}  // namespace sluice::router
