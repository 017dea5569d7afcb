// The flags of `sluice serve`, each once: parsed, checked, printed. Names are vLLM's where the meaning is the
// same. The environment is handed in by main as values; nothing here reads it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/options.h"
#include "kernels/make_backend.h"
#include "models/repository.h"
#include "server/net/http_client.h"
#include "server/net/probe_door.h"
#include "server/options_simulation.h"
#include "server/wire/generation_fields.h"

namespace sluice {

struct ServeOptions {
  std::string model;                            // with `simulation` it may be empty: no file is read at all
  std::optional<CostModel> simulation;          // in place of the model's weights and a device
  std::vector<std::string> served_model_names;  // empty: `model`
  std::vector<std::string> api_keys, admin_api_keys;
  std::string api_key_file;
  bool metrics_without_key = false;
  std::string log_level = "info";
  std::string generation_config = "auto";  // auto: the model's own sampling defaults; vllm: neutral ones
  std::string chat_template_file;
  std::string revision;
  std::string quantization;                                          // as models/online_quantisation.h has it
  std::string pooling = "last";                                      // of embeddings
  std::string tool_call_parser = "auto", reasoning_parser = "auto";  // auto: as the chat template tells
  bool enable_log_requests = false;
  bool disable_log_stats = false;
  ProbeOptions probe;  // on the server's own address
  int shutdown_delay_s = 0;
  int shutdown_timeout_s = 30;
  int io_threads = 0;         // 0: one per 32 CPUs
  int tokenizer_threads = 0;  // 0: one per 8 CPUs
  bool trust_request_chat_template = false;
  size_t responses_store_bytes = size_t{64} << 20;

  EngineOptions engine;
  BackendOptions backend;
  WireLimits limits;     // what depends on the model is filled in when it is loaded
  ListenOptions listen;  // its `tls` is made of `tls` by main
  TlsOptions tls;
  RepositoryOptions repository;
  HttpClientOptions http_client;
};

// What main read from the environment, as far as it was set.
struct Environment {
  std::string home, xdg_cache_home, hf_home, hf_hub_cache, hf_token, hf_endpoint, hf_hub_offline;
  std::string http_proxy, https_proxy, no_proxy, api_key;
};

struct ParsedOptions {
  std::optional<ServeOptions> options;  // none: print `text` and exit with `exit_code`
  std::string text;
  int exit_code = 0;
};

ParsedOptions parse_serve_options(int argc, const char* const* argv, const Environment& environment);

// One line of what is set, without keys and tokens.
std::string describe(const ServeOptions& options);

// "2G", "512MiB", "1073741824"; K, M, G, T are powers of 1024, as are KiB, …; KB, MB, … are powers of 1000.
Result<size_t> parse_bytes(const std::string& flag, const std::string& text);

}  // namespace sluice
