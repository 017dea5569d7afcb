#include "bench/serve/live_line.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "bench/serve/distribution.h"

namespace sluice::bench {
namespace {

constexpr double kRedrawSeconds = 0.2;

}  // namespace

void LiveLine::begin(const std::string& what, uint64_t sessions) {
  clear();
  what_ = what;
  sessions_ = sessions;
  shown_at_s_ = -1;
  mark_s_ = 0;
  mark_ended_ = mark_tokens_ = 0;
  ended_per_s_ = tokens_per_s_ = 0;
}

void LiveLine::show(const Progress& progress, double elapsed_s) {
  if (!is_shown_ || elapsed_s - shown_at_s_ < kRedrawSeconds) return;
  shown_at_s_ = elapsed_s;
  const uint64_t ended = progress.ended.load(), tokens = progress.tokens.load();
  if (elapsed_s - mark_s_ >= 1) {
    ended_per_s_ = static_cast<double>(ended - mark_ended_) / (elapsed_s - mark_s_);
    tokens_per_s_ = static_cast<double>(tokens - mark_tokens_) / (elapsed_s - mark_s_);
    mark_s_ = elapsed_s;
    mark_ended_ = ended;
    mark_tokens_ = tokens;
  }
  const uint64_t known = std::min<uint64_t>(progress.recent_count.load(), Progress::kRecent);
  std::vector<double> recent;
  for (uint64_t i = 0; i < known; ++i) recent.push_back(progress.recent_ttft_ms[i].load());
  const Distribution ttft(std::move(recent));
  std::fprintf(stderr, "\r\033[K%s  %.0f s  %llu", what_.c_str(), std::max(0.0, elapsed_s),
               static_cast<unsigned long long>(ended));
  if (sessions_ > 0) std::fprintf(stderr, "/%llu", static_cast<unsigned long long>(sessions_));
  std::fprintf(stderr, "  in flight %llu  %.0f req/s  %.0f tok/s",
               static_cast<unsigned long long>(progress.in_flight.load()), ended_per_s_, tokens_per_s_);
  if (known > 0)
    std::fprintf(stderr, "  ttft p50 %.0f p99 %.0f ms", ttft.percentile(50), ttft.percentile(99));
  if (const uint64_t failed = progress.failed.load(); failed > 0)
    std::fprintf(stderr, "  \033[31merrors %llu\033[0m", static_cast<unsigned long long>(failed));
  std::fflush(stderr);
  is_drawn_ = true;
}

void LiveLine::clear() {
  if (!is_drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  is_drawn_ = false;
}

}  // namespace sluice::bench
