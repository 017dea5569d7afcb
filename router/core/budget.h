// A bound on extra work in proportion to real work: retries, hedges. Each request earns `ratio` of one, up to
// `cap` saved up; a floor of `per_second` keeps small traffic able to retry at all. So when everything fails
// the load grows by `ratio` and not without bound. (The idea of a retry budget: Finagle.) A value.
#pragma once

#include <algorithm>

#include "router/core/units.h"

namespace sluice::router {

struct BudgetOptions {
  double ratio = 0.2;
  double per_second = 1;
  double cap = 100;
};

class Budget {
 public:
  explicit Budget(const BudgetOptions& options = {}) : options_(options), tokens_(options.cap / 10) {}

  void earn(Seconds now) {
    refill(now);
    tokens_ = std::min(tokens_ + options_.ratio, options_.cap);
  }
  bool spend(Seconds now) {
    refill(now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }
  double left() const { return tokens_; }

 private:
  void refill(Seconds now) {
    if (last_ < now)
      tokens_ = std::min(tokens_ + (started_ ? now - last_ : 0) * options_.per_second, options_.cap);
    last_ = now;
    started_ = true;
  }
  BudgetOptions options_;
  double tokens_;
  Seconds last_ = 0;
  bool started_ = false;
};

}  // namespace sluice::router
