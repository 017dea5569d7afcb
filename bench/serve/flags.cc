#include "bench/serve/flags.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>

#include "bench/serve/flag_tables.h"

namespace sluice::bench {
namespace {

constexpr size_t kMaxPoints = 200;
constexpr int64_t kMaxSessions = 100'000'000;
constexpr int64_t kDefaultPrompts = 1000;
// Planned times lie in memory: with --duration and a high rate their number has a bound.
constexpr int64_t kMaxPlanned = 20'000'000;

Error wrong_flag(const std::string& flag, const std::string& what) {
  return invalid_argument(flag, "--" + flag + " " + what);
}

std::string flag_name(std::string name) {
  std::ranges::replace(name, '_', '-');
  return "--" + name;
}

void declare(CLI::App& app, Flags& flags) {
  const auto load_group = "Load", part_group = "Workload";
  const auto adder = [&](const char* group) {
    return [&app, group](const char* name, auto& field, const char* about) {
      if constexpr (std::is_same_v<std::decay_t<decltype(field)>, bool>)
        app.add_flag(flag_name(name), field, about)->group(group);
      else
        app.add_option(flag_name(name), field, about)->group(group)->capture_default_str();
    };
  };
  const char* const server = "Server";
  app.add_option("--base-url,--url", flags.base_url, "of the server, as in http://host:8000")->group(server);
  app.add_option("--host", flags.host, "where there is no --base-url")->group(server)->capture_default_str();
  app.add_option("--port", flags.port, "likewise")->group(server)->capture_default_str();
  app.add_option("--backend", flags.backend,
                 "openai (completions), openai-chat, openai-responses or "
                 "openai-embeddings; --endpoint says more")
      ->group(server);
  app.add_option("-m,--model", flags.model, "by the name it is served under; default: the first served")
      ->group(server);
  app.add_option("--api-key", flags.api_key, "default: OPENAI_API_KEY")->group(server);
  app.add_option("--header", flags.headers, "NAME=VALUE, sent with each request")->group(server);
  app.add_option("--ssl-ca-certs", flags.ca_file, "PEM file of whom to trust")->group(server);
  app.add_flag("--insecure", flags.insecure, "believe any certificate")->group(server);
  for_load_fields(flags.load, adder(load_group));
  app.add_option("--request-timeout", flags.request_timeout, "seconds that an answer may take")
      ->group(load_group)
      ->capture_default_str();
  app.add_option("--client-threads", flags.client_threads, "that send and receive")
      ->group(load_group)
      ->capture_default_str();
  app.add_option("--goodput", flags.goodput,
                 "bounds in ms that make a request good: ttft:500 tpot:50 e2el:5000")
      ->group(load_group);
  app.add_flag("--find-rate", flags.find_rate, "search the highest rate at which --goodput is kept")
      ->group(load_group);
  app.add_option("--find-share", flags.find_share, "of the requests that must be good")
      ->group(load_group)
      ->capture_default_str();
  app.add_option("--find-tolerance", flags.find_tolerance, "relative width at which the search ends")
      ->group(load_group)
      ->capture_default_str();
  app.add_option("--find-seconds", flags.find_seconds, "that each of its trials sends")
      ->group(load_group)
      ->capture_default_str();
  app.add_option("--workload", flags.workload_file, "JSON file with any of these by name, and parts")
      ->group(part_group);
  for_part_fields(flags.part, adder(part_group));
  const char* const output = "Output";
  app.add_option("--percentile-metrics", flags.percentile_metrics, "which to print")
      ->group(output)
      ->capture_default_str();
  app.add_option("--metric-percentiles", flags.metric_percentiles, "which to compute")
      ->group(output)
      ->capture_default_str();
  app.add_flag("--save-result", flags.save_result, "write a JSON file")->group(output);
  app.add_flag("--save-detailed", flags.save_detailed, "with the lists of each request")->group(output);
  app.add_option("--result-dir", flags.result_dir, "where it goes")->group(output);
  app.add_option("--result-filename", flags.result_filename, "its name")->group(output);
  app.add_option("--label", flags.label, "of the run, in files and pictures")->group(output);
  app.add_option("--requests-csv", flags.requests_csv, "write a line for each request")->group(output);
  app.add_option("--report", flags.report, "write a page with pictures, an HTML file")->group(output);
  app.add_flag("-q,--quiet,--disable-tqdm", flags.quiet, "no live line")->group(output);
}

Status check(const Flags& flags) {
  const LoadFlags& load = flags.load;
  const auto positive = [](double value) { return value > 0 && std::isfinite(value); };
  if (flags.port < 1 || flags.port > 65535) return wrong_flag("port", "must be from 1 to 65535.");
  if (load.num_prompts < 0 || load.num_prompts > kMaxSessions)
    return wrong_flag("num-prompts", "must be from 0 to 100000000.");
  if (!positive(load.burstiness)) return wrong_flag("burstiness", "must be above 0.");
  if (load.arrival != "gamma" && load.arrival != "constant")
    return wrong_flag("arrival", "must be gamma or constant.");
  if (!(load.duration >= 0 && load.duration <= 1e7)) return wrong_flag("duration", "must be from 0 to 1e7.");
  if (!(load.warmup >= 0 && load.warmup <= 1e7)) return wrong_flag("warmup", "must be from 0 to 1e7.");
  if (load.duration > 0 && load.warmup >= load.duration)
    return wrong_flag("warmup", "must be shorter than --duration, or nothing is counted.");
  if (load.num_warmups < 0 || load.num_warmups > 1'000'000)
    return wrong_flag("num-warmups", "must be from 0 to 1000000.");
  if (load.seeds < 1 || load.seeds > 1000) return wrong_flag("seeds", "must be from 1 to 1000.");
  if (!(load.temperature >= 0 && load.temperature <= 2))
    return wrong_flag("temperature", "must be from 0 to 2.");
  if (!positive(flags.request_timeout)) return wrong_flag("request-timeout", "must be above 0.");
  if (flags.client_threads < 1 || flags.client_threads > 64)
    return wrong_flag("client-threads", "must be from 1 to 64.");
  if (!(flags.find_share > 0 && flags.find_share <= 1))
    return wrong_flag("find-share", "must be above 0, at most 1.");
  if (!(flags.find_tolerance >= 0.001 && flags.find_tolerance <= 1))
    return wrong_flag("find-tolerance", "must be from 0.001 to 1.");
  if (!(flags.find_seconds >= 0.1 && flags.find_seconds <= 86400))
    return wrong_flag("find-seconds", "must be from 0.1 to 86400.");
  if (flags.find_rate && flags.goodput.empty())
    return wrong_flag("find-rate", "needs --goodput: which latencies are to be kept?");
  return {};
}

Result<std::vector<RateSegment>> curve_of(const LoadFlags& load, int64_t count) {
  if (!load.rate_steps.empty()) return parse_rate_steps(load.rate_steps);
  if (load.ramp_up_strategy.empty()) return std::vector<RateSegment>();
  if (load.ramp_up_strategy != "linear" && load.ramp_up_strategy != "exponential")
    return wrong_flag("ramp-up-strategy", "must be linear or exponential.");
  const bool is_exponential = load.ramp_up_strategy == "exponential";
  const double low = is_exponential ? 1e-6 : 0;
  for (const double rate : {load.ramp_up_start_rps, load.ramp_up_end_rps}) {
    if (!(rate >= low && rate <= 1e7))
      return wrong_flag("ramp-up-strategy",
                        "needs --ramp-up-start-rps and --ramp-up-end-rps, rates up to 1e7" +
                            std::string(is_exponential ? " and above 0." : "."));
  }
  if (load.ramp_up_start_rps + load.ramp_up_end_rps <= 0)
    return wrong_flag("ramp-up-end-rps", "must be above 0.");
  return make_ramp(load.ramp_up_start_rps, load.ramp_up_end_rps, static_cast<size_t>(count), is_exponential);
}

}  // namespace

Result<std::vector<double>> parse_numbers(const std::string& flag, std::string_view text, double low,
                                          double high) {
  std::vector<double> numbers;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view term = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    double value = 0;
    const auto [end, error] = std::from_chars(term.data(), term.data() + term.size(), value);
    const bool whole = error == std::errc() && end == term.data() + term.size();
    if (!whole || !(value >= low && value <= high) || numbers.size() == kMaxPoints) {
      char range[80];
      std::snprintf(range, sizeof range, "from %g to %g", low, high);
      return wrong_flag(flag, "must be numbers " + std::string(range) + " with commas between; '" +
                                  std::string(term.substr(0, 40)) + "' is none.");
    }
    numbers.push_back(value);
  }
  if (numbers.empty()) return wrong_flag(flag, "must not be empty.");
  return numbers;
}

