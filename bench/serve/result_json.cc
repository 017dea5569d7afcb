#include <cmath>
#include <nlohmann/json.hpp>

#include "bench/serve/result_text.h"
#include "server/version.h"

namespace sluice::bench {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

void add_details(Json& out, const Point& point) {
  Json inputs = Json::array(), outputs = Json::array(), ttfts = Json::array(), itls = Json::array();
  Json e2els = Json::array(), lates = Json::array(), errors = Json::array(), starts = Json::array();
  for (const RunResult& run : point.runs) {
    for (const RequestRecord& each : run.records) {
      if (each.is_warmup) continue;
      inputs.push_back(each.input_tokens);
      outputs.push_back(each.output_tokens);
      ttfts.push_back(number(each.first_s - each.planned_s));
      Json gaps = Json::array();
      for (const float gap : each.gaps_ms) gaps.push_back(gap / 1e3);
      itls.push_back(std::move(gaps));
      e2els.push_back(number(each.end_s - each.planned_s));
      lates.push_back(number(each.sent_s - each.planned_s));
      starts.push_back(each.planned_s);
      const bool is_done = each.outcome == Outcome::kDone;
      errors.push_back(is_done ? "" : std::string(name_of(each.outcome)) + ": " + each.fault);
    }
  }
  out["input_lens"] = std::move(inputs);
  out["output_lens"] = std::move(outputs);
  out["ttfts"] = std::move(ttfts);
  out["itls"] = std::move(itls);
  out["e2els"] = std::move(e2els);
  out["send_lateness"] = std::move(lates);
  out["start_times"] = std::move(starts);
  out["errors"] = std::move(errors);
}

Json timeline_of(const Summary& summary) {
  Json out = Json::array();
  for (const TimelinePoint& point : summary.timeline) {
    out.push_back({{"at_s", number(point.at_s)},
                   {"arrivals_per_s", number(point.arrivals_per_s)},
                   {"ends_per_s", number(point.ends_per_s)},
                   {"errors_per_s", number(point.errors_per_s)},
                   {"tokens_per_s", number(point.tokens_per_s)},
                   {"in_flight", number(point.in_flight)},
                   {"ttft_p50_ms", number(point.ttft_p50_ms)},
                   {"ttft_p99_ms", number(point.ttft_p99_ms)}});
  }
  return out;
}

// Two hundred places of a distribution, so that it can be drawn again beside another run's.
Json curve_of(const Distribution& of) {
  constexpr int kPlaces = 200;
  Json out = Json::array();
  if (of.count() == 0) return out;
  for (int i = 0; i <= kPlaces; ++i) out.push_back(number(of.percentile(100.0 * i / kPlaces)));
  return out;
}

Json point_of(const Point& point, const Flags& flags, const Plan& plan, const Setting& setting) {
  const Summary& got = point.summary;
  Json out;
  out["date"] = setting.date;
  out["backend"] = setting.backend;
  out["endpoint_type"] = setting.backend;
  out["label"] = setting.label.empty() ? Json(nullptr) : Json(setting.label);
  out["model_id"] = setting.model;
  out["tokenizer_id"] = setting.model;
  out["base_url"] = setting.base_url;
  out["endpoint"] = setting.endpoint;
  out["dataset"] = setting.dataset;
  out["num_prompts"] = point.sessions;
  // As vLLM's tool writes it: the word where there is no number.
  out["request_rate"] = std::isfinite(point.rate_rps) ? Json(point.rate_rps) : Json("inf");
  out["burstiness"] = flags.load.burstiness;
  out["max_concurrency"] = point.concurrency > 0 ? Json(point.concurrency) : Json(nullptr);
  out["point"] = point.label;
  out["seed"] = flags.load.seed;
  out["duration"] = number(got.duration_s);
  out["completed"] = got.completed;
  out["failed"] = got.failed;
  out["total_input_tokens"] = got.input_tokens;
  out["total_output_tokens"] = got.output_tokens;
  for (const auto& [name, value] : figures_of(got, plan.percentiles)) {
    if (name == "request_goodput" && !plan.slo.any()) {
      out["request_goodput"] = nullptr;
    } else {
      out[name] = number(value);
    }
  }
  out["max_output_tokens_per_s"] = number(got.peak_output_per_s);
  out["max_concurrent_requests"] = got.peak_in_flight;
  Json& more = out["sluice"];
  more["version"] = kVersion;
  more["command"] = setting.command;
  more["requests"] = got.requests;
  more["warmup_requests"] = got.warmups;
  more["cancelled"] = got.cancelled;
  more["cut"] = got.cut;
  more["interrupted"] = got.was_interrupted;
  more["errors_by_kind"] = got.errors;
  more["error_examples"] = got.error_examples;
  more["good_requests"] = got.good;
  more["kept_slo"] = plan.slo.any() ? Json(point.kept_slo) : Json(nullptr);
  more["cached_tokens"] = got.with_cached > 0 ? Json(got.cached_tokens) : Json(nullptr);
  more["answers_with_usage"] = got.with_usage;
  more["prompts_of_exact_length"] = got.exact_inputs;
  more["prompts_of_known_length"] = got.known_inputs;
  more["client_busy"] = number(got.client_busy);
  more["machine_busy"] = number(got.machine_busy);
  more["clock_tick_lateness_p99_ms"] = number(got.stall_ms);
  more["remarks"] = Json::array();
  for (const Remark& remark : got.remarks)
    more["remarks"].push_back({{"kind", remark.kind}, {"text", remark.text}});
  more["seeds"] = point.runs.size();
  more["standard_errors"] = Json::object();
  for (const auto& [name, error] : got.standard_errors) more["standard_errors"][name] = number(error);
  more["intervals_95"] = Json::object();
  for (const auto& [name, interval] : got.intervals)
    more["intervals_95"][name] = {number(interval.low), number(interval.high)};
  more["curves_ms"] = {{"ttft", curve_of(got.ttft)},
                       {"tpot", curve_of(got.tpot)},
                       {"itl", curve_of(got.itl)},
                       {"e2el", curve_of(got.e2el)}};
  more["timeline"] = timeline_of(got);
  if (flags.save_detailed) add_details(out, point);
  return out;
}

}  // namespace

