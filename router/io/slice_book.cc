#include "router/io/slice_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace sluice::router {
namespace {

// A Service of ten thousand pods has a hundred.
constexpr size_t kMaxSlices = 1024;
constexpr const char* kTooMany = "there are more than 1024 EndpointSlices";

// Of one pod's appearances the one with the highest rank counts.
int rank_of(const SliceEndpoint& endpoint, AddressFamily family) {
  const int state = endpoint.terminating ? 1 : endpoint.ready ? 2 : 0;
  return state * 4 + (family == AddressFamily::kIpv4 ? 2 : family == AddressFamily::kIpv6 ? 1 : 0);
}

std::string names_of(const std::vector<SlicePort>& ports) {
  std::string names;
  for (const SlicePort& port : ports) {
    names += fmt::format("{}{}{}{}", names.empty() ? "" : ", ", port.name, port.name.empty() ? "" : "=",
                         port.number);
  }
  return names;
}

}  // namespace

void SliceBook::begin_list() {
  listed_.clear();
}

Status SliceBook::list_item(std::string_view text) {
  if (listed_.size() == kMaxSlices) return Error{ErrorCode::kIo, kTooMany};
  SLUICE_ASSIGN(EndpointSlice slice, parse_endpoint_slice(text));
  std::string name = slice.name;
  listed_.insert_or_assign(std::move(name), std::move(slice));
  return {};
}

void SliceBook::end_list(std::string version) {
  slices_ = std::exchange(listed_, {});
  version_ = std::move(version);
  changed_ = true;
}

SliceBook::Verdict SliceBook::watch_line(std::string_view line) {
  auto read = parse_watch_event(line);
  if (!read.ok()) {
    fault_ = read.error().message;
    return Verdict::kBroken;
  }
  WatchEvent& event = *read;
  switch (event.kind) {
    case WatchEvent::Kind::kError:
      status_ = event.status;
      fault_ = event.status.message;
      return event.status.code == 410 ? Verdict::kExpired : Verdict::kRefused;
    case WatchEvent::Kind::kBookmark:
      version_ = event.slice.version;
      return Verdict::kGoOn;
    case WatchEvent::Kind::kDeleted:
      version_ = event.slice.version;
      slices_.erase(event.slice.name);
      break;
    case WatchEvent::Kind::kStored: {
      version_ = event.slice.version;
      std::string name = event.slice.name;
      if (slices_.size() == kMaxSlices && !slices_.contains(name)) {
        fault_ = kTooMany;
        return Verdict::kBroken;
      }
      slices_.insert_or_assign(std::move(name), std::move(event.slice));
      break;
    }
  }
  changed_ = true;
  return Verdict::kGoOn;
}

// Null where none is meant; then trouble_ says why.
const SlicePort* SliceBook::port_of(const EndpointSlice& slice, SlicePort& spare) {
  const std::string& wanted = options_.port;
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), number);
  if (error == std::errc() && end == wanted.data() + wanted.size() && number > 0) {
    const auto same = std::ranges::find(slice.ports, number, &SlicePort::number);
    if (same != slice.ports.end()) return &*same;
    spare.number = number;  // pods may listen where no Service says so
    return &spare;
  }
  if (wanted.empty() && slice.ports.size() == 1) return &slice.ports.front();
  const std::vector<std::string_view> names =
      wanted.empty() ? std::vector<std::string_view>{"http", "https"} : std::vector<std::string_view>{wanted};
  for (const std::string_view name : names) {
    const auto named = std::ranges::find(slice.ports, name, &SlicePort::name);
    if (named != slice.ports.end()) return &*named;
  }
  if (slice.ports.empty()) {
    trouble_ = fmt::format("EndpointSlice {} names no port; give one by --k8s-port NUMBER.", slice.name);
  } else {
    trouble_ =
        fmt::format("EndpointSlice {} has the ports {}; --k8s-port {}.", slice.name, names_of(slice.ports),
                    wanted.empty() ? "says which one is meant" : "'" + wanted + "' is none of them");
  }
  return nullptr;
}

void SliceBook::add(FoundReplicas& all, std::map<std::string, int>& ranks, const EndpointSlice& slice,
                    const SliceEndpoint& endpoint, const SlicePort& port) {
  const std::string place = fmt::format("{}:{}", endpoint.host, port.number);
  const std::string name = endpoint.pod.name.empty() ? place : endpoint.pod.name;
  const bool fit = endpoint.ready && !endpoint.terminating;
  const bool pending = !fit && !endpoint.terminating && !known_.contains(name);
  const int rank = rank_of(endpoint, slice.family);
  const auto [at, fresh] = ranks.try_emplace(name, rank);
  if (!fresh && at->second >= rank) return;
  at->second = rank;
  FoundReplica& replica = all[name];
  replica.name = name;
  replica.url = fmt::format("{}://{}", port.is_https ? "https" : "http", place);
  replica.draining = !fit && !pending;
  replica.pending = pending;
  replica.server_name = options_.server_name;
  replica.pod = endpoint.pod;
}

FoundReplicas SliceBook::replicas() {
  changed_ = false;
  trouble_.clear();
  FoundReplicas all;
  std::map<std::string, int> ranks;
  size_t endpoints = 0;
  for (const auto& [name, slice] : slices_) {
    if (slice.endpoints.empty()) continue;
    SlicePort spare;
    const SlicePort* port = port_of(slice, spare);
    if (port == nullptr) continue;
    if ((endpoints += slice.endpoints.size()) > kMaxEndpoints) {
      trouble_ = fmt::format(
          "There are more than {} endpoints; those of EndpointSlice {} and behind are "
          "passed over.",
          kMaxEndpoints, name);
      break;
    }
    for (const SliceEndpoint& endpoint : slice.endpoints) add(all, ranks, slice, endpoint, *port);
  }
  // One address is one replica, also where only one of its slices names the pod.
  std::set<std::string_view> urls;
  for (const auto& [name, replica] : all) {
    if (!replica.pod.name.empty()) urls.insert(replica.url);
  }
  std::erase_if(
      all, [&](const auto& each) { return each.second.pod.name.empty() && urls.contains(each.second.url); });
  known_.clear();
  for (const auto& [name, replica] : all) {
    if (!replica.pending) known_.insert(name);
  }
  return all;
}

}  // namespace sluice::router
