// What load is to come: the greatest mean of a bucket (half a minute) within the horizon, so high that nine
// of ten turn out lower. Three ways to guess compete: a level with a damped trend (Holt; Gardner and McKenzie
// 1985), the same time a day ago, the same time a week ago; each with the 0.9 quantile of its own past errors
// on top. Whichever did best lately, by pinball loss, speaks; it is trusted only while it does better than
// the naive guess (as now) over the last day's quarter. A value; fixed bytes; time comes in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice {

struct ForecastOptions {
  double horizon = 300;  // seconds
  double bucket = 30;
  double season = 86'400;  // and seven of it
  size_t window = 24;      // horizons over which guesses are scored
};

class Forecast {
 public:
  explicit Forecast(const ForecastOptions& options);

  // So much work came now; any unit. Time does not go back.
  void observe(double amount, double now);
  // Nothing may have come for long: closes what buckets have passed.
  void advance(double now);

  // Work per second, the 0.9 quantile of the greatest bucket from now to the horizon. 0 until there is a
  // guess.
  double peak() const { return peak_; }
  // It did clearly better than the naive guess over the whole window.
  bool trusted() const;
  // Pinball losses, mean over the window: of what it said, and of the naive guess.
  double loss() const { return loss_; }
  double naive_loss() const { return naive_loss_; }
  const char* method() const;

 private:
  enum Method : uint8_t { kNaive, kTrend, kDay, kWeek, kMethods };
  // One guess for the peak within a horizon, and what became of it.
  struct Guess {
    std::array<double, kMethods> plain{};   // 0 and below: the method had none
    std::array<double, kMethods> raised{};  // with its errors' quantile on top
    Method spoke = kNaive;
  };

  void close_bucket();
  void guess();
  void judge();
  double back(size_t buckets) const;  // the mean of a past bucket; 0: the last closed one
  double seasonal_peak(size_t season) const;
  double quantile(Method method) const;

  const ForecastOptions options_;
  const size_t steps_;   // buckets in a horizon
  const size_t season_;  // buckets in a season
  double bucket_ends_ = -1;
  double sum_ = 0;           // of the open bucket
  std::vector<float> past_;  // a ring of a week and a horizon
  size_t closed_ = 0;
  double level_ = 0, trend_ = 0;
  std::vector<Guess> guesses_;                       // a ring: those that wait for their horizon
  std::array<std::vector<float>, kMethods> errors_;  // rings of actual - plain
  std::array<std::vector<float>, kMethods> losses_;  // rings of pinball losses
  std::vector<float> spoken_losses_;
  size_t judged_ = 0;
  double peak_ = 0, loss_ = 0, naive_loss_ = 0;
  Method speaks_ = kNaive;
};

}  // namespace sluice
