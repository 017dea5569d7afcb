#include "bench/serve/run_figures.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice::bench {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxPoints = 10'000, kMaxPlaces = 100'000, kMaxRemarks = 100;

std::string text_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

double number_of(const Json& object, const char* name, double otherwise = kNever) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

RunFigures run_of(const Json& json) {
  RunFigures run;
  run.label = run.point = text_of(json, "point");
  if (const std::string own = text_of(json, "label"); !own.empty())
    run.label = own + (run.label.empty() ? "" : ", " + run.label);
  run.model = text_of(json, "model_id");
  run.server = text_of(json, "base_url") + text_of(json, "endpoint");
  run.dataset = text_of(json, "dataset");
  run.date = text_of(json, "date");
  run.rate_rps = number_of(json, "request_rate", kUnlimited);
  run.concurrency = number_of(json, "max_concurrency", 0);
  run.completed = number_of(json, "completed", 0);
  run.failed = number_of(json, "failed", 0);
  run.requests = run.completed + run.failed;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_number()) continue;
    if (name.ends_with("_ms") || name.ends_with("_throughput") || name == "request_goodput")
      run.figures[name] = value.get<double>();
  }
  const auto more = json.find("sluice");
  if (more == json.end() || !more->is_object()) return run;
  run.requests = number_of(*more, "requests", run.requests);
  if (const auto errors = more->find("standard_errors"); errors != more->end() && errors->is_object()) {
    for (const auto& [name, value] : errors->items()) {
      if (value.is_number()) run.standard_errors[name] = value.get<double>();
    }
  }
  if (const auto curves = more->find("curves_ms"); curves != more->end() && curves->is_object()) {
    for (const auto& [name, places] : curves->items()) {
      if (!places.is_array() || places.size() > kMaxPlaces) continue;
      for (const Json& place : places)
        run.curves_ms[name].push_back(place.is_number() ? place.get<double>() : kNever);
    }
  }
  if (const auto timeline = more->find("timeline"); timeline != more->end() && timeline->is_array()) {
    for (const Json& each : *timeline) {
      if (!each.is_object() || run.timeline.size() == kMaxPlaces) continue;
      run.timeline.push_back({number_of(each, "at_s"), number_of(each, "arrivals_per_s"),
                              number_of(each, "ends_per_s"), number_of(each, "errors_per_s"),
                              number_of(each, "tokens_per_s"), number_of(each, "in_flight"),
                              number_of(each, "ttft_p50_ms"), number_of(each, "ttft_p99_ms")});
    }
  }
  if (const auto remarks = more->find("remarks"); remarks != more->end() && remarks->is_array()) {
    for (const Json& each : *remarks) {
      if (each.is_object() && run.remarks.size() < kMaxRemarks)
        run.remarks.push_back({text_of(each, "kind"), text_of(each, "text")});
    }
  }
  return run;
}

}  // namespace

double RunFigures::figure(const std::string& name) const {
  const auto found = figures.find(name);
  return found == figures.end() ? kNever : found->second;
}

Result<std::vector<RunFigures>> parse_result_file(std::string_view text, const std::string& name) {
  const Json json = Json::parse(text, nullptr, false);
  const auto wrong = [&](const std::string& what) { return Error{ErrorCode::kCorrupt, name + " " + what}; };
  if (!json.is_object()) return wrong("is no JSON object, so no result of a run.");
  std::vector<RunFigures> runs;
  if (const auto points = json.find("points"); points != json.end()) {
    if (!points->is_array() || points->empty() || points->size() > kMaxPoints)
      return wrong("has no points, or too many.");
    for (const Json& each : *points) {
      if (!each.is_object()) return wrong("has a point that is no object.");
      runs.push_back(run_of(each));
    }
  } else {
    runs.push_back(run_of(json));
  }
  for (const RunFigures& run : runs) {
    if (run.figures.empty()) return wrong("has no figures of a load test in it.");
  }
  return runs;
}

}  // namespace sluice::bench
