#include "router/io/endpoint_slice.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "router/io/json_walk.h"

namespace sluice::router {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxMembers = 512;
constexpr size_t kMaxName = 253;     // RFC 1123, of objects and hosts
constexpr size_t kMaxVersion = 128;  // opaque to clients
constexpr size_t kMaxPorts = 100;    // the API's own bound
constexpr size_t kMaxItems = 4096;
constexpr size_t kMaxContinue = 8192;
constexpr size_t kMaxMessage = 1024;

Error wrong(const std::string& what) {
  return Error{ErrorCode::kIo, what + "."};
}

// The members of `object` that are asked for; those that are not there stay null.
template <size_t N>
Status pick(JsonText object, const std::array<std::string_view, N>& names,
            std::array<std::optional<JsonText>, N>& values) {
  if (object.kind() != JsonText::Kind::kObject) return wrong("there is no object where one belongs");
  SLUICE_ASSIGN(const auto members, object.members(kMaxMembers));
  for (const auto& [name, value] : members) {
    const auto at = std::ranges::find(names, name);
    if (at == names.end() || value.kind() == JsonText::Kind::kNull) continue;
    values[static_cast<size_t>(at - names.begin())] = value;
  }
  return {};
}

std::string text_of(const std::optional<JsonText>& value, size_t limit) {
  if (!value || value->kind() != JsonText::Kind::kString || value->text().size() > 6 * limit + 2) return {};
  std::string text = value->string();
  return text.size() <= limit ? text : std::string();
}

bool truth_of(const std::optional<JsonText>& value, bool otherwise) {
  return value && value->kind() == JsonText::Kind::kBoolean ? value->boolean() : otherwise;
}

bool is_host_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' && name.front() != '-' &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '.';
         });
}

// As it stands in a URL; empty when it is none.
std::string host_of(const std::string& address, AddressFamily family) {
  unsigned char bytes[16];
  switch (family) {
    case AddressFamily::kIpv4:
      return inet_pton(AF_INET, address.c_str(), bytes) == 1 ? address : "";
    case AddressFamily::kIpv6: {
      char text[INET6_ADDRSTRLEN];
      if (inet_pton(AF_INET6, address.c_str(), bytes) != 1) return "";
      return std::string("[") + inet_ntop(AF_INET6, bytes, text, sizeof text) + "]";
    }
    case AddressFamily::kName:
      return is_host_name(address) ? address : "";
  }
  return "";
}

Result<SliceEndpoint> read_endpoint(JsonText object, AddressFamily family) {
  std::array<std::optional<JsonText>, 3> fields;
  SLUICE_TRY(pick(object, std::array<std::string_view, 3>{"addresses", "conditions", "targetRef"}, fields));
  const auto& [addresses, conditions, target] = fields;
  SliceEndpoint endpoint;
  if (!addresses || addresses->kind() != JsonText::Kind::kArray) return wrong("an endpoint has no addresses");
  // They are fungible, and whoever wants one takes the first.
  addresses->for_each([&](JsonText address) {
    endpoint.host = host_of(text_of(address, kMaxName), family);
    return false;
  });
  if (endpoint.host.empty()) return wrong("an endpoint's address is none of its slice's addressType");
  if (conditions) {
    std::array<std::optional<JsonText>, 2> told;
    SLUICE_TRY(pick(*conditions, std::array<std::string_view, 2>{"ready", "terminating"}, told));
    endpoint.ready = truth_of(told[0], true);
    endpoint.terminating = truth_of(told[1], false);
  }
  if (target) {
    std::array<std::optional<JsonText>, 3> told;
    SLUICE_TRY(pick(*target, std::array<std::string_view, 3>{"kind", "namespace", "name"}, told));
    if (text_of(told[0], kMaxName) == "Pod") {
      endpoint.pod = {text_of(told[1], kMaxName), text_of(told[2], kMaxName)};
      if (!is_host_name(endpoint.pod.name)) endpoint.pod = {};
    }
  }
  return endpoint;
}

