#include "router/io/demand_board.h"

#include <algorithm>
#include <numeric>

#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

constexpr Seconds kInterval = 1;
constexpr Seconds kPeerSilence = 5;
constexpr Seconds kColdStart = 3;  // what is ready sooner had not to be waited for

}  // namespace

DemandBoard::DemandBoard(DemandBoardOptions options) : options_(std::move(options)) {
  for (const std::string& model : options_.models) {
    model_of(model);
    told_[model];
  }
}

DemandBoard::Model* DemandBoard::model_of(const std::string& name) {
  const auto at = models_.find(name);
  if (at != models_.end()) return &at->second;
  if (name.empty() || models_.size() >= kMaxModels) return nullptr;
  Model& model = models_[name];
  if (options_.forecast) model.forecast.emplace(*options_.forecast);
  return &model;
}

void DemandBoard::arrived(const std::string& name) {
  const auto at = models_.find(name);
  if (at == models_.end()) return;
  if (const auto told = told_.find(name); told != told_.end() && told->second.demand.replicas == 0) next_ = 0;
  Model& model = at->second;
  const double together = std::min(model.knee.requests(options_.demand.slo_itl), 256.0);
  if (model.knee.is_known()) model.pending_work += model.mean_tokens * model.knee.step(together) / together;
}

void DemandBoard::first_token(const std::string& name, Seconds after, Seconds now) {
  const auto at = models_.find(name);
  if (at != models_.end()) at->second.ttft.observe(after, now);
}

void DemandBoard::answered(const std::string& name, double running, uint32_t tokens, Seconds step,
                           Seconds now) {
  const auto at = models_.find(name);
  if (at == models_.end() || tokens == 0) return;
  Model& model = at->second;
  model.mean_tokens += (model.mean_tokens == 0 ? 1 : 0.05) * (tokens - model.mean_tokens);
  if (tokens < 2) return;
  model.knee.observe(running, step);
  model.itl.observe(step, now);
}

void DemandBoard::coming(const std::string& name, const std::vector<std::string>& models, bool is_pending,
                         Seconds now) {
  coming_.try_emplace(name, Coming{now, models, is_pending});
}

void DemandBoard::came(const std::string& name, Seconds now) {
  const auto at = coming_.find(name);
  if (at == coming_.end()) return;
  if (now - at->second.since >= kColdStart) cold_starts_.took(now - at->second.since);
  coming_.erase(at);
}

void DemandBoard::peer_said(const std::string& peer, std::map<std::string, Load> share, Seconds now) {
  for (const auto& [model, load] : share) {
    if (load.in_flight > 0) model_of(model);
  }
  peers_[peer] = {now, std::move(share)};
}

void DemandBoard::gone(const std::string& name) {
  coming_.erase(name);
}

// Whoever does not say what it will serve may be for any model.
bool DemandBoard::is_coming(const Coming& coming, const std::string& model, Seconds now) const {
  const Seconds age = now - coming.since;
  return (coming.is_pending || age >= kColdStart) && age < cold_starts_.patience() &&
         (coming.models.empty() || std::ranges::find(coming.models, model) != coming.models.end());
}

int DemandBoard::coming_for(const std::string& model, Seconds now) const {
  return static_cast<int>(
      std::ranges::count_if(coming_, [&](const auto& each) { return is_coming(each.second, model, now); }));
}

Seconds DemandBoard::next_ready_in(const std::string& model, Seconds now) const {
  Seconds next = kNever;
  if (cold_starts_.count() == 0) return next;
  for (const auto& [name, coming] : coming_) {
    if (is_coming(coming, model, now))
      next = std::min(next, std::max(cold_starts_.p90() - (now - coming.since), 0.0));
  }
  return next;
}

