#include "server/scaling/metrics_api.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace sluice {
namespace {

using Json = nlohmann::json;

const std::vector<MetricSeries> kSeries = {
    {"sluice_demand_replicas", {{"model", "org/llama"}}, 3},
    {"sluice_demand_replicas", {{"model", "tiny"}}, 0},
    {"sluice_queue_depth", {{"model", "org/llama"}}, 17},
    {"sluice_queue_depth", {{"model", "tiny"}}, 1.25},
};

MetricsApiAnswer ask(std::string_view path, std::string_view selector = "", std::string_view accept = "") {
  const bool custom = path.find("custom.") != std::string_view::npos;
  return answer_metrics_api({.path = path,
                             .label_selector = custom ? "" : selector,
                             .metric_label_selector = custom ? selector : "",
                             .accept = accept,
                             .unix_time = 1'700'000'000},
                            kSeries, "prod");
}
Json body_of(std::string_view path, std::string_view selector = "") {
  const MetricsApiAnswer answer = ask(path, selector);
  EXPECT_EQ(answer.status, 200) << answer.body;
  return Json::parse(answer.body);
}

TEST(MetricsApi, external_values_are_those_that_the_selector_names) {
  const std::string path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/sluice_demand_replicas";
  const Json all = body_of(path);
  EXPECT_EQ(all["kind"], "ExternalMetricValueList");
  EXPECT_EQ(all["apiVersion"], "external.metrics.k8s.io/v1beta1");
  ASSERT_EQ(all["items"].size(), 2U);
  const Json one = body_of(path, "model=org-llama");
  ASSERT_EQ(one["items"].size(), 1U);
  EXPECT_EQ(one["items"][0], Json::parse(R"({"metricName": "sluice_demand_replicas",
      "metricLabels": {"model": "org/llama"}, "timestamp": "2023-11-14T22:13:20Z", "value": "3"})"));
  // 0 is a value, not nothing: an empty list is an error to the HPA.
  EXPECT_EQ(body_of(path, "model in (tiny)")["items"][0]["value"], "0");
  EXPECT_EQ(body_of(path, "model=none")["items"].size(), 0U);
}

TEST(MetricsApi, an_object_has_one_value_in_both_versions) {
  const std::string rest = "/namespaces/prod/services/router/sluice_queue_depth";
  const Json old = body_of("/apis/custom.metrics.k8s.io/v1beta1" + rest, "model=tiny");
  EXPECT_EQ(old, Json::parse(R"({"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1",
      "metadata": {}, "items": [{
        "describedObject": {"kind": "Service", "namespace": "prod", "name": "router", "apiVersion": "v1"},
        "metricName": "sluice_queue_depth", "timestamp": "2023-11-14T22:13:20Z", "value": "1250m",
        "selector": {"matchLabels": {"model": "tiny"}}}]})"));
  const Json recent = body_of("/apis/custom.metrics.k8s.io/v1beta2" + rest, "model=tiny");
  EXPECT_EQ(recent["items"][0]["metric"]["name"], "sluice_queue_depth");
  EXPECT_EQ(recent["items"][0]["metric"]["selector"]["matchLabels"]["model"], "tiny");
  EXPECT_FALSE(recent["items"][0].contains("metricName"));
  const std::string deployment = "/namespaces/prod/deployments.apps/x/sluice_queue_depth";
  const Json of_deployment = body_of("/apis/custom.metrics.k8s.io/v1beta2" + deployment, "model=org-llama");
  EXPECT_EQ(of_deployment["items"][0]["describedObject"]["apiVersion"], "apps/v1");
  const auto both = ask("/apis/custom.metrics.k8s.io/v1beta2" + rest);
  EXPECT_EQ(both.status, 404);
  EXPECT_NE(both.body.find("model=org-llama"), std::string::npos) << both.body;
}

TEST(MetricsApi, discovery_tells_groups_versions_and_resources) {
  const Json groups = body_of("/apis");
  EXPECT_EQ(groups["kind"], "APIGroupList");
  EXPECT_EQ(groups["groups"].size(), 2U);
  const Json custom = body_of("/apis/custom.metrics.k8s.io");
  EXPECT_EQ(custom["kind"], "APIGroup");
  EXPECT_EQ(custom["versions"].size(), 2U);
  EXPECT_EQ(custom["preferredVersion"]["groupVersion"], "custom.metrics.k8s.io/v1beta2");
  const Json external = body_of("/apis/external.metrics.k8s.io/v1beta1");
  EXPECT_EQ(external["kind"], "APIResourceList");
  ASSERT_EQ(external["resources"].size(), 2U);
  EXPECT_EQ(external["resources"][0], Json::parse(R"({"name": "sluice_demand_replicas", "singularName": "",
      "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]})"));
  EXPECT_EQ(body_of("/apis/custom.metrics.k8s.io/v1beta1")["resources"][0]["name"],
            "services/sluice_demand_replicas");
}

TEST(MetricsApi, all_of_discovery_at_once_for_who_asks_for_it) {
  const std::string_view v2 =
      "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
      "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
  const auto answer = ask("/apis", "", v2);
  EXPECT_EQ(answer.content_type, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
  const Json body = Json::parse(answer.body);
  EXPECT_EQ(body["kind"], "APIGroupDiscoveryList");
  EXPECT_EQ(body["items"][0]["versions"][0]["version"], "v1beta2");
  EXPECT_EQ(body["items"][1]["versions"][0]["resources"][0]["responseKind"]["kind"],
            "ExternalMetricValueList");
  const auto old =
      ask("/apis", "", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList");
  EXPECT_EQ(Json::parse(old.body)["kind"], "APIGroupList");
}

TEST(MetricsApi, what_is_not_there_is_a_status_with_a_sentence) {
  const std::pair<const char*, int> cases[] = {
      {"/", 404},
      {"/apis/apps", 404},
      {"/apis/external.metrics.k8s.io/v2", 404},
      {"/apis/external.metrics.k8s.io/v1beta1/namespaces/other/sluice_queue_depth", 404},
      {"/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/no_such_metric", 404},
      {"/apis/custom.metrics.k8s.io/v1beta1/namespaces/prod/services/*/sluice_queue_depth", 404},
      {"/apis/custom.metrics.k8s.io/v1beta1/namespaces/prod/cats/x/sluice_queue_depth", 404},
      {"/apis/custom.metrics.k8s.io/v1beta1/namespaces/prod/services/x", 404},
  };
  for (const auto& [path, status] : cases) {
    const auto answer = ask(path);
    EXPECT_EQ(answer.status, status) << path;
    const Json body = Json::parse(answer.body);
    EXPECT_EQ(body["kind"], "Status");
    EXPECT_EQ(body["code"], status);
    EXPECT_GT(body["message"].get<std::string>().size(), 20U);
  }
  const auto bad = ask("/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/sluice_queue_depth", "a=(");
  EXPECT_EQ(bad.status, 400);
}

TEST(MetricsApi, quantities_are_what_kubernetes_parses) {
  EXPECT_EQ(quantity(0), "0");
  EXPECT_EQ(quantity(-3), "0");
  EXPECT_EQ(quantity(std::nan("")), "0");
  EXPECT_EQ(quantity(7), "7");
  EXPECT_EQ(quantity(1.5), "1500m");
  EXPECT_EQ(quantity(0.0001), "1m");  // not nothing
  EXPECT_EQ(quantity(1e300), "1000000000000");
}

TEST(LabelSelector, knows_every_form) {
  const Labels labels = {{"model", "org/llama 3"}, {"pool", "a"}};
  const auto matches = [&](std::string_view text) {
    const auto selector = LabelSelector::parse(text);
    EXPECT_TRUE(selector.ok()) << text;
    return selector.ok() && selector->matches(labels);
  };
  for (const char* text :
       {"", " ", "pool", "!x", "pool=a", "pool==a", "pool = a , !x", "pool!=b", "pool in (b,a)",
        "pool notin (b, c)", "x notin (a)", "x!=a", "model=org-llama-3"}) {
    EXPECT_TRUE(matches(text)) << text;
  }
  for (const char* text : {"x", "!pool", "pool=b", "pool in (b)", "pool notin (a)", "pool!=a", "pool="}) {
    EXPECT_FALSE(matches(text)) << text;
  }
  for (const char* text : {",", "pool,", "=a", "pool in a", "pool in (a", "pool=a b", "()", "pool=a,,x"}) {
    EXPECT_FALSE(LabelSelector::parse(text).ok()) << text;
  }
}

TEST(LabelSelector, label_forms_are_label_values) {
  EXPECT_EQ(label_form("plain_1.0-x"), "plain_1.0-x");
  EXPECT_EQ(label_form("/a/b/"), "a-b");
  EXPECT_EQ(label_form("///"), "");
  EXPECT_EQ(label_form(std::string(100, 'x')).size(), 63U);
}

TEST(LabelSelector, no_text_breaks_it) {
  std::mt19937_64 random(1);
  const std::string_view alphabet = "ab=!,() in notin\xff/";
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (uint64_t n = random() % 24; n > 0; --n) text += alphabet[random() % alphabet.size()];
    const auto selector = LabelSelector::parse(text);
    if (selector.ok()) {
      (void)selector->matches({{"a", "b"}});
    } else {
      EXPECT_FALSE(selector.error().message.empty());
    }
    (void)ask("/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/" + text, text);
  }
}

}  // namespace
}  // namespace sluice
