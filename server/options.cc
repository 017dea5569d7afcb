#include "server/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "server/options_door.h"
#include "server/parsers/dialogue_format.h"
#include "server/version.h"

namespace sluice {
namespace {

constexpr const char* kAbout =
    "Serves one model through the OpenAI API: /v1/chat/completions, /v1/completions, /v1/models; /health, "
    "/ready, /version,\n"
    "/metrics, /tokenize and /detokenize beside them.\n\n"
    "MODEL is a GGUF file, a Hugging Face directory, ORG/NAME[@REVISION] on the Hub, "
    "hf://ORG/NAME[@REVISION][/FILE.gguf],\n"
    "or an http(s) URL of a GGUF file. What is downloaded stays in the Hub's own cache, shared with other "
    "programs.";

constexpr const char* kEpilogue =
    "Environment: HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE (where models come from and "
    "stay),\n"
    "SLUICE_API_KEY (as --api-key), HTTPS_PROXY, HTTP_PROXY, NO_PROXY.\n\n"
    "Signals: SIGTERM and SIGINT stop the server: not ready at once, new requests get 503, running ones "
    "finish within\n"
    "--shutdown-timeout; a second signal ends it at once. SIGHUP reads --api-key-file and the --ssl files "
    "anew.\n\n"
    "Example: sluice serve ./model.gguf --host 0.0.0.0 --api-key secret --max-num-seqs 32";

std::vector<std::string> words(std::span<const std::string_view> names) {
  return {names.begin(), names.end()};
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

Result<DType> parse_cache_dtype(const std::string& text) {
  const std::string name = lower(text);
  if (name == "auto" || name == "bf16" || name == "bfloat16") return DType::kBF16;
  if (name == "f32" || name == "fp32" || name == "float32" || name == "float") return DType::kF32;
  if (name == "int8" || name == "i8") return DType::kI8;
  if (name == "f16" || name == "fp16" || name == "float16") return DType::kF16;
  if (name == "fp8" || name == "fp8_e4m3" || name == "f8") return DType::kF8;
  return invalid_argument("--kv-cache-dtype",
                          "--kv-cache-dtype is '" + text +
                              "'; it must be auto, bf16, f32 or int8 (CPU), bf16, fp16 or "
                              "fp8 (CUDA).");
}

// 32k, 1M: as vLLM reads lengths (k is 1000, K is 1024).
Result<int> parse_length(const std::string& flag, const std::string& text) {
  size_t end = 0;
  double value = -1;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  const std::string unit = text.substr(std::min(end, text.size()));
  double scale = 0;
  if (unit.empty())
    scale = 1;
  else if (unit == "k")
    scale = 1000;
  else if (unit == "K")
    scale = 1024;
  else if (unit == "m")
    scale = 1e6;
  else if (unit == "M")
    scale = 1024 * 1024;
  const double whole = value * scale;
  if (end == 0 || scale == 0 || !(whole >= 1) || whole > (1 << 28) || whole != std::floor(whole)) {
    return invalid_argument(
        flag,
        flag + " is '" + text + "'; it must be a number of tokens such as 4096, 32k (32000) or 32K (32768).");
  }
  return static_cast<int>(whole);
}

// ["a", "b"], as vLLM takes lists on its command line.
Result<std::vector<std::string>> parse_list(const std::string& flag, const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  std::vector<std::string> list;
  bool good = json.is_array();
  for (size_t i = 0; good && i < json.size(); ++i) {
    good = json[i].is_string() &&
           json[i].get_ref<const std::string&>().find_first_of("\r\n") == std::string::npos;
    if (good) list.push_back(json[i]);
  }
  if (good) return list;
  return invalid_argument(flag, flag + " must be a JSON list of strings, as [\"*\"].");
}

std::string join_path(const std::string& folder, const char* name) {
  return folder.empty() ? name : folder + "/" + name;
}

void take_environment(ServeOptions& options, const Environment& environment) {
  const std::string cache = !environment.xdg_cache_home.empty() ? environment.xdg_cache_home
                                                                : join_path(environment.home, ".cache");
  const std::string hub_home =
      !environment.hf_home.empty() ? environment.hf_home : join_path(cache, "huggingface");
  options.repository.cache_directory =
      !environment.hf_hub_cache.empty() ? environment.hf_hub_cache : join_path(hub_home, "hub");
  options.repository.download_directory = join_path(cache, "sluice/models");
  options.repository.token = environment.hf_token;
  if (!environment.hf_endpoint.empty()) options.repository.endpoint = environment.hf_endpoint;
  const std::string offline = lower(environment.hf_hub_offline);
  options.repository.offline = offline == "1" || offline == "on" || offline == "yes" || offline == "true";
  options.http_client.http_proxy = environment.http_proxy;
  options.http_client.https_proxy = environment.https_proxy;
  options.http_client.no_proxy = environment.no_proxy;
  options.http_client.user_agent = std::string("sluice/") + kVersion;
  if (!environment.api_key.empty()) options.api_keys.push_back(environment.api_key);
}

// Values that arrive as text and are checked after parsing.
struct RawOptions {
  std::string max_model_len, kv_cache_dtype = "auto", kv_cache_memory_bytes, responses_store_bytes = "64MiB",
                             download_dir, allowed_origins = "[]", allowed_methods = "[\"*\"]",
                             allowed_headers = "[\"*\"]", simulate;
  bool no_prefix_caching = false;
  bool no_async_scheduling = false;
  bool enforce_eager = false;
};

void add_server_flags(CLI::App& app, ServeOptions& o, RawOptions& raw) {
  const std::string group = "Server";
  app.add_option("--host", o.listen.host,
                 "Address to listen on. 0.0.0.0 opens the server to the network: then set --api-key.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--port", o.listen.port, "Port to listen on; 0 takes a free one and says which.")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535))
      ->group(group);
  app.add_option("--api-key", o.api_keys,
                 "Key that clients send as 'Authorization: Bearer KEY'; several are allowed. Probes "
                 "(/health, /ready, /ping) stay open. Default: none.")
      ->expected(1, 64)
      ->group(group);
  app.add_option("--api-key-file", o.api_key_file,
                 "File with one such key a line; SIGHUP reads it again. For many keys, or to keep "
                 "them off the command line.")
      ->group(group);
  app.add_option("--admin-api-key", o.admin_api_keys,
                 "Key that opens everything, and without which /metrics and /version are closed. "
                 "Default: clients' keys open them too.")
      ->expected(1, 64)
      ->group(group);
  app.add_flag("--metrics-without-key", o.metrics_without_key,
               "Leave /metrics open for scrapers that send no key.")
      ->group(group);
  app.add_option("--allowed-origins", raw.allowed_origins,
                 "Origins whose pages may use the server from a browser: a JSON list as "
                 "[\"https://chat.example\"], or [\"*\"] for all. Default: none.")
      ->group(group);
  app.add_option("--allowed-methods", raw.allowed_methods, "Methods such pages may use: a JSON list.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--allowed-headers", raw.allowed_headers, "Headers such pages may send: a JSON list.")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--allow-credentials", o.listen.cross_origin.allow_credentials,
               "Let such pages send cookies and the like.")
      ->group(group);
  app.add_option("--served-model-name", o.served_model_names,
                 "Names that requests may use for the model; answers and metrics "
                 "carry the first. Default: MODEL.")
      ->expected(1, 64)
      ->group(group);
  app.add_option(
         "--probe-port", o.probe.port,
         "Port for /health and /ready on a thread of their own, which no load keeps waiting; 0: none.")
      ->check(CLI::Range(0, 65535))
      ->group(group);
  app.add_option("--shutdown-delay", o.shutdown_delay_s,
                 "Seconds after SIGTERM in which /ready says 503 and requests are still taken: as long as "
                 "load balancers need to see it.")
      ->capture_default_str()
      ->check(CLI::Range(0, 3600))
      ->group(group);
  app.add_option("--shutdown-timeout", o.shutdown_timeout_s,
                 "Seconds that running requests have after SIGTERM. Raise it where "
                 "answers are long.")
      ->capture_default_str()
      ->check(CLI::Range(0, 86400))
      ->group(group);
  app.add_option("--responses-store-bytes", raw.responses_store_bytes,
                 "Memory for finished responses of /v1/responses that clients may ask for again; the least "
                 "asked for go first.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--io-threads", o.io_threads,
                 "Threads that read and write connections; 0: one per 32 CPUs. Raise it above "
                 "some thousand tokens per second.")
      ->capture_default_str()
      ->check(CLI::Range(0, 64))
      ->group(group);
  app.add_option("--tokenizer-threads", o.tokenizer_threads,
                 "Threads that render and encode large prompts; 0: one per 8 CPUs.")
      ->capture_default_str()
      ->check(CLI::Range(0, 64))
      ->group(group);
}