void DemandBoard::make(const RouterCore& core, const std::map<std::string, Seconds>& oldest, Seconds now) {
  fleet_version_ = core.fleet().version();
  const bool second_is_over = now >= second_began_ + kInterval;
  if (second_is_over) second_began_ = now;
  next_ = second_began_ + kInterval;
  for (const auto& replica : core.fleet().replicas()) {
    if (replica->state == ReplicaState::kReady) came(replica->spec.name, now);
    for (const std::string& model : replica->spec.models) model_of(model);
  }
  // As long as no model is known, what is asked for whatever name is told of without one: a scaler that
  // starts from nothing must see it.
  if (models_.empty())
    models_[""];
  else if (models_.size() > 1 && models_.erase("") == 1)
    told_.erase("");
  for (auto& [name, model] : models_) {
    ModelDemand& told = told_[name];
    told.counts = core.load_of(name, now);
    if (name.empty()) {
      told.counts.requests = static_cast<double>(core.live());
      told.counts.queued = told.counts.uncomputed = static_cast<double>(core.queued());
      told.counts.queued_tokens = static_cast<double>(core.queued_tokens());
    }
    const ModelLoad& counts = told.counts;
    // What arrived in the last second, in seconds of one replica.
    if (counts.arrived_prefill > model.last_prefill) {
      model.pending_work += counts.arrived_prefill - model.last_prefill;
    }
    model.last_prefill = counts.arrived_prefill;
    if (second_is_over) {
      const double work = std::exchange(model.pending_work, 0);
      model.work.push_back(work);
      if (model.work.size() > kWindow) model.work.pop_front();
      if (model.forecast) model.forecast->observe(work, now);
    }
    const double sum = std::accumulate(model.work.begin(), model.work.end(), 0.0);

    double knee = model.knee.requests(options_.demand.slo_itl);
    if (counts.max_running > 0) knee = std::min(knee, counts.max_running);
    told.load = {
        .in_flight = counts.requests,
        .queued = counts.queued,
        .uncomputed = counts.uncomputed,
        .backlog_seconds = counts.backlog,
        .kv_in_use = counts.kv_in_use,
        .offered = model.work.empty() ? 0 : sum / static_cast<double>(model.work.size()),
        .cold_start = cold_starts_.p90(),
        .knee = knee,
        .ttft_p90 = model.ttft.quantile(0.9, now),
        .itl_p90 = model.itl.quantile(0.9, now),
        .ready = counts.replicas[static_cast<size_t>(ReplicaState::kReady)],
        .loading = coming_for(name, now),
    };
    told.own = told.load;
    told.own.backlog_seconds = counts.queue_backlog;
    for (const auto& [peer, said] : peers_) {
      const auto share = said.share.find(name);
      if (share != said.share.end() && now - said.at < kPeerSilence) told.load += share->second;
    }
    if (model.forecast) {
      told.forecast = model.forecast->peak() / options_.demand.busy_full;
      told.forecast_acts = model.forecast->trusted();
    }
    told.demand = demand_of(options_.demand, told.load, told.forecast_acts ? told.forecast : 0);
    told.oldest = 0;
    for (const auto& [asked, since] : oldest) {
      if (asked == name || name.empty()) told.oldest = std::max(told.oldest, now - since);
    }
  }
}

std::vector<MetricSeries> DemandBoard::series() const {
  std::vector<MetricSeries> all;
  for (const auto& [name, told] : told_) {
    const auto add = [&](const char* metric, double value) {
      all.push_back({std::string("sluice_") + metric, {{"model", name}}, value});
    };
    add("demand_replicas", told.demand.replicas);
    add("queue_depth", told.load.queued);
    add("inflight_requests", told.load.in_flight);
    add("backlog_seconds", told.load.backlog_seconds);
    add("queue_oldest_age_seconds", told.oldest);
    add("forecast_demand_replicas", told.forecast);
  }
  return all;
}

std::string demand_json(const std::string& model, const ModelDemand& told, const ColdStarts& cold_starts) {
  std::string out = R"({"model":)";
  append_json_string(out, model);
  const auto add = [&](std::string_view name, const auto& value) { append_json_member(out, name, value); };
  add("demand_replicas", told.demand.replicas);
  add("reason", std::string_view(name_of(told.demand.reason)));
  add("demand_raw", told.demand.raw);
  out += R"(,"terms":{)";
  for (int term = 1; term < kDemandTerms; ++term) {
    if (term > 1) out += ',';
    out.append("\"").append(name_of(static_cast<DemandTerm>(term))).append("\":");
    append_json(out, told.demand.terms[static_cast<size_t>(term)]);
  }
  out += '}';
  add("credit", told.demand.credit);
  add("held", told.demand.held);
  add("active", is_active(told));
  add("inflight_requests", told.load.in_flight);
  add("queue_depth", told.load.queued);
  add("queue_oldest_age_seconds", told.oldest);
  add("backlog_seconds", told.load.backlog_seconds);
  add("offered_replicas", told.load.offered);
  add("concurrency_per_replica", told.load.knee);
  add("kv_in_use", told.counts.kv_in_use);
  add("forecast_demand_replicas", told.forecast);
  add("forecast_acts", told.forecast_acts);
  add("ready", static_cast<double>(told.load.ready));
  add("loading", static_cast<double>(told.load.loading));
  add("cold_start_seconds", cold_starts.p90());
  return out + "}";
}

}  // namespace sluice::router
