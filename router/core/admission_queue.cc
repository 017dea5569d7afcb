#include "router/core/admission_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace sluice::router {
namespace {

// A weight outside makes a turn's credit useless small or the others' turns rare.
double sane_weight(double weight) {
  return weight > 0 ? std::clamp(weight, 0.01, 100.0) : 1.0;
}

}  // namespace

AdmissionQueue::Verdict AdmissionQueue::push(QueuedRequest request) {
  SLUICE_CHECK(!where_.contains(request.id));
  if (where_.size() >= options_.max_requests || tokens_ + request.tokens > options_.max_tokens) {
    return Verdict::kFull;
  }
  if (options_.tenant_share < 1) {
    const auto fill = fill_.find(request.tenant);
    const size_t requests = fill == fill_.end() ? 0 : fill->second.requests;
    const uint64_t tokens = fill == fill_.end() ? 0 : fill->second.tokens;
    // One request always fits: a share of a small queue must not be nothing.
    if (requests > 0 && (static_cast<double>(requests + 1) >
                             options_.tenant_share * static_cast<double>(options_.max_requests) ||
                         static_cast<double>(tokens + request.tokens) >
                             options_.tenant_share * static_cast<double>(options_.max_tokens))) {
      return Verdict::kTenantFull;
    }
  }
  insert(std::move(request), false);
  return Verdict::kQueued;
}

void AdmissionQueue::push_front(QueuedRequest request) {
  SLUICE_CHECK(!where_.contains(request.id));
  insert(std::move(request), true);
}

void AdmissionQueue::insert(QueuedRequest request, bool at_front) {
  const RequestId id = request.id;
  Fill& fill = fill_[request.tenant];
  ++fill.requests;
  fill.tokens += request.tokens;
  tokens_ += request.tokens;

  Level& level = levels_[request.priority];
  auto known = level.tenants.find(request.tenant);
  if (known == level.tenants.end()) {
    const auto at = level.turns.insert(at_front ? level.turns.begin() : level.turns.end(),
                                       Tenant{.name = request.tenant});
    known = level.tenants.emplace(request.tenant, at).first;
  }
  Tenant& tenant = *known->second;
  tenant.weight = sane_weight(request.tenant_weight);
  if (at_front) tenant.credit_tokens += request.tokens;
  const Seconds deadline = request.deadline;
  const int priority = request.priority;
  const auto at =
      tenant.requests.insert(at_front ? tenant.requests.begin() : tenant.requests.end(), std::move(request));
  where_[id] = {priority, known->second, at, deadlines_.emplace(deadline, id)};
}

AdmissionQueue::Tenant* AdmissionQueue::serve_next() {
  if (levels_.empty()) return nullptr;
  std::list<Tenant>& turns = levels_.begin()->second.turns;
  for (;;) {
    Tenant& tenant = turns.front();
    if (!tenant.had_turn) {
      tenant.had_turn = true;
      tenant.credit_tokens += options_.quantum_tokens * tenant.weight;
    }
    if (tenant.credit_tokens >= tenant.requests.front().tokens) return &tenant;
    tenant.had_turn = false;
    turns.splice(turns.end(), turns, turns.begin());
  }
}

const QueuedRequest* AdmissionQueue::front() {
  const Tenant* tenant = serve_next();
  return tenant == nullptr ? nullptr : &tenant->requests.front();
}

QueuedRequest AdmissionQueue::pop_front() {
  Tenant* tenant = serve_next();
  SLUICE_CHECK(tenant != nullptr);
  const QueuedRequest& next = tenant->requests.front();
  tenant->credit_tokens -= next.tokens;
  return take(where_.find(next.id));
}

QueuedRequest AdmissionQueue::take(std::unordered_map<RequestId, Where>::iterator found) {
  const Where where = found->second;
  QueuedRequest request = std::move(*where.request);
  deadlines_.erase(where.deadline);
  where_.erase(found);
  where.tenant->requests.erase(where.request);
  tokens_ -= request.tokens;
  const auto fill = fill_.find(request.tenant);
  fill->second.tokens -= request.tokens;
  if (--fill->second.requests == 0) fill_.erase(fill);
  if (where.tenant->requests.empty()) {
    const auto level = levels_.find(where.priority);
    level->second.tenants.erase(request.tenant);
    level->second.turns.erase(where.tenant);
    if (level->second.turns.empty()) levels_.erase(level);
  }
  return request;
}

bool AdmissionQueue::erase(RequestId id) {
  const auto found = where_.find(id);
  if (found == where_.end()) return false;
  take(found);
  return true;
}

std::optional<QueuedRequest> AdmissionQueue::pop_expired(Seconds now) {
  if (deadlines_.empty() || deadlines_.begin()->first > now) return std::nullopt;
  return take(where_.find(deadlines_.begin()->second));
}

Seconds AdmissionQueue::next_deadline() const {
  return deadlines_.empty() ? kNever : deadlines_.begin()->first;
}

}  // namespace sluice::router
