// The replicas that a DNS name stands for, as its answers come. Who left the answer is lost at once; an
// answer that names nobody is believed only after a while (a Service between two sets of pods is empty for a
// moment), and no answer at all for much longer: then what was found goes on. Pure: time comes in; one
// thread.
#pragma once

#include "router/core/units.h"
#include "router/io/dns_lookup.h"
#include "router/io/found_set.h"

namespace sluice::router {

struct DnsBookOptions {
  // What every replica of the name is: its URL with the name in it, weight, models.
  FoundReplica pattern;
  Seconds keep_empty = 30;     // while the DNS says that there is nobody
  Seconds keep_failed = 3600;  // while it says nothing
};

class DnsBook {
 public:
  // Between two questions, whatever the records' own time to live says.
  static constexpr Seconds kShortest = 1, kLongest = 60, kAfterFailure = 2;

  // `options.pattern.url` is one that parse_url takes.
  explicit DnsBook(DnsBookOptions options);

  // "_http._tcp.llm.example": names that begin with an underscore are services (RFC 2782).
  static bool is_service(std::string_view host) { return host.starts_with('_'); }

  void take(const DnsAnswer& answer, Seconds now);
  // When to ask again.
  Seconds next() const { return next_; }
  const FoundReplicas& replicas() const { return replicas_; }
  // Why there is no good answer now; empty when there is one.
  const std::string& trouble() const { return trouble_; }

 private:
  FoundReplicas read(const DnsAnswer& answer) const;

  const DnsBookOptions options_;
  const bool is_service_;
  FoundReplicas replicas_;
  Seconds next_ = 0;
  Seconds last_good_ = 0;  // answer with somebody in it
  Seconds empty_since_ = kNever;
  std::string trouble_;
};

}  // namespace sluice::router
