#include "deploy/up/router_view.h"

#include <charconv>

#include "server/wire/json_text.h"

namespace sluice::up {
namespace {

constexpr int kDepth = 16;
constexpr size_t kMembers = 256;
constexpr std::string_view kName = "replica-";

Error nonsense() {
  return Error{ErrorCode::kCorrupt, "The router's word on its load is not what it should be."};
}

// Visits the objects of the array that is the member `list` of the object `text`.
Status each_of(std::string_view text, std::string_view list,
               const std::function<void(const std::vector<JsonText::Member>&)>& visit) {
  const auto whole = JsonText::check(text, kDepth);
  if (!whole.ok() || whole->kind() != JsonText::Kind::kObject) return nonsense();
  const auto members = whole->members(kMembers);
  if (!members.ok()) return nonsense();
  for (const auto& [name, value] : *members) {
    if (name != list || value.kind() != JsonText::Kind::kArray) continue;
    bool well = true;
    value.for_each([&](JsonText element) {
      if (element.kind() != JsonText::Kind::kObject) return well = false;
      const auto fields = element.members(kMembers);
      if (!fields.ok()) return well = false;
      visit(*fields);
      return true;
    });
    return well ? Status() : Status(nonsense());
  }
  return nonsense();
}

double number_in(const std::vector<JsonText::Member>& fields, std::string_view name) {
  for (const auto& field : fields) {
    if (field.name == name && field.value.kind() == JsonText::Kind::kNumber) return field.value.number();
  }
  return 0;
}

std::string string_in(const std::vector<JsonText::Member>& fields, std::string_view name) {
  for (const auto& field : fields) {
    if (field.name == name && field.value.kind() == JsonText::Kind::kString) return field.value.string();
  }
  return {};
}

}  // namespace

Result<RouterView> read_router_view(std::string_view models, std::string_view replicas) {
  RouterView view;
  double most = 0;
  SLUICE_TRY(each_of(models, "models", [&](const auto& fields) {
    const double demand = number_in(fields, "demand_replicas");
    view.demand += demand;
    view.in_flight += number_in(fields, "inflight_requests");
    view.queued += number_in(fields, "queue_depth");
    if (demand <= most) return;
    most = demand;
    view.reason = string_in(fields, "reason");
  }));
  SLUICE_TRY(each_of(replicas, "replicas", [&](const auto& fields) {
    const int number = number_of(string_in(fields, "name"));
    if (number == 0) return;
    const std::string state = string_in(fields, "state");
    view.replicas.push_back({{.number = number,
                              .is_ready = state == "ready",
                              .is_unhealthy = state == "unhealthy",
                              .in_flight = number_in(fields, "in_flight")},
                             string_in(fields, "url")});
  }));
  return view;
}

std::string name_of(int number) {
  return std::string(kName) + std::to_string(number);
}

int number_of(std::string_view name) {
  if (!name.starts_with(kName)) return 0;
  name.remove_prefix(kName.size());
  int number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() && number > 0 ? number : 0;
}

}  // namespace sluice::up
