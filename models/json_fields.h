// JSON from outside, for the readers of model folders and of the hub's answers: bounded parsing, and typed
// access that answers a wrong type with a sentence naming file and field. Values only; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice {

struct JsonLimits {
  int max_depth = 64;
  bool refuse_duplicates = false;  // of the outermost object's keys
};

// kCorrupt when `text` is not JSON, or nests deeper than the limit. `file` names it in messages.
Result<nlohmann::json> parse_json(std::string_view text, const std::string& file, JsonLimits limits = {});
// The same, and an object.
Result<nlohmann::json> parse_json_object(std::string_view text, const std::string& file,
                                         JsonLimits limits = {});

// Fields of one JSON object; both must outlive this. An absent field and null are the same: nullopt.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string file) : object_(object), file_(std::move(file)) {}

  const std::string& file() const { return file_; }
  // Null when absent, or null.
  const nlohmann::json* find(std::string_view key) const;
  Result<std::optional<int64_t>> integer(std::string_view key) const;
  Result<std::optional<double>> number(std::string_view key) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string>> text(std::string_view key) const;

  Error wrong_kind(std::string_view key, const char* wanted) const;

 private:
  const nlohmann::json& object_;
  std::string file_;
};

}  // namespace sluice
