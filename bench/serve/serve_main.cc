// `sluice bench serve`: from flags to figures. Exit codes: 0 measured; 1 nothing could be measured (nobody
// answers, every request failed, a file cannot be written); 2 flags, files or a model that are wrong; 130
// interrupted, after a partial report.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/log.h"
#include "bench/serve/experiment.h"
#include "bench/serve/html_report.h"
#include "bench/serve/live_line.h"
#include "bench/serve/result_text.h"

namespace {

using namespace sluice;
using namespace sluice::bench;

std::atomic<bool> interrupted{false};

void on_signal(int) {
  // The second one ends the program at once.
  if (interrupted.exchange(true)) _exit(130);
}

int fail(const Error& error) {
  if (!error.message.empty()) std::fprintf(stderr, "sluice bench serve: %s\n", error.message.c_str());
  const bool is_theirs = error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kNotFound ||
                         error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kTooLarge;
  return is_theirs ? 2 : 1;
}

// Each request in flight has a socket.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[40];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  return text;
}

// 20261121-180000 for people.
std::string readable(const std::string& date) {
  if (date.size() != 15) return date;
  return date.substr(0, 4) + "-" + date.substr(4, 2) + "-" + date.substr(6, 2) + " " + date.substr(9, 2) +
         ":" + date.substr(11, 2);
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return Error{ErrorCode::kIo, "Cannot write " + path + "."};
  std::fprintf(stderr, "wrote %s\n", path.c_str());
  return {};
}

// The model to ask for: what the flag says, if the server serves that; without it the first that is served.
Status choose_model(Target& target) {
  auto served = served_models(target);
  if (!served.ok()) {
    // Not every server lists its models; one that cannot be reached answers nothing else either.
    if (served.error().code == ErrorCode::kIo || target.model.empty()) return std::move(served).error();
    return {};
  }
  if (target.model.empty()) {
    if (served->empty()) return Error{ErrorCode::kNotFound, "The server serves no model."};
    target.model = served->front();
    return {};
  }
  std::string names;
  for (const std::string& name : *served) {
    if (name == target.model) return {};
    if (names.size() < 200) names += (names.empty() ? "" : ", ") + log::safe(name);
  }
  return Error{ErrorCode::kNotFound,
               "The server has no model '" + log::safe(target.model) + "'; it serves " + names + "."};
}

Lexicon choose_lexicon(const Target& target, bool& is_exact) {
  auto fitted = fit_lexicon([&](const TokenQuestion& question) { return ask_tokens(target, question); });
  is_exact = fitted.ok();
  if (is_exact) return std::move(fitted).value();
  std::fprintf(stderr, "prompts' lengths are approximate, a word counted as a token: %s\n",
               fitted.error().message.c_str());
  return Lexicon();
}

// How long answers of a conversation's file are, by the served tokenizer.
void measure_text(const Target& target, Workload& workload) {
  constexpr size_t kSampleBytes = 100'000;
  const std::string sample = workload.sample_text(kSampleBytes);
  if (sample.empty()) return;
  const auto ids = ask_tokens(target, {.text = sample});
  if (ids.ok() && !ids->empty())
    workload.set_bytes_per_token(static_cast<double>(sample.size()) / static_cast<double>(ids->size()));
}

std::vector<std::string> findings_of(const Experiment& experiment) {
  char text[160];
  if (experiment.found_rate)
    std::snprintf(text, sizeof text, "The bounds are kept up to %.4g requests per second.",
                  *experiment.found_rate);
  else if (experiment.failed_rate)
    std::snprintf(text, sizeof text, "The bounds are not kept even at %.4g requests per second.",
                  *experiment.failed_rate);
  else
    return {};
  return {text};
}

