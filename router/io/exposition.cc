#include "router/io/exposition.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "router/io/dispatcher.h"

namespace sluice::router {
namespace {

// Label values: a backslash, a quote and a line break are escaped; the rest goes as it is.
std::string label(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

class Page {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = "sluice_router_";
    name_ += name;
    out_.append("# HELP ").append(name_).append(" ").append(help).append("\n");
    out_.append("# TYPE ").append(name_).append(" ").append(type).append("\n");
  }
  void sample(double value, std::string_view labels = {}, std::string_view suffix = {}) {
    out_.append(name_).append(suffix);
    if (!labels.empty()) out_.append("{").append(labels).append("}");
    out_ += ' ';
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    out_.append(text, end).append("\n");
  }
  void gauge(std::string_view name, double value, std::string_view help) {
    family(name, "gauge", help);
    sample(value);
  }
  void counter(std::string_view name, double value, std::string_view help) {
    family(name, "counter", help);
    sample(value);
  }
  template <size_t N>
  void histogram(std::string_view name, const Histogram<N>& seen, std::string_view help) {
    family(name, "histogram", help);
    histogram(seen);
  }
  // Of the family begun last.
  template <size_t N>
  void histogram(const Histogram<N>& seen, const std::string& labels = {}) {
    const std::string others = labels.empty() ? "" : labels + ",";
    uint64_t below = 0;
    for (size_t i = 0; i <= N; ++i) {
      below += seen.counts()[i];
      std::string bound = "+Inf";
      if (i < N) {
        char text[32];
        bound.assign(text, std::to_chars(text, text + sizeof text, seen.bounds()[i]).ptr);
      }
      sample(static_cast<double>(below), others + "le=\"" + bound + "\"", "_bucket");
    }
    sample(seen.sum(), labels, "_sum");
    sample(static_cast<double>(below), labels, "_count");
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
  std::string name_;
};

void add_requests(Page& page, const Dispatcher& dispatcher) {
  const Counters& counters = dispatcher.counters_view();
  const RouterCore& core = dispatcher.core_view();
  const RouterStats& stats = core.stats();
  page.family("requests_total", "counter", "Answers by path and status; 499: the client left before.");
  for (const auto& [key, count] : counters.requests) {
    page.sample(static_cast<double>(count),
                "path=\"" + label(key.first) + "\",status=\"" + std::to_string(key.second) + "\"");
  }
  page.histogram("added_latency_seconds", counters.added,
                 "From the whole request here to the whole request sent on, where it was not held.");
  page.histogram("first_byte_seconds", counters.first_byte,
                 "From the request to the first byte of its answer.");
  page.histogram("request_duration_seconds", counters.duration, "From the request to the end of its answer.");
  page.histogram("held_seconds", counters.held, "Waiting in the router for a replica.");
  page.family("shed_total", "counter", "Requests that the router itself refused.");
  for (const char* reason :
       {"queue_full", "deadline", "unavailable", "no_replica_answered", "unknown_model", "draining"}) {
    const auto at = counters.shed.find(reason);
    page.sample(at == counters.shed.end() ? 0 : static_cast<double>(at->second),
                std::string("reason=\"") + reason + "\"");
  }
  page.counter("dispatches_total", static_cast<double>(stats.dispatches), "Attempts sent to replicas.");
  page.counter("retries_total", static_cast<double>(stats.retries), "Attempts after one that failed.");
  page.counter("hedges_total", static_cast<double>(stats.hedges), "Second attempts beside a slow first one.");
  page.counter("hedges_won_total", static_cast<double>(stats.hedges_won),
               "Of these, whose answer was taken.");
  page.counter("resumes_total", static_cast<double>(stats.resumes),
               "Broken streams that went on at another replica.");
  page.counter("failed_midstream_total", static_cast<double>(stats.failed_midstream),
               "Broken streams that ended with an error event.");
  page.counter("client_left_total", static_cast<double>(stats.client_left),
               "Requests whose client left before their end.");
  page.counter("upstream_faults_total", static_cast<double>(counters.upstream_faults),
               "Connections to replicas refused or broken, answers malformed.");
  page.counter("stalled_total", static_cast<double>(counters.stalled), "Answers given up for their silence.");
  page.counter("received_bytes_total", static_cast<double>(counters.bytes_in), "Bodies of requests.");
  page.counter("sent_bytes_total", static_cast<double>(counters.bytes_out), "Bodies of answers.");
  page.counter("prompt_tokens_total", static_cast<double>(stats.prompt_tokens),
               "Of dispatched requests, as estimated.");
  page.counter("predicted_cached_tokens_total", static_cast<double>(stats.predicted_cached_tokens),
               "Prompt tokens the index found, of requests whose replica told the truth afterwards.");
  page.counter("real_cached_tokens_total", static_cast<double>(stats.real_cached_tokens),
               "Prompt tokens of the same requests that the replica found.");
  page.counter("decisions_total", static_cast<double>(stats.decisions), "Choices of a replica.");
  page.counter("regret_seconds_total", stats.regret_seconds,
               "Estimated seconds to the first token beyond the best replica's.");
  if (dispatcher.options().core.shadow) {
    page.counter("shadow_agreed_total", static_cast<double>(stats.shadow_agreed),
                 "Decisions in which the shadow policy chose the same.");
    page.counter("shadow_regret_seconds_total", stats.shadow_regret_seconds, "The shadow policy's regret.");
  }
}

void add_shadows(Page& page, const Dispatcher& dispatcher) {
  const auto& shadows = dispatcher.counters_view().shadows;
  if (shadows.empty()) return;
  const auto labels = [](const auto& pair, const std::string& more = {}) {
    return "model=\"" + label(pair.first) + "\",target=\"" + label(pair.second) + "\"" + more;
  };
  page.family("shadow_traffic_requests_total", "counter",
              "Copies of requests by what became of them; dropped: their target had no room.");
  for (const auto& [pair, counters] : shadows) {
    for (const auto& [how, count] : counters.requests) {
      page.sample(static_cast<double>(count), labels(pair, ",status=\"" + label(how) + "\""));
    }
  }
  page.family("shadow_traffic_first_byte_seconds", "histogram", "Until the first byte of their answers.");
  for (const auto& [pair, counters] : shadows) page.histogram(counters.first_byte, labels(pair));
  page.family("shadow_traffic_duration_seconds", "histogram", "Until the end of their answers.");
  for (const auto& [pair, counters] : shadows) page.histogram(counters.duration, labels(pair));
}

// What a scaler follows, of each model.
void add_demand(Page& page, const Dispatcher& dispatcher) {
  const DemandBoard& board = dispatcher.demand_view();
  const auto each = [&](std::string_view name, std::string_view help, auto value) {
    page.family(name, "gauge", help);
    for (const auto& [model, told] : board.models()) {
      page.sample(static_cast<double>(value(told)), "model=\"" + label(model) + "\"");
    }
  };
  using Told = const ModelDemand&;
  each("demand_replicas", "Replicas that the load asks for; not bounded by how many there are.",
       [](Told t) { return t.demand.replicas; });
  each("demand_raw", "The same before what is there and what loads was held against it.",
       [](Told t) { return t.demand.raw; });
  page.family("demand_term", "gauge", "What each term of the demand asks for; the greatest binds.");
  for (const auto& [model, told] : board.models()) {
    for (int i = 1; i < kDemandTerms; ++i) {
      page.sample(told.demand.terms[static_cast<size_t>(i)],
                  "model=\"" + label(model) + "\",term=\"" + name_of(static_cast<DemandTerm>(i)) + "\"");
    }
  }
  page.family("demand_reason", "gauge", "1 for the term that binds.");
  for (const auto& [model, told] : board.models()) {
    for (int i = 0; i < kDemandTerms; ++i) {
      const auto term = static_cast<DemandTerm>(i);
      page.sample(told.demand.reason == term,
                  "model=\"" + label(model) + "\",reason=\"" + name_of(term) + "\"");
    }
  }
  each("demand_held", "1: fewer could not carry the load with room to spare.",
       [](Told t) { return t.demand.held; });
  each("demand_credit", "Replicas not asked for again, because others load.",
       [](Told t) { return t.demand.credit; });
  each("forecast_demand_replicas", "What the load to come asks for; 0 without --predict-traffic.",
       [](Told t) { return t.forecast; });
  each("forecast_acts", "1: the forecast has proved itself and may raise the demand.",
       [](Told t) { return t.forecast_acts; });
  each("queue_depth", "Requests that wait for a replica.", [](Told t) { return t.counts.queued; });
  each("queue_tokens", "Their prompt tokens, estimated.", [](Told t) { return t.counts.queued_tokens; });
  each("queue_oldest_age_seconds", "Of the request that waits longest.", [](Told t) { return t.oldest; });
  each("inflight_requests", "Queued and running.", [](Told t) { return t.counts.requests; });
  each("inflight_tokens", "Prompt tokens of what is at replicas.",
       [](Told t) { return t.counts.running_tokens; });
  each("backlog_seconds", "Prefill work of one replica that is not done yet, at measured rates.",
       [](Told t) { return t.counts.backlog; });
  each("offered_replicas", "Seconds of work, of one replica, that arrive in a second.",
       [](Told t) { return t.load.offered; });
  each("concurrency_per_replica", "Requests that one replica should run at once, as measured.",
       [](Told t) { return t.load.knee; });
  each("kv_in_use", "KV caches' worth of blocks that running requests hold.",
       [](Told t) { return t.counts.kv_in_use; });
  page.family("endpoints", "gauge", "Replicas by state; loading: seen, and believed to be on their way.");
  for (const auto& [model, told] : board.models()) {
    const std::string of = "model=\"" + label(model) + "\",state=\"";
    page.sample(told.load.loading, of + "loading\"");
    for (size_t i = 0; i < 4; ++i) {
      page.sample(told.counts.replicas[i], of + name_of(static_cast<ReplicaState>(i)) + "\"");
    }
  }
  page.gauge("cold_start_seconds", board.cold_starts().p90(),
             "From a replica's first sight until it was ready, 0.9 quantile of the last 32.");
}

void add_replicas(Page& page, const Dispatcher& dispatcher) {
  page.family("source_up", "gauge", "1 when a source of replicas can tell what is new.");
  for (const auto& source : dispatcher.sources()) {
    page.sample(source->trouble().empty() ? 1 : 0, "source=\"" + label(source->name()) + "\"");
  }
  const auto& replicas = dispatcher.core_view().fleet().replicas();
  const Seconds now = dispatcher.now();
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help, auto value) {
    page.family(name, type, help);
    for (const auto& replica : replicas) {
      if (replica->state == ReplicaState::kGone) continue;
      page.sample(static_cast<double>(value(*replica)), "replica=\"" + label(replica->spec.name) + "\"");
    }
  };
  each("replica_up", "gauge", "1: ready for requests.",
       [](const Replica& r) { return r.state == ReplicaState::kReady; });
  page.family("replica_knowledge", "gauge", "1 for the state of what is known of the replica's cache.");
  for (const auto& replica : replicas) {
    if (replica->state == ReplicaState::kGone) continue;
    for (const Knowledge state : {Knowledge::kExact, Knowledge::kRepairing, Knowledge::kApproximate}) {
      page.sample(replica->knowledge == state,
                  "replica=\"" + label(replica->spec.name) + "\",state=\"" + name_of(state) + "\"");
    }
  }
  each("replica_inflight_requests", "gauge", "Requests of this router there.",
       [](const Replica& r) { return r.in_flight; });
  each("replica_prefill_tokens", "gauge", "Their uncached prompt tokens that are not computed yet.",
       [](const Replica& r) { return std::max(r.prefill_work.tokens, 0.0); });
  each("replica_wait_seconds", "gauge", "Until it would begin with a prompt that came now.",
       [&](const Replica& r) { return r.wait_seconds(now); });
  each("replica_prefill_tokens_per_second", "gauge", "Its rate, as learned.",
       [](const Replica& r) { return 1 / r.rate.prefill().token_seconds; });
  each("replica_kv_usage", "gauge", "Share of its KV blocks in use.",
       [](const Replica& r) { return r.kv_usage(); });
  each("replica_requests_total", "counter", "Attempts sent there.",
       [](const Replica& r) { return r.requests; });
  each("replica_faults_total", "counter", "Of these, those that failed.",
       [](const Replica& r) { return r.faults; });
}

void add_knowledge(Page& page, const Dispatcher& dispatcher) {
  const RouterCore& core = dispatcher.core_view();
  const PrefixIndexStats index = core.index_stats();
  page.gauge("index_blocks", static_cast<double>(index.blocks), "Blocks and chunks in the prefix index.");
  page.gauge("index_capacity_blocks", static_cast<double>(index.capacity_blocks),
             "How many it has room for.");
  page.gauge("index_bytes", static_cast<double>(index.bytes), "Its memory, fixed at the start.");
  page.counter("index_evictions_total", static_cast<double>(index.evictions),
               "Entries that gave their place to others: --index-bytes is too small.");
  page.gauge("dictionary_entries", static_cast<double>(core.dictionary().size()),
             "Chunks of text whose blocks are known.");
  page.gauge("dictionary_bytes", static_cast<double>(core.dictionary().bytes()),
             "Its memory, fixed at the start.");
  page.counter("kv_event_gaps_total", static_cast<double>(core.stats().gaps),
               "Event streams that lost events.");
  page.counter("kv_event_repairs_total", static_cast<double>(core.stats().repairs),
               "Snapshots that made knowledge exact.");
}

}  // namespace

std::string expose_metrics(const Dispatcher& dispatcher) {
  Page page;
  add_requests(page, dispatcher);
  add_shadows(page, dispatcher);
  add_demand(page, dispatcher);
  add_replicas(page, dispatcher);
  add_knowledge(page, dispatcher);
  return page.take();
}

}  // namespace sluice::router
