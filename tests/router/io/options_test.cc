// The flags that say where replicas come from, and what a pod's surroundings say in their place.
#include "router/io/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace sluice::router {
namespace {

using ::testing::HasSubstr;

ParsedRouteOptions parse(std::vector<const char*> flags, const RouteEnvironment& environment = {}) {
  flags.insert(flags.begin(), "sluice-route");
  return parse_route_options(static_cast<int>(flags.size()), flags.data(), environment);
}

TEST(RouteOptions, a_pod_finds_its_api_server_where_kubernetes_says) {
  TempFolder folder;
  write_file(folder / "namespace", "models");
  write_file(folder / "ca.crt", "-");
  RouteEnvironment pod;
  pod.sources = {.kubernetes_host = "10.96.0.1", .kubernetes_port = "443"};
  pod.sources.service_account = folder.path();
  const auto own = parse({"--k8s-service", "llm"}, pod);
  ASSERT_TRUE(own.options) << own.text;
  const KubernetesApiOptions& found = *own.options->sources.kubernetes_api;
  EXPECT_EQ(found.url.text(), "https://10.96.0.1/");
  EXPECT_EQ(own.options->sources.kubernetes->space, "models");
  EXPECT_EQ(found.token_file, folder / "token");
  EXPECT_EQ(own.options->sources.kubernetes_ca_file, folder / "ca.crt");

  pod.sources.kubernetes_host = "fd00::1";
  pod.sources.kubernetes_port = "6443";
  const auto told = parse(
      {"--k8s-service", "llm", "--k8s-namespace", "other", "--k8s-token-file", "t", "--k8s-ca-file", "c"},
      pod);
  ASSERT_TRUE(told.options) << told.text;
  EXPECT_EQ(told.options->sources.kubernetes_api->url.text(), "https://[fd00::1]:6443/");
  EXPECT_EQ(told.options->sources.kubernetes->space, "other");
  EXPECT_EQ(told.options->sources.kubernetes_api->token_file, "t");
  EXPECT_EQ(told.options->sources.kubernetes_ca_file, "c");
}

TEST(RouteOptions, another_api_server_does_not_get_the_pods_token) {
  RouteEnvironment pod;
  pod.sources = {.kubernetes_host = "10.96.0.1", .kubernetes_port = "443"};
  const auto parsed =
      parse({"--k8s-label-selector", "app=llm", "--k8s-api-server", "https://elsewhere.test"}, pod);
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->sources.kubernetes_api->token_file, "");
  EXPECT_EQ(parsed.options->sources.kubernetes->space, "default");
  EXPECT_EQ(parsed.options->sources.kubernetes->label_selector, "app=llm");
}

TEST(RouteOptions, there_must_be_a_source_of_replicas) {
  EXPECT_THAT(parse({}).text, HasSubstr("No replica is given"));
  EXPECT_THAT(parse({"--replica", "https://a"}).text, "");
  EXPECT_THAT(parse({"--k8s-port", "http"}).text, HasSubstr("--k8s-service"));
  EXPECT_THAT(parse({"--k8s-service", "llm"}).text, HasSubstr("--k8s-api-server is needed"));
}

TEST(RouteOptions, clients_keys_stay_where_there_are_any) {
  EXPECT_FALSE(parse({"--replica", "http://a"}).options->dispatcher.link.replaces_keys);
  EXPECT_TRUE(parse({"--replica", "http://a", "--api-key", "k"}).options->dispatcher.link.replaces_keys);
  const auto environment = parse({"--replica", "http://a"}, {.replica_api_key = "inner", .api_key = "outer"});
  EXPECT_TRUE(environment.options->dispatcher.link.replaces_keys);
  EXPECT_EQ(environment.options->dispatcher.link.api_key, "inner");
  EXPECT_EQ(environment.options->door.api_keys, std::vector<std::string>{"outer"});
  EXPECT_THAT(parse({"--replica", "http://a", "--api-key", ""}).text, HasSubstr("empty"));
  EXPECT_EQ(describe(*environment.options).find("outer"), std::string::npos);
}

}  // namespace
}  // namespace sluice::router
