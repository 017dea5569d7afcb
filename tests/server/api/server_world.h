// The whole server on a free port of this machine: real sockets, routes, wire and text floor; below it the
// real engine over the simulated runner, or an engine whose events the test posts by hand. Test threads.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/simulated_runner.h"
#include "server/api/api_routes.h"
#include "server/api/text_shield.h"
#include "tests/support/raw_http.h"

namespace sluice::testing {

using nlohmann::json;

// Ids [0, 256) are bytes, the others below 990 are words ("w300 "), then come special tokens. Encodes words
// and special tokens where they are spelled, other text byte by byte.
class WordTokenizer final : public Tokenizer {
 public:
  static constexpr int kVocabulary = 1000;
  static constexpr int kEnd = 991;

  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special,
                                      bool parse_special) const override {
    std::vector<int32_t> ids;
    if (add_special) ids.push_back(992);
    for (size_t at = 0; at < text.size();) {
      int32_t found = -1;
      for (int32_t id = 256; parse_special && id < kVocabulary && found < 0; ++id) {
        if (is_special(id) && text.substr(at).starts_with(token_bytes(id))) found = id;
      }
      if (found < 0 && text[at] == 'w' && at + 5 <= text.size() && text[at + 4] == ' ') {
        const int number = std::atoi(std::string(text.substr(at + 1, 3)).c_str());
        if (number >= 256 && number < 990) found = number;
      }
      ids.push_back(found >= 0 ? found : static_cast<unsigned char>(text[at]));
      at += found >= 0 ? token_bytes(found).size() : 1;
    }
    return ids;
  }
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    for (int32_t id : ids) {
      if (!skip_special || !is_special(id)) text += token_bytes(id);
    }
    return text;
  }
  std::string token_bytes(int32_t id) const override {
    if (id < 256) return std::string(1, static_cast<char>(id));
    if (id == 990) return "<|im_start|>";
    if (id == kEnd) return "<|im_end|>";
    if (id > kEnd) return "<|extra_" + std::to_string(id) + "|>";
    return "w" + std::to_string(id) + " ";
  }
  bool is_special(int32_t id) const override { return id >= 990; }
  int32_t id_of(std::string_view token) const override {
    for (int32_t id = 990; id < kVocabulary; ++id) {
      if (token_bytes(id) == token) return id;
    }
    return -1;
  }
  int32_t vocabulary() const override { return kVocabulary; }
};

// What an answer of these tokens reads like.
inline std::string text_of(const std::vector<int32_t>& ids) {
  auto detokenizer = Detokenizer::make(std::make_shared<WordTokenizer>(), {});
  std::string text;
  for (int32_t id : ids) text += detokenizer->push(id);
  return text + detokenizer->finish();
}

// Takes requests and does nothing; the test answers them.
class HandEngine final : public Engine {
 public:
  Result<RequestHandle> submit(Request request) override {
    std::lock_guard lock(mutex_);
    if (refuse_) return *refuse_;
    const RequestId id = ++last_id_;
    requests_.emplace(id, std::move(request));
    return handle(id);
  }
  void cancel(RequestId id) override {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
    requests_.erase(id);
  }
  EngineStats stats() const override { return {}; }
  const EngineOptions& options() const override { return options_; }
  std::vector<int32_t> take_step_tokens() override { return {}; }
  bool makes_progress(std::chrono::milliseconds) const override { return progress_; }
  Result<std::unique_ptr<KvEventReader>> read_events(std::optional<KvEventPlace>,
                                                     std::shared_ptr<KvEventListener>) override {
    return Error{ErrorCode::kUnsupported, "There are no events here."};
  }
  void begin_leaving() override {}
  void begin_drain() override {}
  bool idle() const override { return true; }