Result<SlicePort> read_port(JsonText object) {
  std::array<std::optional<JsonText>, 3> fields;
  SLUICE_TRY(pick(object, std::array<std::string_view, 3>{"name", "port", "appProtocol"}, fields));
  SlicePort port;
  port.name = text_of(fields[0], kMaxName);
  if (fields[1] && fields[1]->kind() == JsonText::Kind::kNumber) {
    const auto number = fields[1]->integer();
    if (!number || *number < 1 || *number > 65535) return wrong("a port is not a number from 1 to 65535");
    port.number = static_cast<uint16_t>(*number);
  }
  const std::string protocol = text_of(fields[2], kMaxName);
  port.is_https = protocol == "https" || port.name == "https" || port.name.starts_with("https-");
  return port;
}

// What every object has, and a bookmark nothing else.
Status read_metadata(const std::optional<JsonText>& metadata, EndpointSlice& slice) {
  if (!metadata) return wrong("an object has no metadata");
  std::array<std::optional<JsonText>, 2> told;
  SLUICE_TRY(pick(*metadata, std::array<std::string_view, 2>{"name", "resourceVersion"}, told));
  slice.name = text_of(told[0], kMaxName);
  slice.version = text_of(told[1], kMaxVersion);
  return {};
}

WatchEvent::Status read_status(JsonText object) {
  WatchEvent::Status status;
  std::array<std::optional<JsonText>, 3> fields;
  if (!pick(object, std::array<std::string_view, 3>{"code", "message", "details"}, fields).ok()) return {};
  if (fields[0] && fields[0]->kind() == JsonText::Kind::kNumber) {
    status.code = static_cast<int>(std::clamp<int64_t>(fields[0]->integer().value_or(0), 0, 999));
  }
  status.message = log::safe(text_of(fields[1], kMaxMessage), kMaxMessage);
  if (fields[2]) {
    std::array<std::optional<JsonText>, 1> details;
    if (pick(*fields[2], std::array<std::string_view, 1>{"retryAfterSeconds"}, details).ok() && details[0] &&
        details[0]->kind() == JsonText::Kind::kNumber) {
      status.retry_after_s = static_cast<int>(std::clamp<int64_t>(details[0]->integer().value_or(0), 0, 600));
    }
  }
  return status;
}

}  // namespace

Result<EndpointSlice> parse_endpoint_slice(JsonText object) {
  std::array<std::optional<JsonText>, 5> fields;
  SLUICE_TRY(pick(object,
                  std::array<std::string_view, 5>{"kind", "metadata", "addressType", "endpoints", "ports"},
                  fields));
  const auto& [kind, metadata, type, endpoints, ports] = fields;
  // Items of a list need not repeat their kind.
  if (kind && text_of(kind, kMaxName) != "EndpointSlice") return wrong("an object is no EndpointSlice");
  EndpointSlice slice;
  SLUICE_TRY(read_metadata(metadata, slice));
  if (slice.name.empty()) return wrong("an EndpointSlice has no name");
  const std::string family = text_of(type, kMaxName);
  if (family == "IPv4")
    slice.family = AddressFamily::kIpv4;
  else if (family == "IPv6")
    slice.family = AddressFamily::kIpv6;
  else if (family == "FQDN")
    slice.family = AddressFamily::kName;
  else
    return wrong("the addressType of an EndpointSlice is none of IPv4, IPv6 and FQDN");
  Status fault;
  const auto read_all = [&](const std::optional<JsonText>& list, size_t limit, const char* what, auto read) {
    if (!list) return;
    if (list->kind() != JsonText::Kind::kArray || list->element_count(limit + 1) > limit) {
      fault = wrong(std::string("an EndpointSlice's ") + what + " are not a list of at most " +
                    std::to_string(limit));
      return;
    }
    list->for_each([&](JsonText element) {
      fault = read(element);
      return fault.ok();
    });
  };
  read_all(ports, kMaxPorts, "ports", [&](JsonText element) -> Status {
    SLUICE_ASSIGN(SlicePort port, read_port(element));
    if (port.number != 0) slice.ports.push_back(std::move(port));
    return {};
  });
  if (!fault.ok()) return std::move(fault).error();
  read_all(endpoints, kMaxEndpointsOfSlice, "endpoints", [&](JsonText element) -> Status {
    SLUICE_ASSIGN(SliceEndpoint endpoint, read_endpoint(element, slice.family));
    slice.endpoints.push_back(std::move(endpoint));
    return {};
  });
  if (!fault.ok()) return std::move(fault).error();
  return slice;
}