std::string json_of(const Experiment& experiment, const Flags& flags, const Plan& plan,
                    const Setting& setting) {
  const auto write = [](const Json& json) {
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  };
  if (experiment.points.size() == 1 && !flags.find_rate)
    return write(point_of(experiment.points[0], flags, plan, setting));
  Json out;
  out["date"] = setting.date;
  out["model_id"] = setting.model;
  out["interrupted"] = experiment.was_interrupted;
  if (flags.find_rate) {
    out["found_rate"] = experiment.found_rate ? Json(*experiment.found_rate) : Json(nullptr);
    out["failed_rate"] = experiment.failed_rate ? Json(*experiment.failed_rate) : Json(nullptr);
  }
  out["points"] = Json::array();
  for (const Point& point : experiment.points) out["points"].push_back(point_of(point, flags, plan, setting));
  return write(out);
}

std::string csv_of(const Experiment& experiment, const Workload& workload) {
  std::string out =
      "point,run,session,turn,tenant,outcome,status,warmup,planned_s,sent_s,first_token_s,last_token_s,end_s,"
      "ttft_ms,tpot_ms,e2el_ms,queue_ms,input_tokens,output_tokens,cached_tokens,events,fault\n";
  const auto put_time = [&](double value, const char* format) {
    char text[40] = "";
    if (!std::isnan(value)) std::snprintf(text, sizeof text, format, value);
    out.append(",").append(text);
  };
  const auto put_text = [&](const std::string& text) {
    out += ",\"";
    for (const char c : text) out.append(c == '"' ? "\"\"" : std::string(1, c));
    out += '"';
  };
  for (const Point& point : experiment.points) {
    for (size_t run = 0; run < point.runs.size(); ++run) {
      for (const RequestRecord& each : point.runs[run].records) {
        out.append("\"").append(point.label).append("\",").append(std::to_string(run + 1));
        out.append(",").append(std::to_string(each.session)).append(",").append(std::to_string(each.turn));
        put_text(workload.parts()[each.part].tenant);
        out.append(",").append(name_of(each.outcome)).append(",").append(std::to_string(each.status));
        out.append(each.is_warmup ? ",1" : ",0");
        for (const double at : {each.planned_s, each.sent_s, each.first_s, each.last_s, each.end_s})
          put_time(at, "%.6f");
        const Latencies had = latencies_of(each, false);
        for (const double ms : {had.ttft_ms, had.tpot_ms, had.e2el_ms, static_cast<double>(each.queue_ms)})
          put_time(ms, "%.3f");
        out.append(",").append(std::to_string(each.input_tokens));
        out.append(",").append(std::to_string(each.output_tokens)).append(",");
        if (each.cached_tokens >= 0) out.append(std::to_string(each.cached_tokens));
        out.append(",").append(std::to_string(each.events));
        put_text(each.fault);
        out += '\n';
      }
    }
  }
  return out;
}

}  // namespace sluice::bench
