// What the Kubernetes API says of a Service's endpoints, as text and as values: EndpointSlices of
// discovery.k8s.io/v1, the events of a watch over them, and the Status that an error is
// (https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/,
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes). Every text is
// hostile: structure, lengths, counts, names, addresses and ports are checked; what nobody asks for is only
// passed over (json_walk.h). Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "router/io/discovery.h"

namespace sluice::router {

struct SlicePort {
  std::string name;  // empty: the only one
  uint16_t number = 0;
  bool is_https = false;  // by its appProtocol or name
};

struct SliceEndpoint {
  std::string host;  // an address as it stands in a URL, or a name
  bool ready = true;
  bool terminating = false;  // it finishes what it has, and takes nothing new
  PodName pod;
};

enum class AddressFamily : uint8_t { kIpv4, kIpv6, kName };

struct EndpointSlice {
  std::string name;
  std::string version;  // resourceVersion
  AddressFamily family = AddressFamily::kIpv4;
  std::vector<SlicePort> ports;  // empty: the Service names none
  std::vector<SliceEndpoint> endpoints;
};

// The API's own bound is 1000; an object that says more is not believed.
inline constexpr size_t kMaxEndpointsOfSlice = 1000;

Result<EndpointSlice> parse_endpoint_slice(std::string_view text);

struct WatchEvent {
  enum class Kind : uint8_t {
    kStored,    // added or modified: `slice`
    kDeleted,   // `slice` has its name
    kBookmark,  // nothing but a version
    kError,     // `status` says which
  };
  Kind kind = Kind::kBookmark;
  EndpointSlice slice;
  struct Status {
    int code = 0;
    std::string message;
    int retry_after_s = 0;
  } status;
};

// One line of a watch. What is of another kind than EndpointSlice is an Error.
Result<WatchEvent> parse_watch_event(std::string_view line);

// Of an answer that is no success; all empty when it is no Status.
WatchEvent::Status parse_status(std::string_view body);

// A page of a list, cut into its items, which are not looked at yet.
struct SlicePage {
  std::string version;
  std::string next;                     // `continue`; empty: the last page
  std::vector<std::string_view> items;  // slices of the text
};
Result<SlicePage> parse_slice_page(std::string_view text);

}  // namespace sluice::router