Result<EndpointSlice> parse_endpoint_slice(std::string_view text) {
  SLUICE_ASSIGN(const JsonText object, JsonText::check(text, kMaxDepth));
  return parse_endpoint_slice(object);
}

Result<WatchEvent> parse_watch_event(std::string_view line) {
  SLUICE_ASSIGN(const JsonText whole, JsonText::check(line, kMaxDepth));
  std::array<std::optional<JsonText>, 2> fields;
  SLUICE_TRY(pick(whole, std::array<std::string_view, 2>{"type", "object"}, fields));
  if (!fields[1]) return wrong("an event has no object");
  const std::string type = text_of(fields[0], kMaxName);
  WatchEvent event;
  if (type == "ERROR") {
    event.kind = WatchEvent::Kind::kError;
    event.status = read_status(*fields[1]);
    return event;
  }
  if (type == "BOOKMARK") {
    std::array<std::optional<JsonText>, 1> metadata;
    SLUICE_TRY(pick(*fields[1], std::array<std::string_view, 1>{"metadata"}, metadata));
    SLUICE_TRY(read_metadata(metadata[0], event.slice));
    if (event.slice.version.empty()) return wrong("a bookmark has no resourceVersion");
    return event;
  }
  if (type == "ADDED" || type == "MODIFIED") {
    event.kind = WatchEvent::Kind::kStored;
  } else if (type == "DELETED") {
    event.kind = WatchEvent::Kind::kDeleted;
  } else {
    return wrong("an event's type is '" + log::safe(type) + "', which is not known");
  }
  SLUICE_ASSIGN(event.slice, parse_endpoint_slice(*fields[1]));
  if (event.slice.version.empty()) return wrong("an EndpointSlice has no resourceVersion");
  return event;
}

WatchEvent::Status parse_status(std::string_view body) {
  const auto whole = JsonText::check(body, kMaxDepth);
  return whole.ok() && whole->kind() == JsonText::Kind::kObject ? read_status(*whole) : WatchEvent::Status();
}

Result<SlicePage> parse_slice_page(std::string_view text) {
  SlicePage page;
  bool is_list = false;
  JsonWalk walk(text);
  if (!walk.enter_object()) return wrong("the list is no object");
  std::string_view name, value;
  while (walk.member(name, value)) {
    if (name == "metadata") {
      SLUICE_ASSIGN(const JsonText metadata, JsonText::check(value, kMaxDepth));
      std::array<std::optional<JsonText>, 2> told;
      SLUICE_TRY(pick(metadata, std::array<std::string_view, 2>{"resourceVersion", "continue"}, told));
      page.version = text_of(told[0], kMaxVersion);
      page.next = text_of(told[1], kMaxContinue);
    } else if (name == "items" && value != "null") {
      JsonWalk items(value);
      if (!items.enter_array()) return wrong("the list's items are no list");
      std::string_view item;
      while (items.element(item)) {
        if (page.items.size() == kMaxItems) return wrong("the list has too many items");
        page.items.push_back(item);
      }
      if (items.failed()) return wrong("the list's items are not JSON");
    } else if (name == "kind") {
      is_list = decode_json_string(value, kMaxName) == "EndpointSliceList";
    }
  }
  if (walk.failed() || !walk.at_end()) return wrong("the list is not JSON");
  if (!is_list) return wrong("the answer is no EndpointSliceList");
  if (page.version.empty()) return wrong("the list has no resourceVersion");
  return page;
}

}  // namespace sluice::router
