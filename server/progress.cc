#include "server/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"

namespace sluice {
namespace {

constexpr int kBarWidth = 40;
constexpr std::chrono::milliseconds kQuiet{500};  // work that ends sooner is not worth a word
constexpr std::chrono::milliseconds kBetween{100};

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (line_open_) std::fputc('\n', stderr);
}

void Progress::show(double fraction, const std::string& detail) {
  std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const int percent = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100);
  if (now - start_ < kQuiet || percent == last_percent_) return;
  if (!terminal_) {
    if (percent / 10 == last_percent_ / 10 && last_percent_ >= 0) return;
    log::info("{}: {}% {}", what_, percent, detail);
  } else {
    if (now - last_shown_ < kBetween && percent < 100) return;
    std::string bar(static_cast<size_t>(percent * kBarWidth / 100), '#');
    bar.resize(kBarWidth, '.');
    std::fprintf(stderr, "\r%s [%s] %3d%% %s\033[K", what_.c_str(), bar.c_str(), percent, detail.c_str());
    std::fflush(stderr);
    line_open_ = true;
  }
  last_percent_ = percent;
  last_shown_ = now;
}

}  // namespace sluice