void add_model_flags(CLI::App& app, ServeOptions& o, RawOptions& raw) {
  const std::string group = "Model";
  app.add_option("--max-model-len", raw.max_model_len,
                 "Longest prompt plus answer, in tokens (4096, 32k). Lower it when the KV "
                 "cache does not fit. Default: the model's own context length.")
      ->group(group);
  app.add_option("--generation-config", o.generation_config,
                 "Sampling defaults for requests that set none: auto takes the "
                 "model's own, vllm takes neutral ones (temperature 1).")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "vllm"}))
      ->group(group);
  app.add_option("--chat-template", o.chat_template_file,
                 "Jinja file to render conversations with, where the model's own "
                 "template is missing or wrong.")
      ->group(group);
  app.add_flag(
         "--trust-request-chat-template", o.trust_request_chat_template,
         "Let a request bring its own 'chat_template' for its conversation; else it gets 400. A template "
         "is a program: only where every client is trusted.")
      ->group(group);
  app.add_option("--tool-call-parser", o.tool_call_parser,
                 "How the model writes tool calls: auto (as its chat template tells), none, hermes, qwen3, "
                 "llama3_json, pythonic, mistral, json. Set it where auto takes the wrong one.")
      ->capture_default_str()
      ->check(CLI::IsMember(words(call_parser_names())))
      ->group(group);
  app.add_option(
         "--reasoning-parser", o.reasoning_parser,
         "How the model marks its thoughts: auto (as its chat template tells), none, qwen3, "
         "deepseek_r1, mistral, seed_oss, kimi. deepseek_r1 takes every answer to begin with thoughts.")
      ->capture_default_str()
      ->check(CLI::IsMember(words(reasoning_parser_names())))
      ->group(group);
  app.add_option("--pooling", o.pooling,
                 "How an embedding is made of a text's hidden states: last takes the "
                 "last token's, mean the mean of all. The model's card says which.")
      ->capture_default_str()
      ->check(CLI::IsMember({"last", "mean"}))
      ->group(group);
  app.add_option(
         "--quantization,-q", o.quantization,
         "fp8 rounds a bf16 model's layers to 8 bits at load: half the memory. Other names (awq, gptq, "
         "compressed-tensors, gguf) must be how the model is quantised already. Default: as it is.")
      ->check(CLI::IsMember(
          {"auto", "awq", "awq_marlin", "compressed-tensors", "fp8", "gguf", "gptq", "gptq_marlin"}))
      ->group(group);
  app.add_option("--revision", o.revision, "Branch, tag or commit of a model from the Hub. Default: main.")
      ->group(group);
  app.add_option("--download-dir", raw.download_dir, "Where downloads are kept. Default: the Hub's cache.")
      ->group(group);
}

