#include "server/scaling/forecast.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice {
namespace {

constexpr double kLevel = 0.4, kTrendWeight = 0.1, kDamping = 0.9;
constexpr double kQuantile = 0.9;
constexpr double kClearlyBetter = 0.9;  // not by luck
constexpr size_t kErrors = 240;  // of each method that are remembered

double pinball(double actual, double said) {
  return actual >= said ? kQuantile * (actual - said) : (1 - kQuantile) * (said - actual);
}

double mean(const std::vector<float>& values) {
  return values.empty()
             ? 0
             : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void push(std::vector<float>& ring, size_t size, size_t turn, double value) {
  if (ring.size() < size)
    ring.push_back(static_cast<float>(value));
  else
    ring[turn % size] = static_cast<float>(value);
}

}  // namespace

Forecast::Forecast(const ForecastOptions& options)
    : options_(options),
      steps_(std::max<size_t>(static_cast<size_t>(options.horizon / options.bucket), 1)),
      season_(std::max<size_t>(static_cast<size_t>(options.season / options.bucket), 1)),
      past_(7 * season_ + steps_ + 1),
      guesses_(steps_) {}

void Forecast::observe(double amount, double now) {
  advance(now);
  if (amount > 0 && std::isfinite(amount)) sum_ += amount;
}

void Forecast::advance(double now) {
  if (bucket_ends_ < 0) bucket_ends_ = now + options_.bucket;
  // A clock that jumps by weeks says nothing more than one that jumps by one.
  const double most = options_.bucket * static_cast<double>(past_.size());
  if (now - bucket_ends_ > most) bucket_ends_ = now - most;
  while (now >= bucket_ends_) {
    close_bucket();
    bucket_ends_ += options_.bucket;
  }
}

double Forecast::back(size_t buckets) const {
  return past_[(closed_ - 1 - buckets) % past_.size()];
}

void Forecast::close_bucket() {
  const double rate = sum_ / options_.bucket;
  sum_ = 0;
  past_[closed_++ % past_.size()] = static_cast<float>(rate);
  if (closed_ == 1) {
    level_ = rate;
  } else {
    const double before = level_;
    level_ = kLevel * rate + (1 - kLevel) * (level_ + kDamping * trend_);
    trend_ = kTrendWeight * (level_ - before) + (1 - kTrendWeight) * kDamping * trend_;
  }
  if (closed_ > steps_) judge();
  guess();
}

// The same time a season ago, from the bucket that follows now to the horizon.
double Forecast::seasonal_peak(size_t season) const {
  if (closed_ < season + 1 || season <= steps_) return -1;
  double most = 0;
  for (size_t step = 1; step <= steps_; ++step) most = std::max(most, back(season - step));
  return most;
}

double Forecast::quantile(Method method) const {
  std::vector<float> sorted = errors_[method];
  if (sorted.size() < 10) return 0;
  const auto at = sorted.begin() + static_cast<ptrdiff_t>(kQuantile * static_cast<double>(sorted.size() - 1));
  std::nth_element(sorted.begin(), at, sorted.end());
  return *at;
}

void Forecast::guess() {
  Guess now;
  now.plain[kNaive] = back(0);
  double trend = level_, most = level_, slope = trend_;
  for (size_t step = 0; step < steps_; ++step) {
    trend += slope *= kDamping;
    most = std::max(most, trend);
  }
  now.plain[kTrend] = most;
  now.plain[kDay] = seasonal_peak(season_);
  now.plain[kWeek] = seasonal_peak(7 * season_);
  Method best = kNaive;
  for (const Method method : {kNaive, kTrend, kDay, kWeek}) {
    if (now.plain[method] < 0) continue;
    now.raised[method] = std::max(now.plain[method] + quantile(method), 0.0);
    const bool tried = losses_[method].size() >= steps_;
    if (tried && (losses_[best].empty() || mean(losses_[method]) < mean(losses_[best]))) best = method;
  }
  now.spoke = speaks_ = best;
  peak_ = judged_ == 0 ? 0 : now.raised[best];
  guesses_[closed_ % steps_] = now;
}

// A horizon has passed since the oldest guess.
void Forecast::judge() {
  const Guess& old = guesses_[closed_ % steps_];
  double actual = 0;
  for (size_t step = 0; step < steps_; ++step) actual = std::max(actual, back(step));
  const size_t window = options_.window * steps_;
  for (const Method method : {kNaive, kTrend, kDay, kWeek}) {
    if (old.plain[method] < 0) continue;
    push(errors_[method], kErrors, judged_, actual - old.plain[method]);
    push(losses_[method], window, judged_, pinball(actual, old.raised[method]));
  }
  push(spoken_losses_, window, judged_, pinball(actual, old.raised[old.spoke]));
  ++judged_;
  loss_ = mean(spoken_losses_);
  naive_loss_ = mean(losses_[kNaive]);
}

bool Forecast::trusted() const {
  return judged_ >= options_.window * steps_ && loss_ < kClearlyBetter * naive_loss_;
}

const char* Forecast::method() const {
  constexpr const char* kNames[kMethods] = {"naive", "trend", "day", "week"};
  return kNames[speaks_];
}

}  // namespace sluice
