// Holds requests until a replica can take them, and decides who goes next. Bounded in requests and tokens,
// for all and for each tenant. Knows no replica: who takes a request is chosen when it leaves (late binding).
// One thread; reads no clock.
//
// Order: higher priority first, always. Within a priority tenants take turns by deficit round robin in prompt
// tokens (Shreedhar and Varghese, 1995): each turn gives a tenant quantum * weight tokens of credit, and its
// oldest request goes when the credit covers it. So over any time in which two tenants both have work
// waiting, their tokens differ from their weights' share by at most one quantum and one longest prompt.
// Within a tenant: first come, first served.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "router/core/units.h"

namespace sluice::router {

struct QueueOptions {
  size_t max_requests = 10'000;
  uint64_t max_tokens = 200'000'000;
  double tenant_share = 1;  // of both bounds that one tenant may fill, 0..1
  uint32_t quantum_tokens = 8192;
};

struct QueuedRequest {
  RequestId id = 0;
  std::string tenant;
  double tenant_weight = 1;  // > 0
  int priority = 0;          // higher first
  uint32_t tokens = 0;
  Seconds enqueued = 0;
  Seconds deadline = kNever;  // it must have left by then
};

class AdmissionQueue {
 public:
  explicit AdmissionQueue(const QueueOptions& options) : options_(options) {}

  enum class Verdict { kQueued, kFull, kTenantFull };
  Verdict push(QueuedRequest request);

  // The next to go, if any; it leaves with pop_front(). Deadlines are the caller's: see pop_expired().
  const QueuedRequest* front();
  QueuedRequest pop_front();
  // Puts one in that was served before and came back: it is the next of its tenant, with its credit, and no
  // bound turns it away.
  void push_front(QueuedRequest request);

  bool erase(RequestId id);
  // One whose deadline is not after `now`, taken out; call until none.
  std::optional<QueuedRequest> pop_expired(Seconds now);
  Seconds next_deadline() const;

  size_t size() const { return where_.size(); }
  uint64_t tokens() const { return tokens_; }
  bool empty() const { return where_.empty(); }

 private:
  struct Tenant {
    std::string name;
    double weight = 1;
    double credit_tokens = 0;
    bool had_turn = false;  // credit was given for the turn that goes on
    std::list<QueuedRequest> requests;
  };
  struct Level {
    std::list<Tenant> turns;  // those with work; the front's turn it is
    std::unordered_map<std::string, std::list<Tenant>::iterator> tenants;
  };
  struct Where {
    int priority;
    std::list<Tenant>::iterator tenant;
    std::list<QueuedRequest>::iterator request;
    std::multimap<Seconds, RequestId>::iterator deadline;
  };
  struct Fill {
    size_t requests = 0;
    uint64_t tokens = 0;
  };

  Tenant* serve_next();
  QueuedRequest take(std::unordered_map<RequestId, Where>::iterator found);
  void insert(QueuedRequest request, bool at_front);

  const QueueOptions options_;
  std::map<int, Level, std::greater<>> levels_;
  std::unordered_map<RequestId, Where> where_;
  std::unordered_map<std::string, Fill> fill_;  // of tenants with work waiting
  std::multimap<Seconds, RequestId> deadlines_;
  uint64_t tokens_ = 0;
};

}  // namespace sluice::router
