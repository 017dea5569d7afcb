#include "server/wire/openapi.h"

#include <map>
#include <nlohmann/json.hpp>

#include "server/wire/error_body.h"
#include "server/wire/openapi_parts.h"

namespace sluice {
namespace {

using nlohmann::json;

json reference(const std::string& schema) {
  return {{"$ref", "#/components/schemas/" + schema}};
}

json content(const std::string& type, const std::string& schema) {
  return {{type, {{"schema", reference(schema)}}}};
}

// ---- the shorthand of schemas ----

using Values = std::map<std::string, json>;

void write_out(json& node, const Values& values);

void write_out_members(json& object, const Values& values) {
  if (const auto type = object.find("type"); type != object.end() && type->is_string()) {
    auto name = type->get<std::string>();
    if (name.ends_with('?')) {
      name.pop_back();
      *type = {name, "null"};
      if (const auto choices = object.find("enum"); choices != object.end()) choices->push_back(nullptr);
    }
  }
  if (const auto target = object.find("$ref?"); target != object.end()) {
    object["anyOf"] = {{{"$ref", *target}}, {{"type", "null"}}};
    object.erase("$ref?");
  }
  if (const auto text = object.find("description"); text != object.end() && text->is_array()) {
    std::string joined;
    for (const json& piece : *text) joined += (joined.empty() ? "" : " ") + piece.get<std::string>();
    *text = std::move(joined);
  }
  for (auto& [name, value] : object.items()) write_out(value, values);
}

void write_out(json& node, const Values& values) {
  if (node.is_object()) return write_out_members(node, values);
  if (node.is_array()) {
    for (json& element : node) write_out(element, values);
  } else if (node.is_string() && node.get_ref<const std::string&>().starts_with('$')) {
    node = values.at(node.get<std::string>());
  }
}

// ---- operations ----

struct Fault {
  int status;
  const char* when;
};

std::vector<Fault> faults_of(const json& operation, bool has_id, bool needs_key) {
  std::vector<Fault> faults = {{400, "The request is wrong; 'param' names the field."},
                               {408, "The request came too slowly."},
                               {414, "The request line is too long."},
                               {431, "The headers are too large."},
                               {500, "The server failed."},
                               {503, "Not ready, stopping, or full; Retry-After says when to come again."}};
  const bool has_body = operation.contains("takes");
  if (has_body) faults.push_back({413, "The body is too large."});
  if (has_body) faults.push_back({429, "Too many requests wait; Retry-After says when to come again."});
  if (has_body) faults.push_back({501, "The model cannot do this."});
  if (has_body) faults.push_back({504, "The request's 'timeout' has passed."});
  if (has_body || has_id) faults.push_back({404, "There is no such thing, or no such model."});
  if (needs_key) faults.push_back({401, "The key is missing or wrong."});
  return faults;
}

void write_out_operation(json& operation, const std::string& path, bool needs_key) {
  const bool has_id = path.find("{id}") != std::string::npos;
  json& responses = operation["responses"];
  if (operation.contains("gives")) {
    json answer = content("application/json", operation["gives"]);
    const bool streams = operation.value("streams", false);
    if (streams) answer["text/event-stream"] = json::object();
    responses["200"] = {{"description", streams ? "The answer; with 'stream', server-sent events." : "Done."},
                        {"content", std::move(answer)}};
  }
  const bool anthropic = error_style_of(path) == ErrorStyle::kAnthropic;
  for (const Fault& fault : faults_of(operation, has_id, needs_key)) {
    responses[std::to_string(fault.status)] = {
        {"description", fault.when},
        {"content", content("application/json", anthropic ? "MessagesError" : "Error")}};
  }
  for (auto& [status, response] : responses.items())
    response["headers"]["x-request-id"] = {{"schema", {{"type", "string"}}}, {"required", true}};
  if (operation.contains("takes"))
    operation["requestBody"] = {{"required", true},
                                {"content", content("application/json", operation["takes"])}};
  if (has_id) {
    operation["parameters"].push_back({{"name", "id"},
                                       {"in", "path"},
                                       {"required", true},
                                       {"schema", {{"type", "string"}, {"minLength", 1}}}});
  }
  if (needs_key) operation["security"] = {{{"bearer", json::array()}}, {{"key", json::array()}}};
  for (const char* shorthand : {"takes", "gives", "streams"}) operation.erase(shorthand);
}

}  // namespace

std::string openapi_document(const DescribedServer& server) {
  json document = json::object();
  for (const std::string_view part : kOpenApiParts) document.merge_patch(json::parse(part));
  const WireLimits& limits = server.limits;
  write_out(document, {{"$version", server.version},
                       {"$max_n", limits.max_n},
                       {"$max_logprobs", limits.max_logprobs},
                       {"$max_prompts", limits.max_prompts},
                       {"$max_messages", limits.max_messages},
                       {"$max_stop_strings", limits.max_stop_strings}});
  for (auto& [path, item] : document["paths"].items()) {
    for (auto& [method, operation] : item.items()) {
      std::string verb = method;
      for (char& c : verb) c = static_cast<char>(c - 'a' + 'A');
      write_out_operation(operation, path, server.needs_key(verb, path));
    }
  }
  return document.dump();
}

}  // namespace sluice
