// The replicas and what is in flight on each. One thread; reads no clock.
//
// A Charge is a request's share of a replica's load. It is taken before the request is sent and given back
// when the value dies, whichever way the request ended: counters cannot leak. The fleet outlives its charges;
// a replica that left stays until its last charge is gone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "router/core/replica.h"

namespace sluice::router {

class Fleet;

class Charge {
 public:
  Charge() = default;
  Charge(Charge&& other) noexcept;
  Charge& operator=(Charge&& other) noexcept;
  ~Charge() { release(); }

  // The prompt is computed: what is left is a running request. Idempotent.
  void prefilled(Seconds now);
  // The replica says how much of the prompt it has to compute; replaces our guess while it has not.
  void correct(uint32_t prompt_tokens, uint32_t cached_tokens);
  void release();

  ReplicaId replica() const { return replica_ == nullptr ? kNoReplica : replica_->id; }
  explicit operator bool() const { return replica_ != nullptr; }

 private:
  friend class Fleet;
  void give_back_prefill();

  Fleet* fleet_ = nullptr;
  Replica* replica_ = nullptr;
  PrefillWork work_;
  uint32_t prompt_tokens_ = 0;
  uint32_t fresh_tokens_ = 0;
  bool prefilling_ = false;
  Seconds taken_at_ = 0;
};

struct FleetOptions {
  size_t max_replicas = 512;
  BreakerOptions breaker;
  HealthOptions health;
  PrefillRate prior;
};

class Fleet {
 public:
  explicit Fleet(const FleetOptions& options) : options_(options) {}
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // nullptr when there are max_replicas already. The pointer stays until the replica is gone and at rest.
  Replica* add(ReplicaSpec spec);
  // Gone; erased at once or with its last charge.
  void remove(ReplicaId id);
  const Replica* find(ReplicaId id) const;
  Replica* find(ReplicaId id) { return const_cast<Replica*>(std::as_const(*this).find(id)); }
  Replica* find(std::string_view name);  // not the gone ones

  Charge charge(Replica& replica, uint32_t prompt_tokens, uint32_t cached_tokens, Seconds now);
  void report(Replica& replica, const LoadReport& load);

  // Ordered by id.
  std::span<const std::unique_ptr<Replica>> replicas() const { return replicas_; }
  // Grows with every change of membership, state, weight or name: what is derived from these is then stale.
  uint64_t version() const { return version_; }
  void changed() { ++version_; }

  // The mean rate of the replicas that were observed, each by its weight: what work costs the fleet.
  PrefillRate mean_rate() const;

 private:
  friend class Charge;
  void at_rest(Replica& replica);  // its last charge is gone

  const FleetOptions options_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  ReplicaId last_id_ = kNoReplica;
  uint64_t version_ = 0;
};

}  // namespace sluice::router
