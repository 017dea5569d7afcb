// What serves one model: the engine and the text floor, with the model's own names, defaults and bounds. Made
// once after loading, then read-only: any thread. Requests share it, so it outlives the last of them.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "models/model_config.h"
#include "server/api/dialogue.h"
#include "server/api/grammar_cache.h"
#include "server/metrics.h"
#include "server/text/chat_template.h"
#include "server/text/tokenizer.h"
#include "server/wire/chat_request.h"
#include "server/wire/model_list.h"

namespace sluice {

struct ModelService {
  std::vector<ModelCard> cards;  // at least one; the first names the model in answers and metrics
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;
  std::unique_ptr<GrammarCache> grammars;
  GenerationDefaults defaults;
  WireLimits limits;
  ChatDialect dialect;
  Dialogue dialogue;
  std::string fingerprint;
  Pooling pooling = Pooling::kLast;  // of embeddings, where the request says nothing
  std::shared_ptr<ModelMetrics> metrics;
  std::unique_ptr<Engine> engine;  // last: it goes first

  // The name an answer carries for what the request asked; kNotFound names what there is.
  Result<std::string> answer_name(const std::string& asked) const;
};

enum class ServingPhase : uint8_t {
  kLoading,
  kServing,
  kLeaving,   // not ready any more; what was sent here already is taken
  kDraining,  // nothing new is taken
};

// The service, or why there is none yet or no more. Any thread.
class ServiceSlot {
 public:
  // kUnavailable while loading or draining.
  Result<std::shared_ptr<ModelService>> get() const;
  // Whatever the phase; null while loading.
  std::shared_ptr<ModelService> peek() const;
  ServingPhase phase() const { return phase_; }

  void set_progress(double fraction) { progress_ = fraction; }
  // The fraction of the model that is loaded; none when all of it is.
  std::optional<double> progress() const;
  void serve(std::shared_ptr<ModelService> service);
  void begin_leaving();
  void begin_drain();
  void clear();

 private:
  std::atomic<ServingPhase> phase_{ServingPhase::kLoading};
  std::atomic<double> progress_{0};
  mutable std::mutex mutex_;
  std::shared_ptr<ModelService> service_;
};

}  // namespace sluice
