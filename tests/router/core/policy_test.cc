#include "router/core/policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>

#include "base/hash.h"

namespace sluice::router {
namespace {

struct Scene {
  explicit Scene(size_t replicas) {
    std::vector<std::string> names;
    for (size_t i = 0; i < replicas; ++i) names.push_back("replica-" + std::to_string(i));
    const std::vector<std::string_view> views(names.begin(), names.end());
    ring = HashRing(views, 256);
    for (size_t i = 0; i < replicas; ++i) {
      candidates.push_back({.replica = static_cast<ReplicaId>(i + 1),
                            .member = static_cast<uint32_t>(i),
                            .name_hash = hash_bytes(names[i].data(), names[i].size())});
    }
  }
  size_t choose(PolicyName name) {
    options.name = name;
    const PolicyView view{.candidates = candidates,
                          .request = request,
                          .waiting = waiting,
                          .ring = &ring,
                          .turn = ++turn,
                          .random = hash_combine(7, turn)};
    terms.assign(candidates.size(), {});
    return router::choose(options, view, terms);
  }

  PolicyOptions options;
  PolicyRequest request{.prompt_tokens = 10'000, .prefix_key = 42, .session_key = 99};
  std::vector<Candidate> candidates;
  std::vector<CostTerms> terms;
  HashRing ring;
  double waiting = 0;
  uint64_t turn = 0;
};

TEST(Policy, names_are_parsed_back) {
  for (int i = 0; i < kPolicyCount; ++i) {
    const auto policy = static_cast<PolicyName>(i);
    EXPECT_EQ(parse_policy(name_of(policy)), policy);
  }
  EXPECT_EQ(parse_policy("best"), std::nullopt);
}

TEST(Policy, all_choose_a_candidate_in_any_state) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    Scene scene(1 + random() % 9);
    for (Candidate& c : scene.candidates) {
      c.weight = 0.1 + static_cast<double>(random() % 10);
      c.ramp = 0.1 + static_cast<double>(random() % 10) / 11;
      c.cached_tokens = static_cast<uint32_t>(random() % 3 == 0 ? 0 : random() % 20'000);
      c.running = static_cast<uint32_t>(random() % 300);
      c.prefill_tokens = random() % 100'000;
      c.wait_seconds = static_cast<double>(random() % 100) / 10;
      c.kv_usage = static_cast<double>(random() % 101) / 100;
    }
    // Not all of the ring's members are candidates.
    if (scene.candidates.size() > 2 && random() % 2 == 0)
      scene.candidates.erase(scene.candidates.begin() + 1);
    scene.request.prompt_tokens = static_cast<uint32_t>(random() % 20'000);
    scene.request.session_key = random() % 2;
    for (int i = 0; i < kPolicyCount; ++i) {
      ASSERT_LT(scene.choose(static_cast<PolicyName>(i)), scene.candidates.size());
      for (const CostTerms& terms : scene.terms) ASSERT_TRUE(std::isfinite(terms.total));
    }
  }
}

TEST(CostPolicy, takes_the_cached_replica_until_the_wait_there_costs_more) {
  Scene scene(2);
  scene.options.cost = {.recompute_floor = 0.5, .recompute_per_waiting = 1};
  scene.candidates[0].cached_tokens = 8000;  // 1 s of work saved at 8000 tokens a second
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
  scene.candidates[0].wait_seconds = 1.4;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
  EXPECT_NEAR(scene.terms[0].wait, 1.4, 1e-9);
  EXPECT_NEAR(scene.terms[0].compute, 0.25, 1e-9);
  EXPECT_NEAR(scene.terms[1].compute, 1.25, 1e-9);
  EXPECT_NEAR(scene.terms[0].recompute, 0, 1e-9);
  EXPECT_NEAR(scene.terms[1].recompute, 0.5, 1e-9);
  scene.candidates[0].wait_seconds = 1.6;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 1U);
  // Work that is done twice costs the more the more others wait.
  scene.waiting = 1;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
}

TEST(CostPolicy, what_many_hold_is_cheap_to_copy_once_more) {
  Scene scene(5);
  scene.options.cost = {.recompute_floor = 1, .recompute_per_waiting = 0};
  for (size_t i = 0; i < 4; ++i) scene.candidates[i].cached_tokens = 8000;
  scene.choose(PolicyName::kCost);
  EXPECT_NEAR(scene.terms[4].recompute, 0.25, 1e-9);
  for (size_t i = 1; i < 4; ++i) scene.candidates[i].cached_tokens = 1000;
  scene.choose(PolicyName::kCost);
  EXPECT_NEAR(scene.terms[4].recompute, 7.0 / 8 + 1.0 / 8 / 4, 1e-9);
  EXPECT_NEAR(scene.terms[1].recompute, 7.0 / 8, 1e-9);
}

TEST(CostPolicy, new_content_goes_where_nothing_of_use_is_evicted) {
  Scene scene(2);
  scene.candidates[0].evict_reuse = 0.5;
  scene.candidates[0].rate.token_seconds *= 0.7;  // faster, and its cache is crowded
  EXPECT_EQ(scene.choose(PolicyName::kCost), 1U);
  scene.candidates[0].cached_tokens = scene.request.prompt_tokens;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
}

TEST(CostPolicy, knows_who_is_slow_new_or_full) {
  Scene scene(2);
  scene.candidates[0].rate.token_seconds *= 2;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 1U);
  scene.candidates[1].ramp = 0.1;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
  scene.candidates[0].rate = scene.candidates[1].rate;
  scene.candidates[1].ramp = 1;
  scene.candidates[1].kv_usage = 0.99;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
  scene.candidates[1].kv_usage = 0;
  scene.candidates[0].running = scene.candidates[0].max_running;
  scene.candidates[0].decode_step_seconds = scene.candidates[1].decode_step_seconds = 0.02;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 1U);
}

