#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/serve/flag_tables.h"

namespace sluice::bench {
namespace {

constexpr size_t kMaxParts = 1000;

using Json = nlohmann::json;

// Takes what it knows out of an object into fields; the first fault counts.
class FieldReader {
 public:
  FieldReader(const Json& object, std::string place, std::string file)
      : object_(object), place_(std::move(place)), file_(std::move(file)) {}

  void operator()(const char* name, std::string& field, const char*) {
    const Json* value = find(name);
    if (value == nullptr) return;
    // A rate may be written as a number, a body as an object.
    if (value->is_string()) {
      field = value->get<std::string>();
    } else if (value->is_number() || value->is_object()) {
      field = value->dump();
    } else {
      fail(name, "a text");
    }
  }
  void operator()(const char* name, int64_t& field, const char*) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number_integer()) return fail(name, "a whole number");
    field = value->get<int64_t>();
  }
  void operator()(const char* name, double& field, const char*) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number()) return fail(name, "a number");
    field = value->get<double>();
  }
  void operator()(const char* name, bool& field, const char*) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return fail(name, "true or false");
    field = value->get<bool>();
  }
  void allow(const char* name) { known_.insert(name); }

  Status finish() const {
    if (!fault_.empty()) return invalid_argument("workload", fault_);
    for (const auto& [name, value] : object_.items()) {
      if (!known_.contains(name))
        return invalid_argument(
            "workload", file_ + ": " + place_ + "'" + name.substr(0, 60) + "' is no field of a workload.");
    }
    return {};
  }

 private:
  const Json* find(const char* name) {
    known_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }
  void fail(const char* name, const char* wanted) {
    if (fault_.empty()) fault_ = file_ + ": " + place_ + name + " must be " + wanted + ".";
  }

  const Json& object_;
  const std::string place_, file_;
  std::set<std::string, std::less<>> known_;
  std::string fault_;
};

}  // namespace

Status apply_workload_file(std::string_view text, const std::string& file, Flags& flags) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    const auto at = text.begin() + static_cast<long>(std::min(error.byte, text.size()));
    return invalid_argument(
        "workload",
        file + " line " + std::to_string(1 + std::count(text.begin(), at, '\n')) + ": it is no JSON.");
  }
  if (!json.is_object()) return invalid_argument("workload", file + ": it must be a JSON object.");
  FieldReader top(json, "", file);
  top.allow("parts");
  top("name", flags.name, "");
  for_load_fields(flags.load, std::ref(top));
  for_part_fields(flags.part, std::ref(top));
  SLUICE_TRY(top.finish());
  const auto parts = json.find("parts");
  if (parts == json.end()) return {};
  if (!parts->is_array() || parts->empty() || parts->size() > kMaxParts)
    return invalid_argument("workload", file + ": parts must be an array of 1 to 1000 objects.");
  for (size_t i = 0; i < parts->size(); ++i) {
    const std::string place = "parts[" + std::to_string(i) + "].";
    if (!(*parts)[i].is_object())
      return invalid_argument("workload",
                              file + ": " + place.substr(0, place.size() - 1) + " must be an object.");
    PartSpec part = flags.part;
    FieldReader reader((*parts)[i], place, file);
    reader("share", part.share, "");
    for_part_fields(part, std::ref(reader));
    SLUICE_TRY(reader.finish());
    flags.parts.push_back(std::move(part));
  }
  return {};
}

}  // namespace sluice::bench
