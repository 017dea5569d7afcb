// How likely it is that a piece of a prompt which nobody used for t seconds is used again: a survival curve
// of the gaps between uses, with a fading memory. Looks at one piece in sixteen, chosen by its hash, so that
// it sees long and short prompts by their size; remembers the last use of some 65,000 of them, newer ones in
// the place of older. A value; fixed bytes.
//
//   P(used again | idle for t) = gaps longer than t / (spells - gaps of at most t)
//
// A spell begins with each use, a first one too, and ends with the next, or never.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "router/core/units.h"

namespace sluice::router {

class ReuseCurve {
 public:
  ReuseCurve() : places_(kPlaces) {}

  // A prompt came: the hashes of its pieces.
  void used(std::span<const uint64_t> pieces, Seconds now) {
    for (const uint64_t piece : pieces) {
      if (piece % kOneIn == 0) used(piece, now);
    }
  }

  double after(Seconds idle) const {
    if (idle == kNever) return 0;
    double longer = 0, shorter = 0;
    const size_t at = bucket_of(idle);
    for (size_t i = 0; i < kBuckets; ++i) (i <= at ? shorter : longer) += gaps_[i];
    return spells_ - shorter < 1 ? 0 : longer / (spells_ - shorter);
  }

 private:
  static constexpr uint64_t kOneIn = 16;
  static constexpr size_t kPlaces = 65'521;
  static constexpr size_t kBuckets = 48;     // half octaves from 10 ms
  static constexpr double kMemory = 40'000;  // spells; beyond it all counts are halved

  static size_t bucket_of(Seconds gap) {
    const double at = 2 * std::log2(std::max(gap, 0.01) / 0.01);
    return std::min(static_cast<size_t>(at), kBuckets - 1);
  }

  void used(uint64_t piece, Seconds now) {
    Place& place = places_[piece / kOneIn % kPlaces];
    if (place.piece == piece) gaps_[bucket_of(now - place.at)] += 1;
    place = {piece, now};
    spells_ += 1;
    if (spells_ < kMemory) return;
    spells_ /= 2;
    for (double& count : gaps_) count /= 2;
  }

  struct Place {
    uint64_t piece = 0;
    Seconds at = 0;
  };
  std::vector<Place> places_;
  std::array<double, kBuckets> gaps_{};
  double spells_ = 0;
};

}  // namespace sluice::router
