// The run as it goes, one line that is drawn again and again, where stderr is a terminal; else nothing. One
// thread.
#pragma once

#include <cstdint>
#include <string>

#include "bench/serve/lane.h"

namespace sluice::bench {

class LiveLine {
 public:
  explicit LiveLine(bool is_shown) : is_shown_(is_shown) {}
  ~LiveLine() { clear(); }

  void begin(const std::string& what, uint64_t sessions);
  void show(const Progress& progress, double elapsed_s);
  void clear();

 private:
  const bool is_shown_;
  std::string what_;
  uint64_t sessions_ = 0;
  double shown_at_s_ = -1;
  // Of the last second, for its rates.
  double mark_s_ = 0;
  uint64_t mark_ended_ = 0, mark_tokens_ = 0;
  double ended_per_s_ = 0, tokens_per_s_ = 0;
  bool is_drawn_ = false;
};

}  // namespace sluice::bench
