#include "server/model_loading.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "base/log.h"
#include "engine/rank_group.h"
#include "engine/simulated_runner.h"
#include "models/model.h"
#include "models/model_files.h"
#include "models/online_quantisation.h"
#include "server/api/text_shield.h"
#include "server/net/http_fetcher.h"
#include "server/progress.h"
#include "server/text/simulated_tokenizer.h"
#include "server/version.h"

namespace sluice {
namespace {

// Longer tokens exist in no vocabulary of ours (runs of spaces or dashes reach 128 to 256 bytes), so a prompt
// of more bytes than this per token of context cannot fit and need not be encoded to know it.
constexpr size_t kMaxBytesPerToken = 256;
constexpr size_t kMaxTemplateBytes = size_t{4} << 20;
constexpr int kSimulatedWidth = 256;  // of a simulated embedding

struct Text {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;
  ChatDialect dialect;
  Dialogue dialogue;
};

Result<std::string> read_template(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in) return Error{ErrorCode::kIo, "--chat-template: cannot read " + path + "."};
  std::string out = std::move(text).str();
  if (out.empty() || out.size() > kMaxTemplateBytes) {
    return invalid_argument("--chat-template",
                            "--chat-template: " + path + " is empty or larger than 4 MiB.");
  }
  return out;
}

// `tokenizer` null: the source's own.
Result<Text> load_text(const TokenizerSource& source, const ServeOptions& options,
                       std::shared_ptr<const Tokenizer> tokenizer = nullptr) {
  Text text;
  SLUICE_ASSIGN(DialogueFormat format,
                dialogue_format(options.tool_call_parser, options.reasoning_parser, source.chat_template));
  text.tokenizer = std::move(tokenizer);
  if (text.tokenizer == nullptr) {
    SLUICE_ASSIGN(text.tokenizer, Tokenizer::load(source));
  }
  SLUICE_ASSIGN(text.chat_template, ChatTemplate::compile(source));
  log::info("tool calls: {}, reasoning: {}", format.call_parser, format.reasoning_parser);
  text.dialogue = Dialogue::of(std::move(format), *text.tokenizer);
  text.dialect.template_knows_developer = source.chat_template.find("developer") != std::string::npos;
  text.dialect.trusts_request_template = options.trust_request_chat_template;
  std::vector<std::string> special;
  for (int32_t id = 0; id < text.tokenizer->vocabulary(); ++id) {
    if (text.tokenizer->is_special(id)) special.push_back(text.tokenizer->token_bytes(id));
  }
  auto shield = std::make_shared<const TextShield>(std::move(special));
  text.dialect.cover = [shield](std::string_view content, std::vector<std::string>& covered) {
    return shield->cover(content, covered);
  };
  return text;
}

Result<std::string> find_model(const ServeOptions& options) {
  HttpFetcher fetcher(options.http_client);
  Progress progress("Downloading");
  return resolve_model(options.model, options.repository, fetcher, [&](const DownloadProgress& now) {
    const double total = std::max<double>(1, static_cast<double>(now.total_bytes));
    progress.show(static_cast<double>(now.done_bytes) / total,
                  fmt::format("of {:.0f} MB, {}", total / 1e6, log::safe(now.file, 60)));
  });
}

struct Computing {
  std::unique_ptr<Engine> engine;
  std::string device;
};

Result<Computing> start_engine(const ServeOptions& options, const ModelFiles& files,
                               const std::function<void(double)>& on_progress) {
  for (const std::string& gpu : describe_gpus()) log::info("{}", gpu);
  SLUICE_ASSIGN(auto backends, make_backends(options.backend));
  Computing computing;
  computing.device = backends[0]->facts().kind;
  for (const auto& backend : backends) log::info("device {}: {}", computing.device, backend->facts().name);
  Progress progress("Loading weights");
  LoadModelOptions load;
  load.max_tokens_per_step = options.engine.max_num_batched_tokens;
  load.max_rows_to_sample = options.engine.max_num_seqs;
  load.on_progress = [&](double fraction) {
    progress.show(fraction);
    on_progress(fraction);
  };
  const auto start = Clock::now();
  SLUICE_ASSIGN(auto models, load_models(files.config, *files.tensors, backends, load));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const auto file_bytes = static_cast<double>(files.tensors->total_bytes());
  log::info("weights: {:.2f} GB of files loaded in {:.1f} s, {:.2f} GB/s", file_bytes / 1e9, seconds,
            file_bytes / 1e9 / std::max(seconds, 1e-3));
  SLUICE_ASSIGN(
      std::unique_ptr<ModelRunner> runner,
      make_runner(options.engine, files.tokenizer.eos_ids, std::move(backends), std::move(models)));
  SLUICE_ASSIGN(computing.engine, Engine::start(options.engine, std::move(runner)));
  return computing;
}

std::vector<ModelCard> make_cards(const ServeOptions& options, int max_model_len) {
  std::vector<std::string> names = options.served_model_names;
  const std::string root =
      options.model.empty() ? "simulated-" + options.simulation->name : default_model_name(options.model);
  if (names.empty()) names.push_back(root);
  std::vector<ModelCard> cards;
  for (std::string& name : names) {
    ModelCard card;
    card.root = root;
    card.id = std::move(name);
    card.created_s = std::time(nullptr);
    card.max_model_len = max_model_len;
    cards.push_back(std::move(card));
  }
  return cards;
}

std::shared_ptr<ModelMetrics> make_metrics(const ModelService& service, Metrics& metrics) {
  Engine* engine = service.engine.get();
  ModelMetricsOptions options;
  options.model_name = service.cards.front().id;
  options.max_model_len = service.limits.max_model_len;
  options.engine = engine->options();
  options.kv_block_count = engine->stats().kv_blocks_total;
  options.stats = [engine] { return engine->stats(); };
  options.take_step_tokens = [engine] { return engine->take_step_tokens(); };
  return metrics.add_model(std::move(options));
}

// What a service is made of, whether it computes or simulates.
struct Loaded {
  Computing computing;
  Text text;
  std::vector<int32_t> eos_ids;
  GenerationDefaults defaults;
  int vocabulary = 0, width = 0;
};

std::shared_ptr<ModelService> make_service(Loaded loaded, const ServeOptions& options, Metrics& metrics) {
  auto service = std::make_shared<ModelService>();
  service->engine = std::move(loaded.computing.engine);
  service->tokenizer = std::move(loaded.text.tokenizer);
  service->grammars = std::make_unique<GrammarCache>(service->tokenizer, std::move(loaded.eos_ids));
  service->chat_template = std::move(loaded.text.chat_template);
  service->dialect = std::move(loaded.text.dialect);
  service->dialogue = std::move(loaded.text.dialogue);
  if (options.generation_config == "auto") service->defaults = loaded.defaults;
  WireLimits& limits = service->limits;
  limits = options.limits;
  limits.embedding_width = loaded.width;
  service->pooling = options.pooling == "mean" ? Pooling::kMean : Pooling::kLast;
  limits.vocabulary = loaded.vocabulary;
  limits.max_model_len = service->engine->options().max_model_len;
  limits.max_prompt_bytes = static_cast<size_t>(limits.max_model_len) * kMaxBytesPerToken;
  service->cards = make_cards(options, limits.max_model_len);
  service->fingerprint = fmt::format("sluice-{}-{}", kVersion, loaded.computing.device);
  service->metrics = make_metrics(*service, metrics);
  return service;
}

// The time that loading weights would take.
void pass_load_time(double seconds, const std::function<void(double)>& on_progress) {
  const auto start = Clock::now();
  for (double passed = 0; passed < seconds;) {
    on_progress(passed / seconds);
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.05, seconds - passed)));
    passed = std::chrono::duration<double>(Clock::now() - start).count();
  }
}

