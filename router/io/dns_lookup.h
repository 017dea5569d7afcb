// Asks the DNS for a name's addresses (A, else AAAA; RFC 1035, RFC 3596) or its services (SRV, RFC 2782) by
// the C library's resolver, with the machine's search list and servers or with a server of its own. Blocks
// for seconds when nobody answers: one thread of its own per object.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::router {

struct DnsTarget {
  std::string host;   // as it stands in a URL: 10.0.0.1, [fd00::1]
  uint16_t port = 0;  // of a service
  std::string name;   // of a service: what was resolved into `host`
  uint16_t priority = 0, weight = 0;
  bool operator==(const DnsTarget&) const = default;
};

struct DnsAnswer {
  enum class Outcome : uint8_t {
    kFound,
    kNobody,  // the DNS says that there is none: an empty answer, or no such name
    kFailed,  // the DNS says nothing: no answer, SERVFAIL, or one that makes no sense
  };
  Outcome outcome = Outcome::kFailed;
  std::vector<DnsTarget> targets;
  uint32_t ttl_s = 0;  // the shortest of the records'
  std::string why;     // unless found
};

class DnsLookup {
 public:
  // Most targets of one answer; those beyond are not looked at.
  static constexpr size_t kMaxTargets = 1024;

  // `server`: "10.0.0.10" or "10.0.0.10:5353"; empty: the machine's own. kInvalidArgument when it is neither.
  static Result<std::unique_ptr<DnsLookup>> open(const std::string& server);
  ~DnsLookup();

  DnsAnswer addresses(const std::string& name);
  DnsAnswer services(const std::string& name);

 private:
  struct Resolver;
  explicit DnsLookup(std::unique_ptr<Resolver> resolver);
  const std::unique_ptr<Resolver> resolver_;
};

}  // namespace sluice::router
