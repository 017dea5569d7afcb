#include "server/api/pooled_answer.h"

#include "server/net/io_threads.h"
#include "server/wire/error_body.h"

namespace sluice {
namespace {

// Of one answer, in the engine at a time: many inputs share the queue with everybody else's requests.
constexpr size_t kMaxInFlight = 32;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::max(0.0, std::chrono::duration<double>(to - from).count());
}

}  // namespace

PooledAnswer::PooledAnswer(Exchange& exchange, std::shared_ptr<ModelService> service, EventSwitch& events,
                           std::string request_id, Clock::time_point arrival)
    : exchange_(exchange),
      service_(std::move(service)),
      events_(events),
      request_id_(std::move(request_id)),
      arrival_(arrival) {}

PooledAnswer::~PooledAnswer() {
  forget();
}

void PooledAnswer::start(WorkPool& pool, std::function<Result<PooledPlan>()> prepare) {
  const bool taken =
      pool.try_run([weak = weak_from_this(), &io = exchange_.io(), prepare = std::move(prepare)] {
        if (weak.expired()) return;
        auto plan = std::make_shared<Result<PooledPlan>>(prepare());
        io.post([weak, plan] {
          if (const auto self = weak.lock()) self->begin(std::move(*plan));
        });
      });
  if (!taken) fail({ErrorCode::kOverloaded, "Too many requests wait to be read; try again soon.", "", 1});
}

void PooledAnswer::begin(Result<PooledPlan> plan) {
  if (!plan.ok()) return fail(plan.error());
  plan_ = std::move(plan).value();
  inputs_.resize(plan_.inputs.size());
  vectors_.resize(plan_.inputs.size());
  service_->metrics->started(1);
  submit_more();
}

// False: failed, and this answer is over.
bool PooledAnswer::submit_more() {
  while (submitted_ < inputs_.size() && submitted_ - done_ < kMaxInFlight) {
    const size_t index = submitted_;
    Input& input = inputs_[index];
    Request request;
    input.tokens = static_cast<int>(plan_.inputs[index].size());
    request.prompt = plan_.inputs[index];
    request.pooling = plan_.pooling;
    request.arrival = arrival_;
    request.sink = events_.sink();
    input.tag = events_.open(*this, static_cast<int>(index));
    request.tag = input.tag;
    request.name = request_id_;
    request.choice = static_cast<int32_t>(index);
    Result<RequestHandle> handle = service_->engine->submit(std::move(request));
    if (!handle.ok()) {
      events_.close(input.tag);
      input.tag = 0;
      // A full queue is no reason to throw away what is computed: the next input that ends tries again.
      if (handle.error().code == ErrorCode::kOverloaded && submitted_ > done_) return true;
      Error error = std::move(handle).error();
      if (error.code == ErrorCode::kContextLength) error.param = plan_.input_param;
      fail(error);
      return false;
    }
    input.handle = std::move(handle).value();
    plan_.inputs[index] = {};
    ++submitted_;
  }
  return true;
}

void PooledAnswer::on_tokens(int index, TokenEvent&& event, Clock::time_point now) {
  if (over_ || event.finish_reason == FinishReason::kNone) return;
  Input& input = inputs_[static_cast<size_t>(index)];
  input.handle.release();
  events_.close(input.tag);
  input.tag = 0;
  if (event.finish_reason != FinishReason::kStop) {
    if (event.finish_reason == FinishReason::kDeadline)
      event.error = {ErrorCode::kDeadline, "The request took longer than its deadline."};
    else if (event.finish_reason == FinishReason::kCancelled)
      event.error = {ErrorCode::kUnavailable, "The server stopped this request.", "", 1};
    return fail(event.error);
  }
  RequestRecord record;
  record.prompt_tokens = input.tokens;
  record.cached_tokens = event.cached_tokens;
  record.e2e_s = seconds_between(arrival_, now);
  record.queue_s = seconds_between(arrival_, event.first_scheduled);
  record.prefill_s = seconds_between(event.first_scheduled, event.first_token);
  record.decode_s = 0;
  service_->metrics->finished(record);
  usage_.prompt_tokens += input.tokens;
  usage_.cached_tokens += event.cached_tokens;
  vectors_[static_cast<size_t>(index)] = std::move(event.embedding);
  ++done_;
  if (done_ < inputs_.size()) {
    submit_more();
    return;
  }
  over_ = true;
  HttpResponse response;
  response.body = plan_.write(std::move(vectors_), usage_);
  exchange_.respond(std::move(response));
}

void PooledAnswer::fail(const Error& error) {
  forget();
  over_ = true;
  exchange_.respond(error_response(error));
}

void PooledAnswer::forget() {
  for (Input& input : inputs_) {
    if (input.tag != 0) events_.close(input.tag);
    input.tag = 0;
    input.handle = RequestHandle();  // cancels
  }
}

}  // namespace sluice
