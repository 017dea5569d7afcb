// Replicas behind a DNS name: a headless Service, or any name that several machines share. Asked again when
// its records' time is over, by a thread of its own: nothing blocks the I/O thread.
#pragma once

#include <memory>
#include <string>

#include "router/io/discovery.h"
#include "router/io/dns_book.h"

namespace sluice::router {

struct DnsOptions {
  std::string server;  // as DnsLookup::open takes it
  Seconds keep_empty = DnsBookOptions().keep_empty;
  Seconds keep_failed = DnsBookOptions().keep_failed;
};

// `pattern` is a replica whose URL has the name for a host; a port in it does not count for services.
std::unique_ptr<Discovery> make_dns_discovery(FoundReplica pattern, DnsOptions options);

}  // namespace sluice::router