Result<Flags> parse_flags(int argc, char** argv, int& exit_code) {
  // Twice: the workload file's fields are the defaults of what the command line does not say.
  Flags flags;
  for (const bool is_second : {false, true}) {
    CLI::App app("Loads a server that speaks OpenAI's API and tells how it fared.", "sluice bench serve");
    declare(app, flags);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& stop) {
      const int code = app.exit(stop);
      exit_code = code == 0 ? 0 : 2;
      return Error{ErrorCode::kCancelled, ""};
    }
    if (is_second || flags.workload_file.empty()) break;
    const std::string file = flags.workload_file;
    SLUICE_ASSIGN(const std::string text, read_whole_file(file));
    flags = Flags();
    SLUICE_TRY(apply_workload_file(text, file, flags));
  }
  SLUICE_TRY(check(flags));
  return flags;
}

Result<Plan> make_plan(const Flags& flags, const Workload& workload) {
  const LoadFlags& load = flags.load;
  Plan plan;
  SLUICE_ASSIGN(plan.rates, parse_numbers("request-rate", load.request_rate, 1e-6, kUnlimited));
  plan.concurrencies = {0};
  if (!load.max_concurrency.empty()) {
    SLUICE_ASSIGN(const auto places, parse_numbers("max-concurrency", load.max_concurrency, 1, 1e6));
    plan.concurrencies.assign(places.begin(), places.end());
  }
  if (plan.rates.size() > 1 && plan.concurrencies.size() > 1)
    return wrong_flag("request-rate", "and --max-concurrency are both lists; sweep over one of them.");
  SLUICE_ASSIGN(plan.percentiles, parse_numbers("metric-percentiles", flags.metric_percentiles, 0, 100));
  for (std::string_view rest = flags.percentile_metrics; !rest.empty();) {
    const size_t comma = rest.find(',');
    const std::string_view metric = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    if (metric != "ttft" && metric != "tpot" && metric != "itl" && metric != "e2el")
      return wrong_flag("percentile-metrics", "knows ttft, tpot, itl and e2el.");
    plan.metrics.emplace_back(metric);
  }
  SLUICE_ASSIGN(plan.slo, parse_slo(flags.goodput));
  const bool has_rate = load.request_rate != "inf";
  const int64_t count = load.num_prompts > 0 ? load.num_prompts : kDefaultPrompts;
  SLUICE_ASSIGN(plan.curve, curve_of(load, count));
  if (!plan.curve.empty() && (has_rate || flags.find_rate))
    return wrong_flag("request-rate", "and a rate that changes exclude one another.");
  plan.replays_trace = workload.has_times() && !has_rate && plan.curve.empty() && !flags.find_rate &&
                       load.max_concurrency.empty();
  if (load.duration > 0) plan.duration_s = load.duration;
  // By number, by time, or both: whichever comes first.
  int64_t sessions = count;
  const bool ends_by_time = load.duration > 0 || !load.rate_steps.empty();
  const bool is_all_at_once = !has_rate && plan.curve.empty() && plan.concurrencies[0] == 0;
  if (load.num_prompts == 0 && (plan.replays_trace || (ends_by_time && !is_all_at_once)))
    sessions = kMaxPlanned;
  plan.ends_by_time = sessions == kMaxPlanned && !plan.replays_trace;
  plan.session_count = std::min<uint64_t>(static_cast<uint64_t>(sessions), workload.size());
  return plan;
}