TEST(CostPolicy, differences_too_small_to_know_go_to_the_less_loaded) {
  Scene scene(2);
  scene.candidates[0].rate.token_seconds *= 0.99;
  scene.candidates[0].running = 3;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 1U);
  scene.candidates[0].rate.token_seconds *= 0.9;
  EXPECT_EQ(scene.choose(PolicyName::kCost), 0U);
}

TEST(CostPolicy, draws_among_equals) {
  Scene scene(4);
  std::map<size_t, int> drawn;
  for (int i = 0; i < 4000; ++i) ++drawn[scene.choose(PolicyName::kCost)];
  for (const auto& [index, count] : drawn) EXPECT_NEAR(count, 1000, 150) << index;
  EXPECT_EQ(drawn.size(), 4U);
}

TEST(FieldPolicies, cache_aware_follows_the_prefix_unless_out_of_balance) {
  Scene scene(3);
  scene.candidates[1].cached_tokens = 3001;
  scene.candidates[1].running = 60;
  EXPECT_EQ(scene.choose(PolicyName::kCacheAware), 1U);
  scene.candidates[1].running = 65;
  EXPECT_NE(scene.choose(PolicyName::kCacheAware), 1U);
  scene.candidates[1].running = 0;
  scene.candidates[0].running = scene.candidates[2].running = 1;
  scene.candidates[0].cached_tokens = 3000;  // not above the threshold
  scene.candidates[1].cached_tokens = 0;
  EXPECT_EQ(scene.choose(PolicyName::kCacheAware), 1U);
}

TEST(FieldPolicies, sticky_holds_until_saturated) {
  Scene scene(2);
  scene.candidates[0].cached_tokens = 8000;
  scene.candidates[0].prefill_tokens = 200'000;
  EXPECT_EQ(scene.choose(PolicyName::kSticky), 0U);
  scene.candidates[0].prefill_tokens = 300'000;
  EXPECT_EQ(scene.choose(PolicyName::kSticky), 1U);
  scene.candidates[0].prefill_tokens = 2'001;
  scene.candidates[0].cached_tokens = 7999;  // under the gate: tokens alone decide
  EXPECT_EQ(scene.choose(PolicyName::kSticky), 0U);
  scene.candidates[0].prefill_tokens = 8'000;
  EXPECT_EQ(scene.choose(PolicyName::kSticky), 1U);
}

TEST(FieldPolicies, lmetric_multiplies_new_tokens_by_the_batch) {
  Scene scene(2);
  scene.candidates[0].cached_tokens = 9000;  // 1000 new
  scene.candidates[0].running = 8;
  scene.candidates[1].running = 0;
  EXPECT_EQ(scene.choose(PolicyName::kLmetric), 0U);  // 9000 against 10000
  scene.candidates[0].running = 10;
  EXPECT_EQ(scene.choose(PolicyName::kLmetric), 1U);
}

TEST(FieldPolicies, bounded_load_stays_within_its_bound) {
  Scene scene(8);
  std::mt19937_64 random(3);
  uint64_t total = 0;
  for (int i = 0; i < 4000; ++i) {
    scene.request.prefix_key = random() % 3;  // few keys, hot ones
    ++scene.candidates[scene.choose(PolicyName::kConsistentHash)].running;
    ++total;
    for (const Candidate& c : scene.candidates)
      ASSERT_LE(c.running, std::ceil(1.25 * static_cast<double>(total) / 8.0));
  }
}

TEST(FieldPolicies, sessions_and_keys_move_only_from_who_left) {
  Scene scene(8);
  std::map<uint64_t, ReplicaId> session, key;
  for (uint64_t i = 1; i <= 1000; ++i) {
    scene.request = {.prompt_tokens = 10, .prefix_key = hash_combine(1, i), .session_key = i};
    session[i] = scene.candidates[scene.choose(PolicyName::kSession)].replica;
    key[i] = scene.candidates[scene.choose(PolicyName::kConsistentHash)].replica;
  }
  const ReplicaId gone = scene.candidates[3].replica;
  scene.candidates.erase(scene.candidates.begin() + 3);
  std::map<ReplicaId, int> shares;
  for (uint64_t i = 1; i <= 1000; ++i) {
    scene.request = {.prompt_tokens = 10, .prefix_key = hash_combine(1, i), .session_key = i};
    const ReplicaId now = scene.candidates[scene.choose(PolicyName::kSession)].replica;
    ++shares[now];
    const ReplicaId keyed = scene.candidates[scene.choose(PolicyName::kConsistentHash)].replica;
    EXPECT_TRUE(session[i] == gone || now == session[i]) << i;
    EXPECT_TRUE(key[i] == gone || keyed == key[i]) << i;
  }
  for (const auto& [replica, count] : shares) EXPECT_NEAR(count, 1000 / 7, 60) << replica;
}

}  // namespace
}  // namespace sluice::router
