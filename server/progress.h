// How far a long piece of work is: a bar on a terminal, log lines in steps of ten percent otherwise. Any
// thread.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

namespace sluice {

class Progress {
 public:
  explicit Progress(std::string what);  // "Loading weights"
  ~Progress();                          // ends the bar's line
  // `detail` stands behind the percentage, e.g. "61 of 98 MB". Rising fractions.
  void show(double fraction, const std::string& detail = "");

 private:
  const std::string what_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::mutex mutex_;
  int last_percent_ = -1;
  bool line_open_ = false;
  std::chrono::steady_clock::time_point last_shown_;
};

}  // namespace sluice