Result<Target> make_target(const Flags& flags, const std::string& api_key) {
  Target target;
  std::string url = flags.base_url;
  if (url.empty()) url = "http://" + flags.host + ":" + std::to_string(flags.port);
  if (url.find("://") == std::string::npos) url = "http://" + url;
  SLUICE_ASSIGN(target.url, parse_url(url));
  std::string prefix = target.url.target;
  while (prefix.ends_with('/')) prefix.pop_back();
  std::string endpoint = flags.load.endpoint;
  const std::string& backend = flags.backend;
  if (backend == "openai-chat")
    endpoint = "/v1/chat/completions";
  else if (backend == "openai-responses")
    endpoint = "/v1/responses";
  else if (backend == "openai-embeddings")
    endpoint = "/v1/embeddings";
  else if (!backend.empty() && backend != "openai" && backend != "vllm")
    return wrong_flag("backend", "must be openai, openai-chat, openai-responses or openai-embeddings.");
  if (!endpoint.starts_with('/')) endpoint.insert(0, "/");
  if (endpoint.find_first_of(" \r\n\t") != std::string::npos)
    return wrong_flag("endpoint", "must not contain white space.");
  SLUICE_ASSIGN(target.endpoint, endpoint_of(endpoint));
  // People give the SDKs' base URL, with its /v1, and mean the same.
  if (prefix.ends_with("/v1") && endpoint.starts_with("/v1/")) prefix.resize(prefix.size() - 3);
  target.endpoint_path = prefix + endpoint;
  target.model = flags.model;
  const std::string& key = flags.api_key.empty() ? api_key : flags.api_key;
  if (!key.empty()) target.headers.emplace_back("Authorization", "Bearer " + key);
  for (const std::string& header : flags.headers) {
    const size_t sign = header.find_first_of("=:");
    if (sign == std::string::npos || sign == 0)
      return wrong_flag("header", "must be NAME=VALUE; it is '" + header.substr(0, 40) + "'.");
    std::string value = header.substr(sign + 1);
    value.erase(0, value.find_first_not_of(' '));
    target.headers.emplace_back(header.substr(0, sign), value);
  }
  for (const auto& [name, value] : target.headers) {
    const auto is_plain = [](unsigned char c) { return c > 0x20 && c < 0x7f && c != ':'; };
    if (!std::ranges::all_of(name, is_plain) || value.find_first_of("\r\n") != std::string::npos)
      return wrong_flag("header", "must have a name without spaces and a value of one line.");
  }
  target.ca_file = flags.ca_file;
  target.checks_server = !flags.insecure;
  if (target.url.scheme == "https") {
    SLUICE_ASSIGN(target.tls, TlsTrust::load({.authorities = {"--ssl-ca-certs", flags.ca_file},
                                              .checks_server = target.checks_server}));
  }
  return target;
}

}  // namespace sluice::bench
