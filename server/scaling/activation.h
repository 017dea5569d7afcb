// From nothing to one replica and back, which a HorizontalPodAutoscaler does not do: it is idle as long as a
// workload has 0 replicas. When somebody waits and nobody is there or on the way, the workload shall have
// one; when nobody asked for anything for long enough, none. Between these the HPA alone decides. A value;
// the time comes in as an argument, in seconds.
#pragma once

#include <algorithm>
#include <limits>

namespace sluice {

class Activation {
 public:
  enum class Wish : unsigned char { kNothing, kWake, kSleep };

  struct Seen {
    double in_flight = 0;  // requests queued and running
    double demand = 0;     // replicas that the load asks for
    int ready = 0;
    int loading = 0;  // on their way and young enough to be believed
  };

  // `sleep_after` seconds without a request; 0: never.
  explicit Activation(double sleep_after) : sleep_after_(sleep_after) {}

  // What it looks like now; to be called at least every few seconds.
  Wish look(const Seen& seen, double now) {
    const bool idle = seen.in_flight == 0 && seen.demand == 0;
    // A replica that loads does so for somebody, or for the HPA's minimum: either may have its turn.
    if (!idle || seen.loading > 0)
      idle_since_ = kBusy;
    else if (idle_since_ == kBusy)
      idle_since_ = now;
    if (now < quiet_until_) return Wish::kNothing;
    if (seen.in_flight > 0 && seen.ready == 0 && seen.loading == 0) return Wish::kWake;
    if (sleep_after_ > 0 && idle && seen.ready > 0 && now - idle_since_ >= sleep_after_) return Wish::kSleep;
    return Wish::kNothing;
  }
  // The wish was passed on, or could not be: it is not repeated for so long.
  void rest(double seconds, double now) { quiet_until_ = std::max(quiet_until_, now + seconds); }

 private:
  static constexpr double kBusy = -std::numeric_limits<double>::infinity();
  double sleep_after_;
  double idle_since_ = kBusy;
  double quiet_until_ = kBusy;
};

}  // namespace sluice
