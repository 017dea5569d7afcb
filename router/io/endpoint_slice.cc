#include "router/io/endpoint_slice.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/log.h"
#include "server/wire/json_walk.h"

namespace sluice::router {
namespace {

constexpr size_t kMaxName = 253;     // RFC 1123, of objects and hosts
constexpr size_t kMaxVersion = 128;  // opaque to clients
constexpr size_t kMaxPorts = 100;    // the API's own bound
constexpr size_t kMaxItems = 4096;
constexpr size_t kMaxContinue = 8192;
constexpr size_t kMaxMessage = 1024;

Error wrong(const std::string& what) {
  return Error{ErrorCode::kIo, what + "."};
}

// The members of `object` that are asked for, as they lie; those that are not there, or null, stay empty.
template <size_t N>
Status pick(std::string_view object, const std::array<std::string_view, N>& names,
            std::array<std::string_view, N>& values) {
  JsonWalk walk(object);
  if (!walk.enter_object()) return wrong("there is no object where one belongs");
  std::string_view name, value;
  while (walk.member(name, value)) {
    const auto at = std::ranges::find(names, name);
    if (at != names.end() && value != "null") values[static_cast<size_t>(at - names.begin())] = value;
  }
  if (walk.failed() || !walk.at_end()) return wrong("it is not JSON");
  return {};
}

// What is longer than `limit` is of no use, as what is no string.
std::string text_of(std::string_view value, size_t limit) {
  std::string text = decode_json_string(value, limit + 1);
  return text.size() <= limit ? text : std::string();
}

bool truth_of(std::string_view value, bool otherwise) {
  return value == "true" ? true : value == "false" ? false : otherwise;
}

// None when it is no whole number.
std::optional<int64_t> integer_of(std::string_view value) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool whole = !value.empty() && error == std::errc() && end == value.data() + value.size();
  return whole ? std::optional(number) : std::nullopt;
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

Result<SliceEndpoint> read_endpoint(std::string_view object, AddressFamily family) {
  std::array<std::string_view, 3> fields;
  SLUICE_TRY(pick(object, {"addresses", "conditions", "targetRef"}, fields));
  const auto& [addresses, conditions, target] = fields;
  SliceEndpoint endpoint;
  // They are fungible, and whoever wants one takes the first.
  JsonWalk walk(addresses);
  std::string_view address;
  if (!walk.enter_array() || !walk.element(address)) return wrong("an endpoint has no addresses");
  endpoint.host = host_of(text_of(address, kMaxName), family);
  if (endpoint.host.empty()) return wrong("an endpoint's address is none of its slice's addressType");
  if (!conditions.empty()) {
    std::array<std::string_view, 2> told;
    SLUICE_TRY(pick(conditions, {"ready", "terminating"}, told));
    endpoint.ready = truth_of(told[0], true);
    endpoint.terminating = truth_of(told[1], false);
  }
  if (!target.empty()) {
    std::array<std::string_view, 3> told;
    SLUICE_TRY(pick(target, {"kind", "namespace", "name"}, told));
    if (told[0] == R"("Pod")") {
      endpoint.pod = {text_of(told[1], kMaxName), text_of(told[2], kMaxName)};
      if (!is_host_name(endpoint.pod.name) || !is_host_name(endpoint.pod.space)) endpoint.pod = {};
    }
  }
  return endpoint;
}

Result<SlicePort> read_port(std::string_view object) {
  std::array<std::string_view, 3> fields;
  SLUICE_TRY(pick(object, {"name", "port", "appProtocol"}, fields));
  SlicePort port;
  port.name = text_of(fields[0], kMaxName);
  if (!port.name.empty() && !is_host_name(port.name)) return wrong("a port's name is none");
  if (!fields[1].empty()) {
    const auto number = integer_of(fields[1]);
    if (!number || *number < 1 || *number > 65535) return wrong("a port is not a number from 1 to 65535");
    port.number = static_cast<uint16_t>(*number);
  }
  port.is_https = fields[2] == R"("https")" || port.name == "https" || port.name.starts_with("https-");
  return port;
}

// What every object has, and a bookmark nothing else.
Status read_metadata(std::string_view metadata, EndpointSlice& slice) {
  if (metadata.empty()) return wrong("an object has no metadata");
  std::array<std::string_view, 2> told;
  SLUICE_TRY(pick(metadata, {"name", "resourceVersion"}, told));
  slice.name = text_of(told[0], kMaxName);
  slice.version = text_of(told[1], kMaxVersion);
  return {};
}

WatchEvent::Status read_status(std::string_view object) {
  WatchEvent::Status status;
  std::array<std::string_view, 3> fields;
  if (!pick(object, {"code", "message", "details"}, fields).ok()) return {};
  status.code = static_cast<int>(std::clamp<int64_t>(integer_of(fields[0]).value_or(0), 0, 999));
  status.message = log::safe(text_of(fields[1], kMaxMessage), kMaxMessage);
  std::array<std::string_view, 1> details;
  if (!fields[2].empty() && pick(fields[2], {"retryAfterSeconds"}, details).ok()) {
    status.retry_after_s = static_cast<int>(std::clamp<int64_t>(integer_of(details[0]).value_or(0), 0, 600));
  }
  return status;
}

// Each element of a list that need not be there.
template <class Read>
Status read_all(std::string_view list, size_t limit, const char* what, Read read) {
  if (list.empty()) return {};
  JsonWalk walk(list);
  bool is_list = walk.enter_array();
  std::string_view element;
  for (size_t count = 0; is_list && walk.element(element); ++count) {
    is_list = count < limit;
    if (is_list) SLUICE_TRY(read(element));
  }
  if (is_list && !walk.failed()) return {};
  return wrong(std::string("an EndpointSlice's ") + what + " are not a list of at most " +
               std::to_string(limit));
}

}  // namespace

Result<EndpointSlice> parse_endpoint_slice(std::string_view text) {
  std::array<std::string_view, 5> fields;
  SLUICE_TRY(pick(text, {"kind", "metadata", "addressType", "endpoints", "ports"}, fields));
  const auto& [kind, metadata, type, endpoints, ports] = fields;
  // Items of a list need not repeat their kind.
  if (!kind.empty() && kind != R"("EndpointSlice")") return wrong("an object is no EndpointSlice");
  EndpointSlice slice;
  SLUICE_TRY(read_metadata(metadata, slice));
  if (!is_host_name(slice.name)) return wrong("an EndpointSlice has no name");
  if (type == R"("IPv4")")
    slice.family = AddressFamily::kIpv4;
  else if (type == R"("IPv6")")
    slice.family = AddressFamily::kIpv6;
  else if (type == R"("FQDN")")
    slice.family = AddressFamily::kName;
  else
    return wrong("the addressType of an EndpointSlice is none of IPv4, IPv6 and FQDN");
  SLUICE_TRY(read_all(ports, kMaxPorts, "ports", [&](std::string_view element) -> Status {
    SLUICE_ASSIGN(SlicePort port, read_port(element));
    if (port.number != 0) slice.ports.push_back(std::move(port));
    return {};
  }));
  SLUICE_TRY(read_all(endpoints, kMaxEndpointsOfSlice, "endpoints", [&](std::string_view element) -> Status {
    SLUICE_ASSIGN(SliceEndpoint endpoint, read_endpoint(element, slice.family));
    slice.endpoints.push_back(std::move(endpoint));
    return {};
  }));
  return slice;
}

Result<WatchEvent> parse_watch_event(std::string_view line) {
  std::array<std::string_view, 2> fields;
  SLUICE_TRY(pick(line, {"type", "object"}, fields));
  const auto& [type, object] = fields;
  if (object.empty()) return wrong("an event has no object");
  WatchEvent event;
  if (type == R"("ERROR")") {
    event.kind = WatchEvent::Kind::kError;
    event.status = read_status(object);
    return event;
  }
  if (type == R"("BOOKMARK")") {
    std::array<std::string_view, 1> metadata;
    SLUICE_TRY(pick(object, {"metadata"}, metadata));
    SLUICE_TRY(read_metadata(metadata[0], event.slice));
    if (event.slice.version.empty()) return wrong("a bookmark has no resourceVersion");
    return event;
  }
  if (type == R"("ADDED")" || type == R"("MODIFIED")") {
    event.kind = WatchEvent::Kind::kStored;
  } else if (type == R"("DELETED")") {
    event.kind = WatchEvent::Kind::kDeleted;
  } else {
    return wrong("an event's type is " + log::safe(type) + ", which is not known");
  }
  SLUICE_ASSIGN(event.slice, parse_endpoint_slice(object));
  if (event.slice.version.empty()) return wrong("an EndpointSlice has no resourceVersion");
  return event;
}

WatchEvent::Status parse_status(std::string_view body) {
  return read_status(body);
}

Result<SlicePage> parse_slice_page(std::string_view text) {
  std::array<std::string_view, 3> fields;
  SLUICE_TRY(pick(text, {"kind", "metadata", "items"}, fields));
  const auto& [kind, metadata, items] = fields;
  if (kind != R"("EndpointSliceList")") return wrong("the answer is no EndpointSliceList");
  if (metadata.empty()) return wrong("the list has no metadata");
  std::array<std::string_view, 2> told;
  SLUICE_TRY(pick(metadata, {"resourceVersion", "continue"}, told));
  SlicePage page{.version = text_of(told[0], kMaxVersion), .next = text_of(told[1], kMaxContinue)};
  if (page.version.empty()) return wrong("the list has no resourceVersion");
  if (items.empty()) return page;
  JsonWalk walk(items);
  if (!walk.enter_array()) return wrong("the list's items are no list");
  std::string_view item;
  while (walk.element(item)) {
    if (page.items.size() == kMaxItems) return wrong("the list has too many items");
    page.items.push_back(item);
  }
  return page;
}

}  // namespace sluice::router
