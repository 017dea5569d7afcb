#include "models/json_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"

namespace sluice {
namespace {

using nlohmann::json;

Error corrupt(const std::string& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file + "' " + what};
}

// Before parsing, so that no parser builds what is refused anyway.
bool nests_deeper_than(std::string_view text, int limit) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limit) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

Result<json> parse_json(std::string_view text, const std::string& file, JsonLimits limits) {
  if (nests_deeper_than(text, limits.max_depth)) {
    return corrupt(file, "nests its JSON deeper than " + std::to_string(limits.max_depth) + " levels.");
  }
  std::set<std::string> keys;
  std::string twice;
  const auto note_key = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1 &&
        !keys.insert(parsed.get_ref<const std::string&>()).second) {
      twice = parsed.get_ref<const std::string&>();
    }
    return true;
  };
  json value = limits.refuse_duplicates ? json::parse(text, note_key, /*allow_exceptions=*/false)
                                        : json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return corrupt(file, "is not valid JSON.");
  if (!twice.empty()) return corrupt(file, "has the key '" + log::safe(twice) + "' twice.");
  return value;
}

Result<json> parse_json_object(std::string_view text, const std::string& file, JsonLimits limits) {
  SLUICE_ASSIGN(auto value, parse_json(text, file, limits));
  if (!value.is_object()) return corrupt(file, "is not a JSON object.");
  return value;
}

const json* JsonFields::find(std::string_view key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

Result<std::optional<int64_t>> JsonFields::integer(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<int64_t>();
  if (value->is_number_unsigned()) {
    const auto number = value->get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return wrong_kind(key, "an integer of 64 bits");
    return std::optional<int64_t>(static_cast<int64_t>(number));
  }
  if (!value->is_number_integer()) return wrong_kind(key, "an integer");
  return std::optional<int64_t>(value->get<int64_t>());
}

Result<std::optional<double>> JsonFields::number(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return wrong_kind(key, "a number");
  const auto number = value->get<double>();
  if (!std::isfinite(number)) return wrong_kind(key, "a finite number");
  return std::optional<double>(number);
}

Result<std::optional<bool>> JsonFields::boolean(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_boolean()) return wrong_kind(key, "true or false");
  return std::optional<bool>(value->get<bool>());
}

Result<std::optional<std::string>> JsonFields::text(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return wrong_kind(key, "a text");
  return std::optional<std::string>(value->get_ref<const std::string&>());
}

Error JsonFields::wrong_kind(std::string_view key, const char* wanted) const {
  return corrupt(file_, "has a field '" + std::string(key) + "' that is not " + wanted + ".");
}

}  // namespace sluice
