#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>

#include "server/scaling/lone_demand.h"

namespace sluice {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

const Buckets& first_token_buckets() {
  static const Buckets kBuckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                   1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
  return kBuckets;
}
const Buckets& inter_token_buckets() {
  static const Buckets kBuckets = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                   .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
  return kBuckets;
}
const Buckets& request_buckets() {
  static const Buckets kBuckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                   30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  return kBuckets;
}
// 1, 2, 5, 10, 20, 50, … up to the context length.
Buckets token_buckets(int highest) {
  Buckets buckets;
  for (double decade = 1; decade <= highest; decade *= 10) {
    for (double step : {1.0, 2.0, 5.0}) {
      if (step * decade <= highest) buckets.push_back(step * decade);
    }
  }
  if (buckets.empty()) buckets.push_back(1);
  return buckets;
}

constexpr std::array<const char*, 4> kOutcomes = {"stop", "length", "abort", "error"};

struct Series {
  std::vector<MetricFamily>& families;
  std::vector<ClientMetric::Label> labels;

  void add(const char* name, const char* help, MetricType type, double value,
           std::vector<ClientMetric::Label> more = {}) {
    MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    ClientMetric metric;
    metric.label = labels;
    metric.label.insert(metric.label.end(), more.begin(), more.end());
    if (type == MetricType::Counter)
      metric.counter.value = value;
    else
      metric.gauge.value = value;
    if (!families.empty() && families.back().name == family.name) {
      families.back().metric.push_back(std::move(metric));
      return;
    }
    family.metric.push_back(std::move(metric));
    families.push_back(std::move(family));
  }
};

class PrometheusModelMetrics final : public ModelMetrics {
 public:
  explicit PrometheusModelMetrics(ModelMetricsOptions options)
      : options_(std::move(options)),
        demand_(options_.demand),
        labels_{{"model_name", options_.model_name}, {"engine", "0"}},
        prompt_(histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.",
                          token_buckets(options_.max_model_len))),
        generation_(histogram("vllm:request_generation_tokens", "Generated tokens of a request.",
                              token_buckets(options_.max_model_len))),
        computed_(histogram("vllm:request_prefill_kv_computed_tokens",
                            "Prompt tokens of a request that were not in the prefix cache.",
                            token_buckets(options_.max_model_len))),
        max_tokens_(histogram("vllm:request_params_max_tokens", "The max_tokens of a request.",
                              token_buckets(options_.max_model_len))),
        n_(histogram("vllm:request_params_n", "The n of a request.", {1, 2, 5, 10, 20})),
        iteration_(histogram("vllm:iteration_tokens_total", "Tokens computed in an engine step.",
                             {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384})),
        first_token_(histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.",
                               first_token_buckets())),
        inter_token_(histogram("vllm:inter_token_latency_seconds", "Between the tokens of an answer.",
                               inter_token_buckets())),
        per_token_(histogram("vllm:request_time_per_output_token_seconds",
                             "Decode time of a request over its tokens.", inter_token_buckets())),
        e2e_(histogram("vllm:e2e_request_latency_seconds", "From arrival to the end.", request_buckets())),
        queue_(histogram("vllm:request_queue_time_seconds", "Waiting to be scheduled.", request_buckets())),
        inference_(histogram("vllm:request_inference_time_seconds", "From first scheduled to the end.",
                             request_buckets())),
        prefill_(histogram("vllm:request_prefill_time_seconds", "From first scheduled to the first token.",
                           request_buckets())),
        decode_(histogram("vllm:request_decode_time_seconds", "From the first token to the end.",
                          request_buckets())) {
    auto& family = prometheus::BuildCounter()
                       .Name("vllm:request_success_total")
                       .Help("Requests that ended, by reason.")
                       .Register(registry_);
    for (size_t i = 0; i < kOutcomes.size(); ++i) {
      auto labels = labels_;
      labels["finished_reason"] = kOutcomes[i];
      success_[i] = &family.Add(labels);
    }
  }

  void started(int n) override { n_.Observe(n); }
  void first_token(double seconds) override {
    first_token_.Observe(seconds);
    std::lock_guard lock(demand_mutex_);
    demand_.first_token(seconds, now());
  }

  void inter_token(std::span<const double> seconds) override {
    const Buckets& bounds = inter_token_buckets();
    std::vector<double> counts(bounds.size() + 1);
    double sum = 0;
    for (double value : seconds) {
      ++counts[static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin())];
      sum += value;
    }
    inter_token_.ObserveMultiple(counts, sum);
  }

  void finished(const RequestRecord& record) override {
    success_[static_cast<size_t>(record.outcome)]->Increment();
    prompt_.Observe(record.prompt_tokens);
    generation_.Observe(record.generation_tokens);
    computed_.Observe(std::max(0, record.prompt_tokens - record.cached_tokens));
    max_tokens_.Observe(record.max_tokens);
    e2e_.Observe(record.e2e_s);
    if (record.queue_s >= 0) queue_.Observe(record.queue_s);
    if (record.prefill_s >= 0) prefill_.Observe(record.prefill_s);
    if (record.decode_s < 0) return;
    teach(record);
    decode_.Observe(record.decode_s);
    inference_.Observe(std::max(0.0, record.prefill_s) + record.decode_s);
    if (record.generation_tokens > 1) per_token_.Observe(record.decode_s / (record.generation_tokens - 1));
  }

  std::vector<MetricFamily> collect() {
    for (int32_t tokens : options_.take_step_tokens()) iteration_.Observe(tokens);
    std::vector<MetricFamily> families = registry_.Collect();
    Series series{families, {{"model_name", options_.model_name}, {"engine", "0"}}};
    const EngineStats stats = options_.stats();
    add_engine_series(series, stats);
    add_demand_series(series, stats);
    add_former_names(families);
    return families;
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  void teach(const RequestRecord& record) {
    LoneDemand::Answer answer{
        .computed_tokens = static_cast<double>(record.prompt_tokens - record.cached_tokens),
        .prefill_seconds = record.prefill_s,
        .running = options_.stats().running + 1.0};  // it has just ended
    if (record.generation_tokens > 1) answer.step_seconds = record.decode_s / (record.generation_tokens - 1);
    std::lock_guard lock(demand_mutex_);
    demand_.answered(answer, now());
  }

  void add_demand_series(Series& series, const EngineStats& stats) {
    constexpr auto kGauge = MetricType::Gauge;
    const LoneDemand::Seen seen{.running = static_cast<double>(stats.running),
                                .waiting = static_cast<double>(stats.waiting),
                                .waiting_tokens = static_cast<double>(stats.waiting_prompt_tokens),
                                .kv_share = static_cast<double>(stats.kv_blocks_used) /
                                            std::max<double>(1, static_cast<double>(stats.kv_blocks_total)),
                                .runs_at_once = static_cast<double>(options_.engine.max_num_seqs)};
    std::lock_guard lock(demand_mutex_);
    const Load load = demand_.load(seen, now());
    const Demand demand = demand_of(options_.demand, load);
    series.add("sluice_demand_replicas", "Replicas like this one that its own load asks for.", kGauge,
               demand.replicas);
    series.add("sluice_demand_raw", "The same before it is rounded up; to be summed over replicas.", kGauge,
               demand.raw);
    for (int term = 1; term < kDemandTerms; ++term) {
      series.add("sluice_demand_term", "What each term of the demand asks for.", kGauge,
                 demand.terms[static_cast<size_t>(term)], {{"term", name_of(static_cast<DemandTerm>(term))}});
    }
    series.add("sluice_demand_reason", "1 for the term that binds.", kGauge, 1,
               {{"reason", name_of(demand.reason)}});
    series.add("sluice_backlog_seconds", "Seconds that the waiting prompts need.", kGauge,
               load.backlog_seconds);
    series.add("sluice_concurrency_per_replica", "Requests that should run here at once, as measured.",
               kGauge, load.knee);
  }

  // What vLLM called them before: dashboards and gateways of then read them.
  static void add_former_names(std::vector<MetricFamily>& families) {
    constexpr std::pair<const char*, const char*> kFormer[] = {
        {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"},
        {"vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"},
        {"vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"},
        {"vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"}};
    for (const auto& [name, former] : kFormer) {
      const auto at = std::ranges::find(families, name, &MetricFamily::name);
      if (at == families.end()) continue;
      MetricFamily twin = *at;
      twin.name = former;
      families.push_back(std::move(twin));
    }
  }

  prometheus::Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add(labels_, buckets);
  }

  void add_engine_series(Series& series, const EngineStats& stats) const {
    constexpr auto kGauge = MetricType::Gauge;
    constexpr auto kCounter = MetricType::Counter;
    const double total_blocks = std::max<double>(1, static_cast<double>(stats.kv_blocks_total));
    const auto count = [](uint64_t n) { return static_cast<double>(n); };
    series.add("vllm:num_requests_running", "Requests in the running batch.", kGauge, stats.running);
    series.add("vllm:num_requests_waiting", "Requests waiting to be scheduled.", kGauge, stats.waiting);
    series.add("vllm:num_requests_waiting_by_reason", "Waiting requests, by what they wait for.", kGauge,
               stats.waiting, {{"reason", "capacity"}});
    series.add("vllm:kv_cache_usage_perc", "Share of the KV blocks in use; 1 is all.", kGauge,
               static_cast<double>(stats.kv_blocks_used) / total_blocks);
    series.add("vllm:engine_sleep_state", "1 for the state the engine is in.", kGauge, 1,
               {{"sleep_state", "awake"}});
    series.add("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", kCounter,
               count(stats.prefix_cache_queries));
    series.add("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", kCounter,
               count(stats.prefix_cache_hits));
    series.add("vllm:num_preemptions_total", "Requests put back to be computed again.", kCounter,
               count(stats.preemptions));
    series.add("vllm:prompt_tokens_total", "Prompt tokens of admitted requests.", kCounter,
               count(stats.prompt_tokens));
    series.add("vllm:prompt_tokens_cached_total", "Of these, found in the prefix cache.", kCounter,
               count(stats.prompt_tokens_cached));
    series.add("vllm:prompt_tokens_by_source_total",
               "Prompt tokens by where their keys and values came from.", kCounter,
               count(stats.prompt_tokens - std::min(stats.prompt_tokens, stats.prompt_tokens_cached)),
               {{"source", "local_compute"}});
    series.add("vllm:prompt_tokens_by_source_total",
               "Prompt tokens by where their keys and values came from.", kCounter,
               count(stats.prompt_tokens_cached), {{"source", "local_cache_hit"}});
    series.add("vllm:generation_tokens_total", "Tokens generated.", kCounter, count(stats.generation_tokens));
    series.add("vllm:admission_rejections_total",
               "Requests refused because a bound of the queue was reached.", kCounter, count(stats.refused),
               {{"reason", "max_num_queued_reqs"}});
    const EngineOptions& engine = options_.engine;
    series.add("vllm:cache_config_info", "The KV cache's configuration, as labels.", kGauge, 1,
               {{"block_size", std::to_string(engine.block_size)},
                {"num_gpu_blocks", std::to_string(options_.kv_block_count)},
                {"num_cpu_blocks", "0"},
                {"cache_dtype", std::string(name_of(engine.kv_cache_dtype))},
                {"enable_prefix_caching", engine.enable_prefix_caching ? "True" : "False"},
                {"kv_cache_memory_bytes", std::to_string(engine.kv_cache_memory_bytes)}});
  }

  const ModelMetricsOptions options_;
  std::mutex demand_mutex_;
  LoneDemand demand_;
  const prometheus::Labels labels_;
  prometheus::Registry registry_;
  prometheus::Histogram &prompt_, &generation_, &computed_, &max_tokens_, &n_, &iteration_, &first_token_,
      &inter_token_, &per_token_, &e2e_, &queue_, &inference_, &prefill_, &decode_;
  std::array<prometheus::Counter*, 4> success_{};
};

