#include "server/wire/request_fields.h"

#include <fmt/format.h>

namespace sluice {

Result<RequestFields> RequestFields::of(JsonText object, std::string path, size_t max_members) {
  std::string own_name = path;
  if (!own_name.empty() && own_name.back() == '.') own_name.pop_back();
  if (object.kind() != JsonText::Kind::kObject) {
    return invalid_argument(
        own_name, fmt::format("'{}' must be an object, not {}.", own_name.empty() ? "the body" : own_name,
                              describe(object.kind())));
  }
  auto members = object.members(max_members);
  if (!members.ok()) {
    Error error = std::move(members).error();
    error.param = own_name;
    return error;
  }
  return RequestFields(std::move(members).value(), std::move(path));
}

void RequestFields::fail(std::string_view name, std::string message) {
  if (!fault_) fault_ = invalid_argument(full_name(name), std::move(message));
}

std::optional<JsonText> RequestFields::any(std::string_view name) {
  for (size_t i = members_.size(); i-- > 0;) {
    if (members_[i].name != name) continue;
    read_[i] = true;
    if (members_[i].value.kind() == JsonText::Kind::kNull) return std::nullopt;
    return members_[i].value;
  }
  return std::nullopt;
}

std::vector<std::string> RequestFields::unread() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (!read_[i]) names.push_back(members_[i].name);
  }
  return names;
}

std::optional<JsonText> RequestFields::typed(std::string_view name, JsonText::Kind kind) {
  const std::optional<JsonText> value = any(name);
  if (value && value->kind() != kind) {
    fail(name,
         fmt::format("'{}' must be {}, not {}.", full_name(name), describe(kind), describe(value->kind())));
    return std::nullopt;
  }
  return value;
}

std::optional<bool> RequestFields::boolean(std::string_view name) {
  const auto value = typed(name, JsonText::Kind::kBoolean);
  if (!value) return std::nullopt;
  return value->boolean();
}

std::optional<int64_t> RequestFields::integer(std::string_view name, int64_t lowest, int64_t highest) {
  const auto value = typed(name, JsonText::Kind::kNumber);
  if (!value) return std::nullopt;
  const std::optional<int64_t> whole = value->integer();
  if (!whole || *whole < lowest || *whole > highest) {
    fail(name, fmt::format("'{}' must be an integer from {} to {}.", full_name(name), lowest, highest));
    return std::nullopt;
  }
  return whole;
}

std::optional<int64_t> RequestFields::integer(std::string_view name, int64_t lowest, MovableBound bound) {
  const auto value = typed(name, JsonText::Kind::kNumber);
  if (!value) return std::nullopt;
  const std::optional<int64_t> whole = value->integer();
  if (!whole || *whole < lowest || *whole > bound.highest) {
    fail(name, fmt::format("'{}' must be an integer from {} to {} ({}).", full_name(name), lowest,
                           bound.highest, bound.flag));
    return std::nullopt;
  }
  return whole;
}

std::optional<double> RequestFields::number(std::string_view name, double lowest, double highest) {
  const auto value = typed(name, JsonText::Kind::kNumber);
  if (!value) return std::nullopt;
  const double number = value->number();
  if (!(number >= lowest && number <= highest)) {
    fail(name, fmt::format("'{}' must be a number from {} to {}.", full_name(name), lowest, highest));
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> RequestFields::string(std::string_view name, size_t max_bytes) {
  const auto value = typed(name, JsonText::Kind::kString);
  if (!value) return std::nullopt;
  std::string text = value->string();
  if (text.size() > max_bytes) {
    fail(name,
         fmt::format("'{}' has {} bytes; at most {} are accepted.", full_name(name), text.size(), max_bytes));
    return std::nullopt;
  }
  return text;
}

std::optional<JsonText> RequestFields::object(std::string_view name) {
  return typed(name, JsonText::Kind::kObject);
}
std::optional<JsonText> RequestFields::array(std::string_view name) {
  return typed(name, JsonText::Kind::kArray);
}

}  // namespace sluice
