#include "server/wire/closed_schema.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;  // the order of properties is the order in which they are written

// Keywords whose values are schemas, lists of schemas, and schemas by name (JSON Schema 2020-12, chapter 10).
constexpr std::array kSchemas = {"items", "additionalProperties", "additionalItems", "contains"};
constexpr std::array kLists = {"anyOf", "oneOf", "allOf", "prefixItems", "items"};
constexpr std::array kByName = {"properties", "patternProperties", "$defs", "definitions"};
// Beside "properties" these say something of other members.
constexpr std::array kOfOthers = {"additionalProperties", "patternProperties", "propertyNames"};
// Beside "properties" these may describe the same object as well.
constexpr std::array kBeside = {"anyOf", "oneOf", "allOf", "$ref"};
constexpr std::array kJoining = {"if", "not", "dependentSchemas", "unevaluatedProperties", "$dynamicRef"};

template <class Visit>
void for_each_schema(Json& schema, const Visit& visit) {
  for (const char* name : kSchemas) {
    if (const auto it = schema.find(name); it != schema.end() && it->is_object()) visit(*it);
  }
  for (const char* name : kLists) {
    const auto it = schema.find(name);
    if (it == schema.end() || !it->is_array()) continue;
    for (Json& element : *it) {
      if (element.is_object()) visit(element);
    }
  }
  for (const char* name : kByName) {
    const auto it = schema.find(name);
    if (it == schema.end() || !it->is_object()) continue;
    for (auto& [key, element] : it->items()) {
      if (element.is_object()) visit(element);
    }
  }
}

bool joins_schemas(Json& schema) {
  const auto has = [&](const char* name) { return schema.contains(name); };
  if (std::ranges::any_of(kJoining, has)) return true;
  if (has("properties") && std::ranges::any_of(kBeside, has)) return true;
  if (const auto all = schema.find("allOf"); all != schema.end() && all->is_array() && all->size() > 1)
    return true;
  bool found = false;
  for_each_schema(schema, [&](Json& inner) { found = found || joins_schemas(inner); });
  return found;
}

void close_objects(Json& schema) {
  const auto has = [&](const char* name) { return schema.contains(name); };
  const auto properties = schema.find("properties");
  if (properties != schema.end() && properties->is_object() && std::ranges::none_of(kOfOthers, has))
    schema["additionalProperties"] = false;
  for_each_schema(schema, close_objects);
}

}  // namespace

std::string with_closed_objects(std::string_view schema) {
  Json json = Json::parse(schema, nullptr, false);
  if (!json.is_object() || joins_schemas(json)) return std::string(schema);
  close_objects(json);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice
