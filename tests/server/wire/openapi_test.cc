#include "server/wire/openapi.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

namespace sluice {
namespace {

using nlohmann::json;

json document_of(DescribedServer server = {}) {
  if (!server.needs_key) server.needs_key = [](const auto&, const auto&) { return false; };
  return json::parse(openapi_document(server));
}

void visit(const json& node, const std::function<void(const json&)>& look) {
  look(node);
  if (node.is_structured()) {
    for (const json& child : node) visit(child, look);
  }
}

TEST(OpenApi, refers_to_what_is_there_and_to_all_of_it) {
  const json document = document_of();
  std::set<std::string> used;
  visit(document, [&](const json& node) {
    if (!node.is_object() || !node.contains("$ref")) return;
    const std::string target = node["$ref"];
    ASSERT_TRUE(target.starts_with("#")) << target;
    EXPECT_TRUE(document.contains(json::json_pointer(target.substr(1)))) << target;
    used.insert(target.substr(target.rfind('/') + 1));
  });
  for (const auto& [name, schema] : document["components"]["schemas"].items())
    EXPECT_TRUE(used.contains(name)) << name << " is used nowhere";
}

TEST(OpenApi, leaves_no_shorthand) {
  visit(document_of(), [](const json& node) {
    if (node.is_string()) {
      EXPECT_FALSE(node.get<std::string>().starts_with('$')) << node;
    }
    if (!node.is_object()) return;
    for (const char* name : {"$ref?", "takes", "gives", "streams"}) EXPECT_FALSE(node.contains(name)) << node;
    if (node.contains("type") && node["type"].is_string()) {
      EXPECT_FALSE(node["type"].get<std::string>().ends_with('?')) << node;
    }
  });
}

TEST(OpenApi, tells_the_version_and_limits_of_this_server) {
  DescribedServer server{"1.2.3", {}, {}};
  server.limits.max_n = 7;
  const json document = document_of(server);
  const json& n = document["components"]["schemas"]["Sampling"]["properties"]["n"];
  EXPECT_EQ(n["maximum"], 7);
  EXPECT_EQ(n["type"], json::parse(R"(["integer","null"])"));
  EXPECT_EQ(document["info"]["version"], "1.2.3");
}

TEST(OpenApi, tells_which_endpoints_want_a_key) {
  const json document = document_of({"", {}, [](const std::string& method, const std::string& path) {
                                       return method == "GET" && path == "/v1/models/{id}";
                                     }});
  const json& closed = document["paths"]["/v1/models/{id}"]["get"];
  EXPECT_TRUE(closed.contains("security"));
  EXPECT_TRUE(closed["responses"].contains("401"));
  const json& open = document["paths"]["/v1/models"]["get"];
  EXPECT_FALSE(open.contains("security"));
  EXPECT_FALSE(open["responses"].contains("401"));
}

TEST(OpenApi, tells_each_api_in_its_own_words_what_went_wrong) {
  const json document = document_of();
  const auto error_of = [&](const char* path) {
    return document["paths"][path]["post"]["responses"]["400"]["content"]["application/json"]["schema"]
                   ["$ref"];
  };
  EXPECT_EQ(error_of("/v1/completions"), "#/components/schemas/Error");
  EXPECT_EQ(error_of("/v1/messages/count_tokens"), "#/components/schemas/MessagesError");
}

}  // namespace
}  // namespace sluice