// The names every Prometheus client library gives
// (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics).
void add_process_series(Series& series, double start_time_s) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  series.add("process_cpu_seconds_total", "CPU time spent, user and system.", MetricType::Counter,
             seconds(usage.ru_utime) + seconds(usage.ru_stime));
  long virtual_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> virtual_pages >> resident_pages;
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  series.add("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
             static_cast<double>(resident_pages) * page);
  series.add("process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge,
             static_cast<double>(virtual_pages) * page);
  series.add("process_start_time_seconds", "When the process started, Unix time.", MetricType::Gauge,
             start_time_s);
  std::error_code error;
  double open = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error))
    ++open;
  series.add("process_open_fds", "Open file descriptors.", MetricType::Gauge, open);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  series.add("process_max_fds", "The limit of open file descriptors.", MetricType::Gauge,
             static_cast<double>(limit.rlim_cur));
}

}  // namespace

struct Metrics::State {
  std::mutex mutex;  // one exposition at a time
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& exchanges = prometheus::BuildCounter()
                                                           .Name("http_requests_total")
                                                           .Help("Answered HTTP requests.")
                                                           .Register(registry);
  std::weak_ptr<PrometheusModelMetrics> model;
  double start_time_s = static_cast<double>(time(nullptr));
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

std::shared_ptr<ModelMetrics> Metrics::add_model(ModelMetricsOptions options) {
  auto model = std::make_shared<PrometheusModelMetrics>(std::move(options));
  std::lock_guard lock(state_->mutex);
  state_->model = model;
  return model;
}

void Metrics::count_exchange(std::string_view route, std::string_view method, int status) {
  // As the instrumentator that vLLM uses groups them: 2xx, 4xx, …
  const std::string group = std::to_string(status / 100) + "xx";
  state_->exchanges.Add({{"handler", std::string(route)}, {"method", std::string(method)}, {"status", group}})
      .Increment();
}

std::string Metrics::expose() {
  std::lock_guard lock(state_->mutex);
  std::vector<MetricFamily> families = state_->registry.Collect();
  if (auto model = state_->model.lock()) {
    auto of_model = model->collect();
    families.insert(families.end(), std::make_move_iterator(of_model.begin()),
                    std::make_move_iterator(of_model.end()));
  }
  Series process{families, {}};
  add_process_series(process, state_->start_time_s);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

}  // namespace sluice
