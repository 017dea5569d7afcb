// The engine as the server sees it: submit, cancel, listen to events, read statistics. Owns the loop thread,
// the scheduler, the KV bookkeeping and the runner.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "base/result.h"
#include "engine/kv_events.h"
#include "engine/model_runner.h"
#include "engine/options.h"
#include "engine/request.h"
#include "engine/stats.h"

namespace sluice {

class Engine;

// Holds a request's place; destroying it cancels the request if it still runs. Movable. Must not outlive the
// engine.
class RequestHandle {
 public:
  RequestHandle() = default;
  RequestHandle(RequestHandle&& other) noexcept;
  RequestHandle& operator=(RequestHandle&& other) noexcept;
  ~RequestHandle();
  RequestId id() const { return id_; }
  void cancel();   // at once, by hand; the final event says kCancelled
  void release();  // the final event came: nothing to cancel any more

 private:
  friend class Engine;
  RequestHandle(Engine* engine, RequestId id) : engine_(engine), id_(id) {}
  Engine* engine_ = nullptr;
  RequestId id_ = 0;
};

class Engine {
 public:
  // Starts the loop thread. Checks the options by themselves and against the runner's facts; max_model_len 0
  // becomes the runner's. The error tells the fix.
  static Result<std::unique_ptr<Engine>> start(const EngineOptions& options,
                                               std::unique_ptr<ModelRunner> runner);
  virtual ~Engine() = default;  // cancels everything (final events are posted), joins the loop

  // Any thread. Refused at once, without an event: kInvalidArgument (a value or a token id out of range, an
  // empty prompt), kContextLength (prompt alone or prompt + max_tokens over max_model_len, with both
  // lengths), kInvalidArgument for what could never fit the KV cache, kOverloaded (queue full, with
  // retry_after_s), kUnavailable (draining).
  virtual Result<RequestHandle> submit(Request request) = 0;
  virtual void cancel(RequestId id) = 0;

  // Any thread.
  virtual EngineStats stats() const = 0;
  virtual const EngineOptions& options() const = 0;
  // Tokens computed in each step since the last call (bounded: the newest 4096), for
  // vllm:iteration_tokens_total.
  virtual std::vector<int32_t> take_step_tokens() = 0;
  // False when there has been work for `stall` and no step has ended: the loop hangs.
  virtual bool makes_progress(std::chrono::milliseconds stall) const = 0;

  // Any thread. What happens from now on, or from event `from` on where it is not forgotten yet; kOverloaded
  // when there are too many readers, kUnavailable while leaving.
  virtual Result<std::unique_ptr<KvEventReader>> read_events(std::optional<KvEventPlace> from,
                                                             std::shared_ptr<KvEventListener> listener) = 0;

  // Readers of events come to their end and no new ones are taken, so that routers send nothing more;
  // requests that are on their way are still taken.
  virtual void begin_leaving() = 0;
  // Refuses new requests from now on; running and waiting ones go on. Readers of events come to their end.
  virtual void begin_drain() = 0;
  virtual bool idle() const = 0;  // nothing is running or waiting, and every event has been posted

 protected:
  RequestHandle handle(RequestId id) { return {this, id}; }
};

}  // namespace sluice
