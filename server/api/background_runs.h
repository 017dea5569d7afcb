// Responses that go on without a connection ("background": true). Each lives on the I/O thread its request
// came to, as the Exchange of its own Generation, until the answer is whole.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "server/api/generation.h"
#include "server/api/response_store.h"

namespace sluice {

class BackgroundRun;

// Any thread.
class BackgroundRuns {
 public:
  void add(std::shared_ptr<BackgroundRun> run);
  // Soon and on the run's own thread.
  void let_go(BackgroundRun& run);
  int count() const;
  // Cancels all and waits until the I/O threads have let go of them.
  void stop();

 private:
  mutable std::mutex mutex_;
  std::condition_variable gone_;
  std::unordered_set<std::shared_ptr<BackgroundRun>> runs_;
  int leaving_ = 0;
};

class BackgroundRun final : public Exchange, public std::enable_shared_from_this<BackgroundRun> {
 public:
  // `log`: null where nothing is streamed.
  BackgroundRun(IoThread& io, BackgroundRuns& runs, ResponseStore& store, std::string id,
                std::shared_ptr<EventLog> log)
      : io_(io), runs_(runs), store_(store), id_(std::move(id)), log_(std::move(log)) {}

  void run(std::shared_ptr<Generation> generation, std::shared_ptr<GenerationPlan> plan, WorkPool& pool);
  // The refusal that came at once; empty: it runs. The creator's only.
  std::optional<HttpResponse> take_refusal() { return std::exchange(refusal_, std::nullopt); }
  void drop() { generation_.reset(); }

  void respond(HttpResponse response) override;
  void begin(HttpResponse) override {}
  bool write(std::string_view bytes) override;
  void end() override;
  IoThread& io() override { return io_; }

 private:
  IoThread& io_;
  BackgroundRuns& runs_;
  ResponseStore& store_;
  const std::string id_;
  const std::shared_ptr<EventLog> log_;
  std::shared_ptr<Generation> generation_;
  std::optional<HttpResponse> refusal_;
  bool starting_ = false;
};

}  // namespace sluice
