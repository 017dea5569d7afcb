#include "router/io/dns_lookup.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

namespace sluice::router {
namespace {

constexpr int kPatienceS = 2;  // for one server, once
constexpr int kAttempts = 2;
constexpr size_t kAnswerBytes = 65536;
constexpr int kUdpDefaultPort = 53;

// The text of an address record; empty when it is none.
std::string host_of(const ns_rr& record) {
  char text[INET6_ADDRSTRLEN];
  if (ns_rr_type(record) == ns_t_a && ns_rr_rdlen(record) == 4) {
    return inet_ntop(AF_INET, ns_rr_rdata(record), text, sizeof text);
  }
  if (ns_rr_type(record) == ns_t_aaaa && ns_rr_rdlen(record) == 16) {
    return std::string("[") + inet_ntop(AF_INET6, ns_rr_rdata(record), text, sizeof text) + "]";
  }
  return {};
}

std::string lower(std::string name) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  while (name.ends_with('.')) name.pop_back();
  return name;
}

// What may stand as a host in a URL and in a log.
bool is_plain(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

struct DnsLookup::Resolver {
  struct __res_state state {};
  std::vector<unsigned char> answer = std::vector<unsigned char>(kAnswerBytes);

  Resolver() { res_ninit(&state); }
  ~Resolver() { res_nclose(&state); }

  // The bytes of the answer, or 0; then `failure` says why.
  int ask(const std::string& name, ns_type type, DnsAnswer& failure) {
    const int size =
        res_nsearch(&state, name.c_str(), ns_c_in, type, answer.data(), static_cast<int>(answer.size()));
    if (size > 0) return std::min(size, static_cast<int>(answer.size()));
    switch (state.res_h_errno) {
      case HOST_NOT_FOUND:
        failure.outcome = DnsAnswer::Outcome::kNobody;
        failure.why = "there is no such name";
        return 0;
      case NO_DATA:
        failure.outcome = DnsAnswer::Outcome::kNobody;
        failure.why = "the name has no such records";
        return 0;
      case NO_RECOVERY:
        failure.why = "the DNS server refuses, or makes no sense";
        return 0;
      default:
        failure.why = "no DNS server answers, or it failed";
        return 0;
    }
  }

  // Every record of a section of the answer; false when it makes no sense.
  template <class Visit>
  bool each(int size, ns_sect section, Visit visit) {
    ns_msg message;
    if (ns_initparse(answer.data(), size, &message) != 0) return false;
    for (int i = 0; i < ns_msg_count(message, section); ++i) {
      ns_rr record;
      if (ns_parserr(&message, section, i, &record) != 0) return false;
      if (ns_rr_class(record) == ns_c_in) visit(message, record);
    }
    return true;
  }
};

DnsLookup::DnsLookup(std::unique_ptr<Resolver> resolver) : resolver_(std::move(resolver)) {}
DnsLookup::~DnsLookup() = default;

Result<std::unique_ptr<DnsLookup>> DnsLookup::open(const std::string& server) {
  auto resolver = std::make_unique<Resolver>();
  resolver->state.retrans = kPatienceS;
  resolver->state.retry = kAttempts;
  if (!server.empty()) {
    const size_t colon = std::min(server.find(':'), server.size());
    const std::string digits = server.substr(std::min(colon + 1, server.size()));
    int port = kUdpDefaultPort;
    bool good = colon == server.size();
    if (!good) {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
      good = error == std::errc() && end == digits.data() + digits.size() && port > 0 && port < 65536;
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    if (!good || inet_pton(AF_INET, server.substr(0, colon).c_str(), &address.sin_addr) != 1) {
      return invalid_argument("--dns-server", "--dns-server " + server +
                                                  ": give an IPv4 address, perhaps with a port, as in "
                                                  "10.0.0.10 or 10.0.0.10:5353.");
    }
    resolver->state.nsaddr_list[0] = address;
    resolver->state.nscount = 1;
  }
  return std::unique_ptr<DnsLookup>(new DnsLookup(std::move(resolver)));
}

DnsAnswer DnsLookup::addresses(const std::string& name) {
  DnsAnswer answer;
  for (const ns_type type : {ns_t_a, ns_t_aaaa}) {
    answer = {};
    const int size = resolver_->ask(name, type, answer);
    if (size == 0) {
      // Where there is a name without IPv4 there may be IPv6.
      if (type == ns_t_a && answer.outcome == DnsAnswer::Outcome::kNobody) continue;
      return answer;
    }
    answer.ttl_s = UINT32_MAX;
    const bool sound = resolver_->each(size, ns_s_an, [&](ns_msg&, const ns_rr& record) {
      answer.ttl_s = std::min(answer.ttl_s, static_cast<uint32_t>(ns_rr_ttl(record)));
      std::string host = host_of(record);
      if (host.empty() || answer.targets.size() == kMaxTargets) return;
      answer.targets.push_back({.host = std::move(host)});
    });
    if (!sound) return {.why = "the DNS server's answer makes no sense"};
    if (!answer.targets.empty()) {
      answer.outcome = DnsAnswer::Outcome::kFound;
      return answer;
    }
    answer.outcome = DnsAnswer::Outcome::kNobody;
    answer.why = "the answer has no address in it";
  }
  return answer;
}

DnsAnswer DnsLookup::services(const std::string& name) {
  DnsAnswer answer;
  const int size = resolver_->ask(name, ns_t_srv, answer);
  if (size == 0) return answer;
  answer.ttl_s = UINT32_MAX;
  std::map<std::string, std::string> known;  // addresses that came along
  const bool sound = resolver_->each(size, ns_s_an, [&](ns_msg& message, const ns_rr& record) {
    answer.ttl_s = std::min(answer.ttl_s, static_cast<uint32_t>(ns_rr_ttl(record)));
    if (ns_rr_type(record) != ns_t_srv || ns_rr_rdlen(record) < 7 || answer.targets.size() == kMaxTargets) {
      return;
    }
    const unsigned char* at = ns_rr_rdata(record);
    char text[NS_MAXDNAME];
    if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), at + 6, text, sizeof text) < 0) {
      return;
    }
    DnsTarget target{.port = static_cast<uint16_t>(ns_get16(at + 4)),
                     .name = lower(text),
                     .priority = static_cast<uint16_t>(ns_get16(at)),
                     .weight = static_cast<uint16_t>(ns_get16(at + 2))};
    // "." says that the service is not there.
    if (is_plain(target.name) && target.port != 0) {
      answer.targets.push_back(std::move(target));
    }
  }) && resolver_->each(size, ns_s_ar, [&](ns_msg&, const ns_rr& record) {
    if (std::string host = host_of(record); !host.empty()) {
      const auto [at, fresh] = known.try_emplace(lower(ns_rr_name(record)), host);
      if (!fresh && host < at->second) at->second = host;  // always the same one
    }
  });
  if (!sound) return {.why = "the DNS server's answer makes no sense"};
  std::vector<DnsTarget> resolved;
  for (DnsTarget& target : answer.targets) {
    if (const auto at = known.find(target.name); at != known.end()) {
      target.host = at->second;
    } else {
      DnsAnswer found = addresses(target.name + ".");
      // Better none of it than a part: who is missing would seem to have left.
      if (found.outcome == DnsAnswer::Outcome::kFailed) {
        return {.why = "the address of " + target.name + " was not to be had: " + found.why};
      }
      if (found.outcome == DnsAnswer::Outcome::kNobody) continue;
      answer.ttl_s = std::min(answer.ttl_s, found.ttl_s);
      target.host = std::ranges::min(found.targets, {}, &DnsTarget::host).host;
    }
    resolved.push_back(std::move(target));
  }
  answer.targets = std::move(resolved);
  answer.outcome = answer.targets.empty() ? DnsAnswer::Outcome::kNobody : DnsAnswer::Outcome::kFound;
  if (answer.targets.empty()) answer.why = "the answer has no service in it";
  return answer;
}

}  // namespace sluice::router
