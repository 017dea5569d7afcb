#include "router/core/admission_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace sluice::router {
namespace {

QueuedRequest request(RequestId id, std::string tenant, uint32_t tokens, int priority = 0,
                      Seconds deadline = kNever, double weight = 1) {
  return {.id = id,
          .tenant = std::move(tenant),
          .tenant_weight = weight,
          .priority = priority,
          .tokens = tokens,
          .deadline = deadline};
}

TEST(AdmissionQueue, every_request_leaves_exactly_once) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    AdmissionQueue queue({.max_requests = 1 + random() % 60,
                          .max_tokens = 1'000'000,
                          .tenant_share = random() % 2 == 0 ? 1 : 0.4,
                          .quantum_tokens = static_cast<uint32_t>(1 + random() % 20'000)});
    std::set<RequestId> inside, left;
    std::map<RequestId, uint32_t> sizes;
    RequestId last = 0;
    const auto leave = [&](RequestId id) {
      ASSERT_EQ(inside.erase(id), 1U) << "seed " << seed;
      ASSERT_TRUE(left.insert(id).second);
    };
    for (int step = 0; step < 2000; ++step) {
      switch (random() % 6) {
        case 0:
        case 1:
        case 2: {
          auto next = request(++last, std::string(1, static_cast<char>('a' + random() % 5)),
                              static_cast<uint32_t>(random() % 60'000), static_cast<int>(random() % 3),
                              step + static_cast<double>(random() % 100));
          sizes[last] = next.tokens;
          if (queue.push(std::move(next)) == AdmissionQueue::Verdict::kQueued) inside.insert(last);
          break;
        }
        case 3:
          if (queue.front() != nullptr) {
            const RequestId expected = queue.front()->id;
            auto popped = queue.pop_front();
            ASSERT_EQ(popped.id, expected);
            if (random() % 4 == 0) {
              queue.push_front(std::move(popped));
            } else {
              leave(popped.id);
            }
          }
          break;
        case 4:
          if (!inside.empty()) {
            const RequestId id = *inside.begin();
            ASSERT_TRUE(queue.erase(id));
            leave(id);
            ASSERT_FALSE(queue.erase(id));
          }
          break;
        default:
          while (const auto expired = queue.pop_expired(step)) {
            ASSERT_LE(expired->deadline, step);
            leave(expired->id);
          }
          ASSERT_GT(queue.next_deadline(), step);
      }
      uint64_t tokens = 0;
      for (const RequestId id : inside) tokens += sizes[id];
      ASSERT_EQ(queue.size(), inside.size());
      ASSERT_EQ(queue.tokens(), tokens);
    }
    while (!queue.empty()) leave(queue.pop_front().id);
    ASSERT_TRUE(inside.empty());
    ASSERT_EQ(queue.tokens(), 0U);
    ASSERT_EQ(queue.front(), nullptr);
  }
}

TEST(AdmissionQueue, tenants_share_tokens_by_weight_within_a_quantum_and_a_prompt) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    constexpr uint32_t kQuantum = 8192, kLongest = 30'000;
    AdmissionQueue queue({.max_requests = 100'000, .max_tokens = 1ULL << 40, .quantum_tokens = kQuantum});
    const std::vector<double> weights = {1, 2, 0.5, 4};
    RequestId last = 0;
    for (size_t tenant = 0; tenant < weights.size(); ++tenant) {
      // Everyone's prompts have another size: by requests they would share quite differently.
      const uint32_t most = tenant == 0 ? 100 : kLongest;
      for (int i = 0; i < 3000; ++i) {
        queue.push(request(++last, std::to_string(tenant), static_cast<uint32_t>(1 + random() % most), 0,
                           kNever, weights[tenant]));
      }
    }
    std::vector<double> served(weights.size(), 0);
    for (int i = 0; i < 2000; ++i) {
      const auto next = queue.pop_front();
      served[std::stoul(next.tenant)] += next.tokens;
      for (size_t a = 0; a < weights.size(); ++a) {
        for (size_t b = 0; b < weights.size(); ++b) {
          const double apart = served[a] / weights[a] - served[b] / weights[b];
          ASSERT_LE(apart, 2 * kQuantum + kLongest / weights[a] + kLongest / weights[b])
              << "seed " << seed << " tenants " << a << " " << b;
        }
      }
    }
  }
}

TEST(AdmissionQueue, higher_priority_goes_first_and_one_tenant_first_come_first_served) {
  AdmissionQueue queue({});
  queue.push(request(1, "a", 10, 0));
  queue.push(request(2, "a", 10, 5));
  queue.push(request(3, "a", 10, -1));
  queue.push(request(4, "a", 10, 0));
  std::vector<RequestId> order;
  while (!queue.empty()) order.push_back(queue.pop_front().id);
  EXPECT_EQ(order, (std::vector<RequestId>{2, 1, 4, 3}));
}

TEST(AdmissionQueue, is_bounded_in_requests_tokens_and_per_tenant) {
  AdmissionQueue queue({.max_requests = 4, .max_tokens = 100, .tenant_share = 0.5});
  EXPECT_EQ(queue.push(request(1, "a", 10)), AdmissionQueue::Verdict::kQueued);
  EXPECT_EQ(queue.push(request(2, "a", 10)), AdmissionQueue::Verdict::kQueued);
  EXPECT_EQ(queue.push(request(3, "a", 10)), AdmissionQueue::Verdict::kTenantFull);
  EXPECT_EQ(queue.push(request(3, "b", 90)), AdmissionQueue::Verdict::kFull);
  EXPECT_EQ(queue.push(request(3, "b", 60)), AdmissionQueue::Verdict::kQueued);
  EXPECT_EQ(queue.push(request(4, "b", 1)), AdmissionQueue::Verdict::kTenantFull);
  EXPECT_EQ(queue.push(request(4, "c", 1)), AdmissionQueue::Verdict::kQueued);
  EXPECT_EQ(queue.push(request(5, "d", 1)), AdmissionQueue::Verdict::kFull);
}

}  // namespace
}  // namespace sluice::router