Result<Loaded> load_simulation(const ServeOptions& options, const std::function<void(double)>& on_progress) {
  const CostModel& model = *options.simulation;
  TokenizerSource source;
  Loaded loaded;
  if (!options.model.empty()) {
    SLUICE_ASSIGN(const std::string path, find_model(options));
    SLUICE_ASSIGN(ModelFiles files, open_model_files(path));
    source = std::move(files.tokenizer);
  }
  if (!options.chat_template_file.empty()) {
    SLUICE_ASSIGN(source.chat_template, read_template(options.chat_template_file));
  }
  if (options.model.empty()) source.eos_ids = {kSimulatedEnd};
  SLUICE_ASSIGN(loaded.text,
                load_text(source, options, options.model.empty() ? make_simulated_tokenizer() : nullptr));
  loaded.eos_ids = source.eos_ids;
  loaded.vocabulary = loaded.text.tokenizer->vocabulary();
  loaded.width = kSimulatedWidth;
  if (model.answer_tokens > 0) loaded.defaults.max_tokens = model.answer_tokens;

  SimulatedRunnerOptions runner;
  runner.facts = {.vocabulary = loaded.vocabulary,
                  .width = loaded.width,
                  .block_tokens = options.engine.block_size,
                  .block_count = model.kv_tokens / options.engine.block_size,
                  .max_model_len = options.engine.max_model_len,
                  .max_tokens_per_step = options.engine.max_num_batched_tokens,
                  .max_sequences = options.engine.max_num_seqs,
                  .eos_ids = loaded.eos_ids,
                  .device = "simulated"};
  runner.cost = model.cost;
  runner.mean_answer_tokens = model.mean_answer_tokens;
  runner.answer_ids = readable_tokens(*loaded.text.tokenizer);
  log::info("simulating {}: no weights, answers that mean nothing", log::safe(model.name));
  pass_load_time(model.load_seconds, on_progress);
  loaded.computing.device = runner.facts.device;
  SLUICE_ASSIGN(loaded.computing.engine,
                Engine::start(options.engine, std::make_unique<SimulatedRunner>(std::move(runner))));
  return loaded;
}

}  // namespace