  // Test threads.
  Request wait_for_request(RequestId id) {
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        if (const auto found = requests_.find(id); found != requests_.end()) return found->second;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void wait_for_cancel(RequestId id) {
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        if (std::find(cancelled_.begin(), cancelled_.end(), id) != cancelled_.end()) return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // The request's next tokens; with a reason, its last ones.
  void answer(RequestId id, const std::vector<int32_t>& tokens, FinishReason reason = FinishReason::kNone,
              int32_t stop_token = -1, Error error = {}) {
    const Request request = wait_for_request(id);
    TokenEvent event;
    event.id = id;
    event.tag = request.tag;
    for (int32_t token : tokens) {
      SampledToken sampled;
      sampled.id = token;
      sampled.logprob = -0.5F;
      sampled.top_logprobs = {{token, -0.5F}, {65, -1.5F}};
      event.tokens.push_back(sampled);
    }
    event.finish_reason = reason;
    event.stop_token = stop_token;
    event.error = std::move(error);
    event.prompt_tokens = static_cast<int>(request.prompt.size());
    std::vector<TokenEvent> events;
    events.push_back(std::move(event));
    request.sink->post(std::move(events));
  }
  void refuse(Error error) {
    std::lock_guard lock(mutex_);
    refuse_ = std::move(error);
  }
  std::atomic<bool> progress_{true};

 private:
  mutable std::mutex mutex_;
  std::map<RequestId, Request> requests_;
  std::vector<RequestId> cancelled_;
  std::optional<Error> refuse_;
  RequestId last_id_ = 0;
  EngineOptions options_;
};

inline SimulatedRunnerOptions world_runner() {
  SimulatedRunnerOptions options;
  options.facts = {.vocabulary = WordTokenizer::kVocabulary,
                   .block_tokens = 16,
                   .block_count = 512,
                   .max_model_len = 512,
                   .max_tokens_per_step = 256,
                   .max_sequences = 64,
                   .eos_ids = {WordTokenizer::kEnd},
                   .device = "simulated"};
  return options;
}

class ServerWorld {
 public:
  struct Options {
    SimulatedRunnerOptions runner = world_runner();
    EngineOptions engine{.max_num_seqs = 64, .max_num_batched_tokens = 256};
    ApiOptions api{.version = "test"};
    ListenOptions listen;
    DialogueFormat dialogue;
    int io_threads = 1;
    bool load = true;
  };

  ServerWorld() : ServerWorld(Options()) {}
  explicit ServerWorld(Options options) : options_(std::move(options)), threads_(options_.io_threads) {
    if (options_.load) {
      auto engine = Engine::start(options_.engine, std::make_unique<SimulatedRunner>(options_.runner));
      EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
      open();
      serve(std::move(engine).value());
    } else {
      open();
    }
  }
  ~ServerWorld() {
    listener_.reset();
    floor_->background.stop();
    floor_->slot.clear();
  }

  // Finishes loading. Null: a HandEngine, which is returned.
  HandEngine* serve_by_hand() {
    auto engine = std::make_unique<HandEngine>();
    HandEngine* hand = engine.get();
    serve(std::move(engine));
    return hand;
  }
  void serve(std::unique_ptr<Engine> engine) {
    auto service = std::make_shared<ModelService>();
    service->engine = std::move(engine);
    service->tokenizer = std::make_shared<WordTokenizer>();
    service->grammars = std::make_unique<GrammarCache>(service->tokenizer, std::vector{WordTokenizer::kEnd});
    auto chat_template = ChatTemplate::compile(TokenizerSource());
    EXPECT_TRUE(chat_template.ok());
    service->chat_template = std::move(chat_template).value();
    auto shield = std::make_shared<TextShield>(std::vector<std::string>{"<|im_start|>", "<|im_end|>"});
    service->dialect.cover = [shield](std::string_view text, std::vector<std::string>& covered) {
      return shield->cover(text, covered);
    };
    service->dialogue = Dialogue::of(options_.dialogue, *service->tokenizer);
    service->limits.vocabulary = WordTokenizer::kVocabulary;
    service->limits.embedding_width = options_.runner.facts.width;
    service->limits.max_model_len = options_.runner.facts.max_model_len;
    service->limits.max_prompt_bytes = 1 << 20;
    service->cards = {{"word-model", "word-model", 1, service->limits.max_model_len},
                      {"alias", "word-model", 1, 512}};
    service->fingerprint = "test";
    Engine* raw = service->engine.get();
    ModelMetricsOptions metrics;
    metrics.model_name = "word-model";
    metrics.max_model_len = service->limits.max_model_len;
    metrics.engine = raw->options();
    metrics.kv_block_count = raw->stats().kv_blocks_total;
    metrics.stats = [raw] { return raw->stats(); };
    metrics.take_step_tokens = [raw] { return raw->take_step_tokens(); };
    service->metrics = floor_->metrics.add_model(std::move(metrics));
    floor_->slot.serve(std::move(service));
  }

  uint16_t port() const { return listener_->port(); }
  ApiFloor& floor() { return *floor_; }
  Engine& engine() { return *floor_->slot.peek()->engine; }
  const Options& options() const { return options_; }

  RawResponse post(const std::string& path, const json& body, const std::string& headers = "") {
    RawClient client(port());
    client.send(post_request(path, body.dump(), headers));
    return client.read_response();
  }
  RawResponse get(const std::string& path) {
    RawClient client(port());
    client.send(get_request(path));
    return client.read_response();
  }
  // The value of one line of /metrics, -1 when there is none.
  double metric(const std::string& line_start) {
    const std::string text = get("/metrics").body;
    const size_t at = text.find("\n" + line_start);
    if (at == std::string::npos) return -1;
    const size_t space = text.find(' ', at + 1 + line_start.size());
    return std::stod(text.substr(space));
  }
  void wait_until_idle() {
    while (!engine().idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // What the simulated model answers to these ids.
  std::vector<int32_t> expected(std::vector<int32_t> prompt, int max_tokens) const {
    std::vector<int32_t> answer;
    SamplingRow row;
    row.temperature = 0;
    for (int i = 0; i < max_tokens; ++i) {
      answer.push_back(SimulatedRunner::expected_token(options_.runner, prompt, row));
      prompt.push_back(answer.back());
      if (answer.back() == WordTokenizer::kEnd) break;
    }
    return answer;
  }

 private:
  void open() {
    floor_ = make_api_floor(options_.api, threads_, 1);
    options_.listen.port = 0;
    guard_door(options_.listen, *floor_);
    auto listener = Listener::start(options_.listen, make_api_routes(*floor_), threads_);
    EXPECT_TRUE(listener.ok()) << (listener.ok() ? "" : listener.error().message);
    listener_ = std::move(listener).value();
  }

  Options options_;
  IoThreads threads_;
  std::unique_ptr<ApiFloor> floor_;
  std::unique_ptr<Listener> listener_;
};

// The data of each event of a stream.
inline std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  size_t at = 0;
  while (at < body.size()) {
    const size_t end = body.find("\n\n", at);
    const std::string event = body.substr(at, end - at);
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    events.push_back(event.substr(6));
    if (end == std::string::npos) break;
    at = end + 2;
  }
  return events;
}

}  // namespace sluice::testing