void add_simulation_flag(CLI::App& app, RawOptions& raw) {
  app.add_option(
         "--simulate", raw.simulate,
         "Serve without weights: a cost model says how long steps take, answers are made of words that mean "
         "nothing. instant, smg, h100-8b, vllm-program, or a JSON file (docs/simulation.md). A MODEL, where "
         "one is named, gives its tokenizer and chat template. For tests of what stands in front of servers.")
      ->group("Model");
}

// The cost model's own figures, where no flag says otherwise.
Status take_cost_model(const CLI::App& app, const std::string& name_or_path, ServeOptions& o) {
  SLUICE_ASSIGN(o.simulation, read_cost_model(name_or_path));
  const CostModel& model = *o.simulation;
  const auto take = [&](const char* flag, int& option, int value) {
    if (app.count(flag) == 0) option = value;
  };
  take("--max-model-len", o.engine.max_model_len, model.max_model_len);
  take("--max-num-seqs", o.engine.max_num_seqs, model.max_num_seqs);
  take("--max-num-batched-tokens", o.engine.max_num_batched_tokens, model.max_num_batched_tokens);
  take("--block-size", o.engine.block_size, model.block_size);
  // Many of these share a machine.
  take("--io-threads", o.io_threads, 1);
  take("--tokenizer-threads", o.tokenizer_threads, 1);
  return {};
}

