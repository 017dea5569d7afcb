// Everything /metrics says. The names, labels and buckets are vLLM's (v1/metrics/loggers.py), so that
// dashboards, gateways and autoscalers that know it know us. Any thread; what happens per token is handed in
// once per step.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/options.h"
#include "engine/stats.h"
#include "server/scaling/demand.h"

namespace sluice {

struct ModelMetricsOptions {
  std::string model_name;
  int max_model_len = 0;  // the last bucket of token counts
  DemandOptions demand;
  EngineOptions engine;  // for cache_config_info
  int64_t kv_block_count = 0;
  std::function<EngineStats()> stats;
  std::function<std::vector<int32_t>()> take_step_tokens;
};

enum class Outcome : uint8_t { kStop, kLength, kAbort, kError };

// One engine request (one choice of an answer), at its end.
struct RequestRecord {
  Outcome outcome = Outcome::kStop;
  int prompt_tokens = 0;
  int generation_tokens = 0;
  int cached_tokens = 0;
  int max_tokens = 0;
  double e2e_s = 0;
  // Known when it was scheduled and gave a token; < 0: not known.
  double queue_s = -1, prefill_s = -1, decode_s = -1;
};

class ModelMetrics {
 public:
  virtual ~ModelMetrics() = default;
  virtual void started(int n) = 0;                                // a request, with its n
  virtual void first_token(double seconds) = 0;                   // since its arrival
  virtual void inter_token(std::span<const double> seconds) = 0;  // of all streams of a step
  virtual void finished(const RequestRecord& record) = 0;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  // The series of the model; at most one model for now. The functions of `options` must stay callable as long
  // as the returned object lives; the series vanish with it.
  std::shared_ptr<ModelMetrics> add_model(ModelMetricsOptions options);
  // `route`, `method`: from closed sets.
  void count_exchange(std::string_view route, std::string_view method, int status);
  // Text format 0.0.4.
  std::string expose();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