Result<int> run(int argc, char** argv) {
  int exit_code = 0;
  auto parsed = parse_flags(argc, argv, exit_code);
  if (!parsed.ok()) {
    if (parsed.error().code == ErrorCode::kCancelled) return exit_code;
    return std::move(parsed).error();
  }
  const Flags flags = std::move(parsed).value();
  const std::vector<PartSpec> parts = flags.parts.empty() ? std::vector{flags.part} : flags.parts;
  SLUICE_ASSIGN(Workload workload, Workload::load(parts, static_cast<uint64_t>(flags.load.seed)));
  SLUICE_ASSIGN(const Plan plan, make_plan(flags, workload));
  const char* key = std::getenv("OPENAI_API_KEY");
  SLUICE_ASSIGN(Target target, make_target(flags, key == nullptr ? "" : key));
  SLUICE_TRY(choose_model(target));
  Setting setting{.date = date_now(),
                  .backend = std::string(name_of(target.endpoint)),
                  .model = target.model,
                  .base_url = target.url.scheme + "://" + target.url.authority(),
                  .endpoint = target.endpoint_path,
                  .dataset = flags.name.empty() ? parts[0].dataset_name : flags.name,
                  .label = flags.label};
  for (int i = 0; i < argc; ++i) {
    // A key has no place in a file that is passed on.
    const std::string word = argv[i];
    setting.command += (i > 0 ? " " : "") + (i > 0 && std::string(argv[i - 1]) == "--api-key" ? "…" : word);
  }
  Lexicon lexicon = choose_lexicon(target, setting.is_exact_lexicon);
  measure_text(target, workload);
  const bool has_ids = flags.load.prompt_ids && setting.is_exact_lexicon;
  if (flags.load.prompt_ids && !has_ids)
    return Error{ErrorCode::kUnsupported, "--prompt-ids needs a server with /tokenize."};
  SLUICE_ASSIGN(const BodyMaker bodies, BodyMaker::make({.endpoint = target.endpoint,
                                                         .model = target.model,
                                                         .temperature = flags.load.temperature,
                                                         .ignore_eos = flags.load.ignore_eos,
                                                         .streams = !flags.load.no_stream,
                                                         .sends_ids = has_ids},
                                                        std::move(lexicon), parts));
  SLUICE_TRY(try_once(target, bodies, flags.request_timeout, interrupted));

  LiveLine line(!flags.quiet && isatty(STDERR_FILENO) != 0);
  const Spectator spectator{
      [&](const std::string& what, uint64_t sessions) { line.begin(what, sessions); },
      [&](const Progress& progress, double elapsed_s) { line.show(progress, elapsed_s); }};
  const Experiment experiment = run_experiment(flags, plan, target, workload, bodies, interrupted, spectator);
  line.clear();
  std::fputs(table_of(experiment, plan, setting).c_str(), stdout);
  std::fflush(stdout);

  const std::string json = json_of(experiment, flags, plan, setting);
  if (flags.save_result || flags.save_detailed || !flags.result_filename.empty()) {
    std::string name = flags.result_filename;
    if (name.empty()) {
      name = setting.backend + "-" + setting.date + ".json";
      if (!flags.label.empty()) name.insert(0, flags.label + "-");
    }
    const std::string folder = flags.result_dir.empty() ? "" : flags.result_dir + "/";
    SLUICE_TRY(write_file(folder + name, json));
  }
  if (!flags.requests_csv.empty()) SLUICE_TRY(write_file(flags.requests_csv, csv_of(experiment, workload)));
  if (!flags.report.empty() && !experiment.points.empty()) {
    // From what the file says: whoever draws it later sees the same.
    SLUICE_ASSIGN(const auto figures, parse_result_file(json, "the result"));
    const ReportFrame frame{
        .title = (flags.label.empty() ? "" : flags.label + ": ") + setting.model + " under load",
        .subtitle =
            setting.dataset + " on " + setting.base_url + setting.endpoint + ", " + readable(setting.date),
        .command = "sluice bench serve" + setting.command.substr(setting.command.find(' ')),
        .findings = findings_of(experiment)};
    SLUICE_TRY(write_file(flags.report, html_report(frame, figures)));
  }
  if (experiment.was_interrupted) return 130;
  size_t as_planned = 0;
  for (const Point& point : experiment.points)
    as_planned += point.summary.completed + point.summary.cancelled;
  return as_planned > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  raise_file_limit();
  const auto code = run(argc, argv);
  return code.ok() ? *code : fail(code.error());
}