void add_engine_flags(CLI::App& app, ServeOptions& o, RawOptions& raw) {
  const std::string group = "Engine";
  EngineOptions& e = o.engine;
  app.add_option("--max-num-seqs", e.max_num_seqs,
                 "Requests that run at once. Raise it for throughput, lower it for steadier "
                 "token times.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-num-batched-tokens", e.max_num_batched_tokens,
                 "Tokens computed in one step; long prompts are cut into "
                 "such chunks. Raise it for faster prompts, lower it for steadier streams.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-num-queued-reqs", e.max_num_queued_reqs,
                 "Requests that may wait; one more gets 429 with Retry-After.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-num-queued-tokens", e.max_num_queued_tokens,
                 "Prompt tokens that may wait; 0: no bound of its own.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--block-size", e.block_size,
                 "Tokens per KV block, a multiple of 16. Larger ones share shorter prefixes less.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--kv-cache-dtype", raw.kv_cache_dtype,
                 "auto (bf16), bf16, f32 or int8. int8 halves the cache and costs a "
                 "little accuracy.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--kv-cache-memory-bytes", raw.kv_cache_memory_bytes,
                 "Memory of the KV cache (2G, 512MiB), of each rank. Default: a share of "
                 "the free memory, at most what --max-num-seqs of --max-model-len need.")
      ->group(group);
  app.add_option(
         "--gpu-memory-utilization", e.gpu_memory_utilization,
         "Share of a GPU's memory for weights, activations and KV cache together. Lower it where others "
         "use the GPU too.")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--no-enable-prefix-caching", raw.no_prefix_caching,
               "Compute every prompt whole. For measurements.")
      ->group(group);
  app.add_flag("--no-async-scheduling", raw.no_async_scheduling,
               "Plan a step only when the one before has ended, on GPUs too. For measurements.")
      ->group(group);
  app.add_option("--scheduling-policy", e.scheduling_policy,
                 "fcfs, or priority (a request's 'priority', lower first).")
      ->capture_default_str()
      ->group(group);
  app.add_option("--priority-aging-ms", e.priority_aging_ms,
                 "With priority: so much waiting is worth one level; 0: strict.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--target-decode-latency-ms", e.target_decode_latency_ms,
                 "Shrinks prompt chunks so that a step with running "
                 "streams stays near it; 0: off. Set it where streams must not stutter.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-head-bypass", e.max_head_bypass,
                 "How often smaller requests may pass a big one at the queue's head.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", e.seed, "Mixed into the random draws of requests without a seed of their own.")
      ->capture_default_str()
      ->group(group);
  app.add_option("--device", o.backend.device,
                 "auto (a GPU where there is one), cpu, cuda, cuda:N, or reference (slow and exact, for "
                 "comparisons).")
      ->capture_default_str()
      ->group(group);
  app.add_option("--tensor-parallel-size", o.backend.ranks,
                 "Devices that compute the model together, each with a part of every layer (also -tp): GPUs "
                 "from N of cuda:N on; of a CPU, groups of its threads. For models larger than a device.")
      ->capture_default_str()
      ->check(CLI::Range(1, 64))
      ->group(group);
  app.add_flag("--deterministic", o.backend.deterministic,
               "On GPUs: an answer's bits depend on no other request. Slower; CPUs do so in any case.")
      ->group(group);
  app.add_flag("--enforce-eager", raw.enforce_eager,
               "On GPUs: issue every operation anew in place of recorded steps. For measurements.")
      ->group(group);
  app.add_option("--threads", o.backend.threads,
                 "Threads that compute; 0: one per physical core this process may use.")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096))
      ->group(group);
  app.add_option("--cpu-isa", o.backend.isa,
                 "auto, avx2, avx512, avx512_vnni or avx512_bf16. For comparisons.")
      ->capture_default_str()
      ->group(group);
}

