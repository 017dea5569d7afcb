// An object's members by name, each read with its type and its bounds; the first fault names the field and is
// kept. A null counts as absent, as OpenAI's clients mean it. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/wire/json_text.h"

namespace sluice {

// A bound that the server's owner may move, and the flag that moves it: told to who passes it.
struct MovableBound {
  int64_t highest;
  std::string_view flag;
};

class RequestFields {
 public:
  // `path` goes before the names in messages ("messages[2]."). kInvalidArgument when `object` is not an
  // object.
  static Result<RequestFields> of(JsonText object, std::string path, size_t max_members = 256);

  std::optional<bool> boolean(std::string_view name);
  std::optional<int64_t> integer(std::string_view name, int64_t lowest, int64_t highest);
  std::optional<int64_t> integer(std::string_view name, int64_t lowest, MovableBound bound);
  std::optional<double> number(std::string_view name, double lowest, double highest);
  std::optional<std::string> string(std::string_view name, size_t max_bytes);
  std::optional<JsonText> object(std::string_view name);
  std::optional<JsonText> array(std::string_view name);
  std::optional<JsonText> any(std::string_view name);  // absent and null alike: none

  // Keeps the first fault. `name` may be empty: the fault is the object's own.
  void fail(std::string_view name, std::string message);
  bool ok() const { return !fault_; }
  const Error& error() const { return *fault_; }
  Status status() const { return fault_ ? Status(*fault_) : Status(); }

  const std::vector<JsonText::Member>& members() const { return members_; }
  // Names that nobody asked for so far: ignored, as OpenAI's servers do, but worth a debug line.
  std::vector<std::string> unread() const;
  std::string full_name(std::string_view name) const { return path_ + std::string(name); }

 private:
  RequestFields(std::vector<JsonText::Member> members, std::string path)
      : members_(std::move(members)), read_(members_.size()), path_(std::move(path)) {}
  std::optional<JsonText> typed(std::string_view name, JsonText::Kind kind);

  std::vector<JsonText::Member> members_;
  std::vector<bool> read_;  // of each member: somebody asked for it
  std::string path_;
  std::optional<Error> fault_;
};

}  // namespace sluice
