#include "server/scaling/hpa.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using Json = nlohmann::json;

ScalingRules rules_of(const Json& json) {
  ScalingRules rules;
  rules.stabilization = json["window"];
  const std::string select = json["select"];
  rules.select = select == "Max"   ? ScalingRules::Select::kMax
                 : select == "Min" ? ScalingRules::Select::kMin
                                   : ScalingRules::Select::kDisabled;
  for (const Json& policy : json["policies"]) {
    rules.policies.push_back(
        {policy["type"] == "Pods" ? ScalingPolicy::Kind::kPods : ScalingPolicy::Kind::kPercent,
         policy["value"], policy["period"]});
  }
  return rules;
}

// Sixty specs with forty looks each, answered by Kubernetes' own controller (v1.34.4): its tolerance,
// stabilization windows, policies and events.
TEST(Hpa, decides_as_the_controller_does) {
  std::ifstream file("tests/golden/hpa.json");
  const Json cases = Json::parse(file);
  ASSERT_EQ(cases.size(), 60U);
  int ups = 0, downs = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Json& each = cases[i];
    HpaSpec spec{.min_replicas = each["min"], .max_replicas = each["max"]};
    spec.up = rules_of(each["up"]);
    spec.down = rules_of(each["down"]);
    Hpa hpa(spec);
    for (const Json& look : each["looks"]) {
      const int from = look["from"], to = look["to"];
      ASSERT_EQ(hpa.look(look["at"], from, look["milli"].get<double>() / 1000), to)
          << "case " << i << " at " << look["at"];
      ups += to > from;
      downs += to < from;
    }
  }
  EXPECT_GT(ups, 100);
  EXPECT_GT(downs, 100);
}

TEST(Hpa, zero_is_a_pause_unless_it_is_allowed) {
  Hpa paused({.min_replicas = 1});
  EXPECT_EQ(paused.look(0, 0, 5), 0);
  Hpa to_zero({.min_replicas = 0});
  EXPECT_EQ(to_zero.look(0, 0, 0), 0);
  EXPECT_EQ(to_zero.look(15, 0, 3), 3);
  EXPECT_EQ(to_zero.look(30, 3, 0), 3);  // stabilized
  EXPECT_EQ(to_zero.look(331, 3, 0), 0);
}

}  // namespace
}  // namespace sluice