std::string default_model_name(const std::string& model) {
  std::error_code ignored;
  const bool local = std::filesystem::exists(model, ignored);
  const bool url = model.starts_with("http://") || model.starts_with("https://");
  std::string name = model.starts_with("hf://") ? model.substr(5) : model;
  if (local || url) {
    name = name.substr(0, name.find('?'));
    while (name.size() > 1 && name.back() == '/') name.pop_back();
    name = name.substr(name.rfind('/') + 1);
    if (name == "." || name == "..") name = std::filesystem::canonical(model, ignored).filename().string();
    if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  }
  return name.empty() ? "model" : name;
}

Result<std::shared_ptr<ModelService>> load_service(const ServeOptions& options, Metrics& metrics,
                                                   const std::function<void(double)>& on_progress) {
  if (options.simulation) {
    SLUICE_ASSIGN(Loaded simulated, load_simulation(options, on_progress));
    return make_service(std::move(simulated), options, metrics);
  }
  SLUICE_ASSIGN(const std::string path, find_model(options));
  SLUICE_ASSIGN(ModelFiles files, open_model_files(path));
  SLUICE_TRY(quantise_as(options.quantization, files));
  if (!options.chat_template_file.empty()) {
    SLUICE_ASSIGN(files.tokenizer.chat_template, read_template(options.chat_template_file));
  }
  // The text floor needs no device: it loads beside the weights.
  auto text_later = std::async(std::launch::async, [&] { return load_text(files.tokenizer, options); });
  Result<Computing> computing = start_engine(options, files, on_progress);
  Result<Text> text = text_later.get();
  if (!computing.ok()) return std::move(computing).error();
  if (!text.ok()) return std::move(text).error();
  return make_service({.computing = std::move(computing).value(),
                       .text = std::move(text).value(),
                       .eos_ids = files.tokenizer.eos_ids,
                       .defaults = files.generation,
                       .vocabulary = files.config.vocabulary,
                       .width = files.config.width},
                      options, metrics);
}

}  // namespace sluice
