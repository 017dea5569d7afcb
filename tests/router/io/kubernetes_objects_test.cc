// What the router reads of Kubernetes beside endpoints: who the front proxy is, how far a workload is scaled,
// and what a pod is worth to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "router/core/replica.h"
#include "router/io/front_proxy.h"
#include "router/io/pod_costs.h"
#include "router/io/scale_target.h"

namespace sluice::router {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(FrontProxy, is_read_from_its_config_map) {
  const auto proxy = parse_front_proxy(
      R"({"kind":"ConfigMap","data":{"client-ca-file":"x","requestheader-client-ca-file":"PEM",)"
      R"("requestheader-allowed-names":"[\"front-proxy-client\",\"b\"]"}})");
  ASSERT_TRUE(proxy.ok());
  EXPECT_EQ(proxy->authorities, "PEM");
  EXPECT_THAT(proxy->names, ElementsAre("front-proxy-client", "b"));
  const auto any = parse_front_proxy(R"({"data":{"requestheader-client-ca-file":"PEM"}})");
  ASSERT_TRUE(any.ok());
  EXPECT_THAT(any->names, IsEmpty());
}

TEST(FrontProxy, nobody_is_let_in_by_nonsense) {
  for (const char* text :
       {"", "null", "[]", "{}", R"({"data":null})", R"({"data":{}})", R"({"data":[1]})",
        R"({"data":{"requestheader-client-ca-file":""}})", R"({"data":{"requestheader-client-ca-file":7}})",
        R"({"data":{"requestheader-client-ca-file":"PEM","requestheader-allowed-names":"x"}})",
        R"({"data":{"requestheader-client-ca-file":"PEM","requestheader-allowed-names":"[1]"}})"}) {
    EXPECT_FALSE(parse_front_proxy(text).ok()) << text;
  }
}

TEST(ScaleTarget, is_named_by_model_kind_and_name) {
  const auto any = parse_scale_target("deployments/llm");
  ASSERT_TRUE(any.ok());
  EXPECT_EQ(any->model, "");
  EXPECT_EQ(any->resource, "deployments");
  EXPECT_EQ(any->name, "llm");
  const auto of_model = parse_scale_target("org/a=b=statefulsets/llm-0");
  ASSERT_TRUE(of_model.ok());
  EXPECT_EQ(of_model->model, "org/a=b");
  EXPECT_EQ(of_model->resource, "statefulsets");
  for (const char* text : {"", "llm", "deployments/", "/llm", "pods/llm", "deployments/../x", "deployments/A",
                           "m=deployment/x"}) {
    EXPECT_FALSE(parse_scale_target(text).ok()) << text;
  }
  EXPECT_THAT(parse_scale_target("pods/llm").error().message, HasSubstr("pods/llm"));
}

TEST(Scale, is_read_without_trust) {
  const auto three =
      parse_scale(R"({"kind":"Scale","metadata":{"resourceVersion":"7"},"spec":{"replicas":3}})");
  ASSERT_TRUE(three.ok());
  EXPECT_EQ(three->replicas, 3);
  EXPECT_EQ(three->version, "7");
  const auto none = parse_scale(R"({"metadata":{"resourceVersion":"7"},"spec":{}})");
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->replicas, 0);
  for (const char* text : {"", "[]", R"({"spec":{"replicas":1}})", R"({"metadata":{"resourceVersion":"7"}})",
                           R"({"metadata":{"resourceVersion":7},"spec":{}})",
                           R"({"metadata":{"resourceVersion":"7"},"spec":{"replicas":-1}})",
                           R"({"metadata":{"resourceVersion":"7"},"spec":{"replicas":"1"}})",
                           R"({"metadata":{"resourceVersion":"7"},"spec":{"replicas":1e30}})"}) {
    EXPECT_FALSE(parse_scale(text).ok()) << text;
  }
}

TEST(PodCost, running_requests_weigh_more_than_a_warm_cache) {
  Replica young, old, busy;
  young.ready_since = 1e6 - 60;
  old.ready_since = 1e6 - 7200;
  busy.ready_since = 1e6 - 60;
  busy.in_flight = 1;
  EXPECT_LT(deletion_cost(young, 1e6), deletion_cost(old, 1e6));
  EXPECT_LT(deletion_cost(old, 1e6), deletion_cost(busy, 1e6));
  Replica elsewhere = young;  // busy with another router's requests
  elsewhere.foreign_running = 2;
  EXPECT_LT(deletion_cost(busy, 1e6), deletion_cost(elsewhere, 1e6));
  Replica absurd;
  absurd.in_flight = absurd.foreign_running = ~0U;
  EXPECT_GT(deletion_cost(absurd, 1e6), 0);  // an int32 of Kubernetes
}

}  // namespace
}  // namespace sluice::router
