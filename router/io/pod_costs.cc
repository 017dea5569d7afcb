#include "router/io/pod_costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/log.h"
#include "router/io/dispatcher.h"

namespace sluice::router {
namespace {

constexpr Seconds kInterval = 10;  // between two looks
constexpr Seconds kPause = 0.2;    // between two writes: not more than five a second
constexpr Seconds kPatience = 10;
constexpr Seconds kLongestBackoff = 300;
constexpr int kOfRequest = 1000;

class PodCosts final : public Errand {
 public:
  PodCosts(KubernetesApi& api, const Dispatcher& dispatcher) : api_(api), dispatcher_(dispatcher) {}

  void tick(Seconds now) override {
    now_ = now;
    if (fetch_ != nullptr) {
      if (now < until_) return;
      fetch_.reset();
      return failed("the API server did not answer in time");
    }
    if (due_.empty() && now >= next_look_) look();
    if (!due_.empty() && now >= next_write_) write();
  }

 private:
  struct Cost {
    PodName pod;
    int cost = 0;
  };

  // The pods whose cost is another than was written.
  void look() {
    next_look_ = now_ + kInterval;
    std::map<std::string, int> written;
    for (const auto& [name, link] : dispatcher_.links()) {
      const Replica* replica = dispatcher_.core_view().fleet().find(link->id());
      if (replica == nullptr || replica->state != ReplicaState::kReady || link->found().pod.name.empty())
        continue;
      const auto known = written_.find(name);
      const int cost = deletion_cost(*replica, now_);
      if (known != written_.end()) written.insert(*known);
      if (!is_surplus(*replica) || (known != written_.end() && known->second == cost)) continue;
      due_.push_back({link->found().pod, cost});
      written[name] = cost;
    }
    written_ = std::move(written);  // without those that left
  }

  bool is_surplus(const Replica& replica) const {
    return std::ranges::any_of(dispatcher_.demand_view().models(), [&](const auto& each) {
      const auto& [model, told] = each;
      return serves(replica, model) && told.load.ready > 1 && told.load.ready > told.demand.replicas;
    });
  }

  void write() {
    const Cost cost = due_.back();
    due_.pop_back();
    next_write_ = now_ + kPause;
    until_ = now_ + kPatience;
    const std::string merge = fmt::format(
        R"({{"metadata":{{"annotations":{{"controller.kubernetes.io/pod-deletion-cost":"{}"}}}}}})",
        cost.cost);
    auto asked = api_.patch(fmt::format("/api/v1/namespaces/{}/pods/{}", percent_encoded(cost.pod.space),
                                        percent_encoded(cost.pod.name)),
                            merge, [this](const Fetch::Answer& answer) {
                              const std::unique_ptr<Fetch> over = std::move(fetch_);
                              // 404: it left meanwhile.
                              if (answer.status != 200 && answer.status != 404)
                                return failed(trouble_of(answer));
                              told_.clear();
                              backoff_ = 0;
                            });
    if (!asked.ok()) return failed(asked.error().message);
    fetch_ = std::move(asked).value();
  }

  void failed(const std::string& why) {
    if (why != told_) log::warn("--pod-deletion-cost: a pod cannot be annotated: {}", why);
    told_ = why;
    due_.clear();
    written_.clear();
    backoff_ = std::clamp(backoff_ * 2, kInterval, kLongestBackoff);
    next_look_ = now_ + backoff_;
  }

  KubernetesApi& api_;
  const Dispatcher& dispatcher_;
  std::map<std::string, int> written_;  // by replica
  std::vector<Cost> due_;
  std::unique_ptr<Fetch> fetch_;
  std::string told_;
  Seconds now_ = 0, next_look_ = 0, next_write_ = 0, until_ = kNever, backoff_ = 0;
};

}  // namespace

int deletion_cost(const Replica& replica, Seconds now) {
  const uint64_t requests = uint64_t{replica.in_flight} + replica.foreign_running;
  const double hours = std::clamp((now - replica.ready_since) / 3600, 0.0, 100.0);
  return static_cast<int>(std::min<uint64_t>(requests, 1'000'000)) * kOfRequest + static_cast<int>(hours);
}

std::unique_ptr<Errand> make_pod_costs(KubernetesApi& api, const Dispatcher& dispatcher) {
  return std::make_unique<PodCosts>(api, dispatcher);
}

}  // namespace sluice::router
