// The shared heart of embeddings, score and rerank: inputs to engine requests, their vectors to one body. One
// per HTTP request; lives on its I/O thread as the session's Responder, so its destruction cancels what runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/api/event_switch.h"
#include "server/api/model_service.h"
#include "server/api/work_pool.h"
#include "server/net/exchange.h"
#include "server/wire/answer_format.h"

namespace sluice {

// What is to be computed: all text work is done.
struct PooledPlan {
  std::vector<std::vector<int32_t>> inputs;
  Pooling pooling = Pooling::kLast;
  std::string input_param;  // the request's field that holds the inputs, for messages
  // From the inputs' vectors, [E] each, to the answer's body.
  std::function<std::string(std::vector<std::vector<float>>&& vectors, const Usage& usage)> write;
};

class PooledAnswer final : public Responder,
                           public TokenListener,
                           public std::enable_shared_from_this<PooledAnswer> {
 public:
  PooledAnswer(Exchange& exchange, std::shared_ptr<ModelService> service, EventSwitch& events,
               std::string request_id, Clock::time_point arrival);
  ~PooledAnswer() override;

  // As Generation::start.
  void start(WorkPool& pool, std::function<Result<PooledPlan>()> prepare);

 private:
  struct Input {
    RequestHandle handle;
    uint64_t tag = 0;
    int tokens = 0;
  };

  void begin(Result<PooledPlan> plan);
  bool submit_more();
  void on_tokens(int index, TokenEvent&& event, Clock::time_point now) override;
  void fail(const Error& error);
  void forget();

  Exchange& exchange_;
  const std::shared_ptr<ModelService> service_;
  EventSwitch& events_;
  const std::string request_id_;
  const Clock::time_point arrival_;
  PooledPlan plan_;
  std::vector<Input> inputs_;
  std::vector<std::vector<float>> vectors_;
  size_t submitted_ = 0, done_ = 0;
  Usage usage_;
  bool over_ = false;
};

// From a request's body to the plan, for each of the three endpoints. Any thread.
struct PlanRequest;
Result<PooledPlan> plan_embeddings(const ModelService& service, const PlanRequest& request);
Result<PooledPlan> plan_score(const ModelService& service, const PlanRequest& request);
Result<PooledPlan> plan_rerank(const ModelService& service, const PlanRequest& request);

}  // namespace sluice
