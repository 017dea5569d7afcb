// Sends a share of a workload's requests from one I/O thread, each at its time, and records what comes of
// them. Everything but the constructor, start() and stop() runs on that thread; the counters of Progress are
// read from anywhere meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/serve/bodies.h"
#include "bench/serve/request_record.h"
#include "bench/serve/target.h"
#include "bench/serve/workload.h"
#include "server/net/io_threads.h"

namespace sluice::bench {

using Clock = std::chrono::steady_clock;

// When sessions begin. Later requests of a session follow the answer before them.
struct LoadPlan {
  std::vector<double> times_s;  // open loop: of session i, ascending; empty: closed loop
  uint64_t session_count = 0;
  size_t max_concurrency = 0;  // requests in flight; 0: no bound (open loop alone)
  double duration_s = 1e18;    // no request is begun after that
  double warmup_s = 0;         // requests due before that are not counted
  double request_timeout_s = 600;
};

// The run as it goes, for whoever looks on. Relaxed: nobody decides anything by it.
struct Progress {
  static constexpr size_t kRecent = 512;

  std::atomic<uint64_t> begun{0}, ended{0}, failed{0}, in_flight{0}, tokens{0}, input_tokens{0};
  std::atomic<uint64_t> recent_count{0};
  std::array<std::atomic<float>, kRecent> recent_ttft_ms{};  // a ring
};

class Lane {
 public:
  // What lanes of a run share: all of it outlives them.
  struct Shared {
    const Target& target;
    const Workload& workload;
    const BodyMaker& bodies;
    const LoadPlan& plan;
    Progress& progress;
    std::atomic<uint64_t>& next_session;  // closed loop: who takes the next
    const std::vector<std::shared_ptr<const std::string>>&
        prepared;  // bodies of the first sessions' first turns
    std::function<void(size_t lane)> on_done;
  };

  // Lane `index` of `count`: of an open loop it has the sessions i with i % count == index, of a closed one
  // its share of the places.
  Lane(IoThread& io, Shared shared, size_t index, size_t count);
  ~Lane();  // on any thread, after on_done

  void start(Clock::time_point zero);
  // Nothing more is begun; what is in flight is dropped and recorded as cut. Then on_done.
  void stop();

  // After on_done.
  std::vector<RequestRecord>& records();
  double cpu_s() const;                         // of its thread, start to end
  const std::vector<float>& stalls_ms() const;  // by how much its own clock ticks came late

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace sluice::bench