void add_log_flags(CLI::App& app, ServeOptions& o) {
  const std::string group = "Logging";
  app.add_option("--log-level", o.log_level, "debug, info, warning or error.")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->group(group);
  app.add_flag("--enable-log-requests", o.enable_log_requests, "A line per request (never its text).")
      ->group(group);
  app.add_flag("--disable-log-stats", o.disable_log_stats, "No line of throughput each 10 seconds.")
      ->group(group);
}

Status finish(const CLI::App& app, ServeOptions& o, const RawOptions& raw) {
  if (!raw.simulate.empty()) SLUICE_TRY(take_cost_model(app, raw.simulate, o));
  if (app.count("MODEL") == 0 && !o.simulation) {
    return invalid_argument("MODEL",
                            "MODEL is required: a file, a directory or a name on the Hub; or --simulate "
                            "COST_MODEL serves without one. Run with --help for more.");
  }
  if (app.count("MODEL") > 0 && o.model.find_first_not_of(" \t\r\n") == std::string::npos)
    return invalid_argument("MODEL", "MODEL is empty.");
  SLUICE_ASSIGN(o.engine.kv_cache_dtype, parse_cache_dtype(raw.kv_cache_dtype));
  if (!raw.max_model_len.empty() && raw.max_model_len != "auto") {
    SLUICE_ASSIGN(o.engine.max_model_len, parse_length("--max-model-len", raw.max_model_len));
  }
  if (!raw.kv_cache_memory_bytes.empty()) {
    SLUICE_ASSIGN(o.engine.kv_cache_memory_bytes,
                  parse_bytes("--kv-cache-memory-bytes", raw.kv_cache_memory_bytes));
  }
  SLUICE_ASSIGN(o.responses_store_bytes, parse_bytes("--responses-store-bytes", raw.responses_store_bytes));
  finish_limits(o.listen);
  o.engine.enable_prefix_caching = !raw.no_prefix_caching;
  o.engine.async_scheduling = !raw.no_async_scheduling;
  o.backend.graphs = !raw.enforce_eager;
  if (!raw.download_dir.empty()) {
    o.repository.cache_directory = raw.download_dir;
    o.repository.download_directory = raw.download_dir;
  }
  if (!o.revision.empty()) {
    if (o.model.find('@') != std::string::npos) {
      return invalid_argument("--revision", "--revision and MODEL@REVISION are both given; keep one.");
    }
    o.model += "@" + o.revision;
  }

  for (const std::string& key : o.api_keys) {
    if (key.empty())
      return invalid_argument("--api-key", "--api-key is empty; leave it out to serve everybody.");
  }
  for (const std::string& key : o.admin_api_keys) {
    if (key.empty()) return invalid_argument("--admin-api-key", "--admin-api-key is empty; leave it out.");
  }
  CrossOriginOptions& cors = o.listen.cross_origin;
  SLUICE_ASSIGN(cors.allowed_origins, parse_list("--allowed-origins", raw.allowed_origins));
  SLUICE_ASSIGN(cors.allowed_methods, parse_list("--allowed-methods", raw.allowed_methods));
  SLUICE_ASSIGN(cors.allowed_headers, parse_list("--allowed-headers", raw.allowed_headers));
  SLUICE_TRY(check(o.tls));
  const int cpus = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (o.io_threads == 0) o.io_threads = std::clamp(cpus / 32, 1, 8);
  if (o.tokenizer_threads == 0) o.tokenizer_threads = std::clamp(cpus / 8, 1, 8);
  return check(o.engine);
}

}  // namespace

Result<size_t> parse_bytes(const std::string& flag, const std::string& text) {
  size_t end = 0;
  double value = -1;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  std::string unit = lower(text.substr(std::min(end, text.size())));
  while (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  double scale = 0;
  const std::string powers = "kmgt";
  if (unit.empty() || unit == "b") {
    scale = 1;
  } else if (const size_t power = powers.find(unit.front()); power != std::string::npos) {
    const std::string rest = unit.substr(1);
    if (rest.empty() || rest == "ib") scale = std::pow(1024.0, static_cast<double>(power) + 1);
    if (rest == "b") scale = std::pow(1000.0, static_cast<double>(power) + 1);
  }
  const double bytes = value * scale;
  if (end == 0 || scale == 0 || !(bytes >= 1) || bytes > 0x1p60) {
    return invalid_argument(
        flag, flag + " is '" + text + "'; it must be a number of bytes such as 1073741824, 512MiB or 2G.");
  }
  return static_cast<size_t>(bytes);
}

namespace {

// CLI11 has no options of one dash and two letters; vLLM has one.
std::vector<const char*> with_long_names(int argc, const char* const* argv) {
  std::vector<const char*> arguments(argv, argv + argc);
  for (const char*& argument : arguments)
    if (std::string_view(argument) == "-tp") argument = "--tensor-parallel-size";
  return arguments;
}

}  // namespace

ParsedOptions parse_serve_options(int argc, const char* const* argv, const Environment& environment) {
  ServeOptions options;
  RawOptions raw;
  take_environment(options, environment);
  CLI::App app{kAbout, "sluice serve"};
  app.footer(kEpilogue);
  app.set_version_flag("--version", std::string("sluice ") + kVersion);
  app.get_formatter()->column_width(34);
  app.add_option("MODEL", options.model, "The model to serve; see above.");
  add_server_flags(app, options, raw);
  add_tls_flags(app, options.tls);
  add_model_flags(app, options, raw);
  add_simulation_flag(app, raw);
  add_engine_flags(app, options, raw);
  add_limit_flags(app, options.listen, options.limits);
  add_log_flags(app, options);
  ParsedOptions parsed;
  try {
    app.parse(argc, with_long_names(argc, argv).data());
  } catch (const CLI::ParseError& stop) {
    std::ostringstream out, err;
    parsed.exit_code = app.exit(stop, out, err);
    parsed.text = out.str() + err.str();
    return parsed;
  }
  const Status status = finish(app, options, raw);
  if (!status.ok()) {
    parsed.text = status.error().message + "\n";
    parsed.exit_code = 2;
    return parsed;
  }
  parsed.options = std::move(options);
  return parsed;
}

std::string describe(const ServeOptions& o) {
  const auto or_auto = [](auto value) { return value == 0 ? std::string("auto") : std::to_string(value); };
  return fmt::format(
      "options: host={} port={} tls={} max-model-len={} max-num-seqs={} max-num-batched-tokens={} "
      "max-num-queued-reqs={} "
      "block-size={} kv-cache-dtype={} kv-cache-memory-bytes={} prefix-caching={} scheduling-policy={} "
      "device={} tensor-parallel-size={} threads={} "
      "io-threads={} tokenizer-threads={} max-connections={} max-body-bytes={} shutdown-delay={} "
      "shutdown-timeout={} "
      "generation-config={} quantization={} "
      "simulate={} api-keys={}",
      o.listen.host, o.listen.port, o.tls.certfile.empty() ? "off" : "on", or_auto(o.engine.max_model_len),
      o.engine.max_num_seqs, o.engine.max_num_batched_tokens, o.engine.max_num_queued_reqs,
      o.engine.block_size, name_of(o.engine.kv_cache_dtype), or_auto(o.engine.kv_cache_memory_bytes),
      o.engine.enable_prefix_caching ? "on" : "off", o.engine.scheduling_policy, o.backend.device,
      o.backend.ranks, or_auto(o.backend.threads), o.io_threads, o.tokenizer_threads,
      o.listen.max_connections, o.listen.limits.max_body_bytes, o.shutdown_delay_s, o.shutdown_timeout_s,
      o.generation_config, o.quantization.empty() ? "auto" : o.quantization,
      o.simulation ? o.simulation->name : "off", o.api_keys.size());
}

}  // namespace sluice
