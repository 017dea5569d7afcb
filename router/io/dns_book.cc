#include "router/io/dns_book.h"

#include <algorithm>

#include "server/net/url.h"

namespace sluice::router {

DnsBook::DnsBook(DnsBookOptions options)
    : options_(std::move(options)), is_service_(is_service(parse_url(options_.pattern.url)->host)) {}

FoundReplicas DnsBook::read(const DnsAnswer& answer) const {
  const Url pattern = parse_url(options_.pattern.url).value();
  // Those of the lowest number serve; the others are for when these are gone from the DNS.
  const uint16_t priority = std::ranges::min(answer.targets, {}, &DnsTarget::priority).priority;
  double sum = 0;
  int count = 0;
  for (const DnsTarget& target : answer.targets) {
    if (target.priority != priority) continue;
    sum += target.weight;
    ++count;
  }
  FoundReplicas all;
  for (const DnsTarget& target : answer.targets) {
    if (target.priority != priority) continue;
    FoundReplica replica = options_.pattern;
    const std::string port = ":" + std::to_string(is_service_ ? target.port : pattern.port);
    replica.name = (is_service_ ? target.name : target.host) + port;
    replica.url = pattern.scheme + "://" + target.host + port + pattern.target;
    if (replica.url.ends_with('/')) replica.url.pop_back();
    if (replica.server_name.empty()) replica.server_name = is_service_ ? target.name : pattern.host;
    // Against each other; who has none among those that have some gets very little (RFC 2782).
    constexpr double kVeryLittle = 0.01;
    if (sum > 0) replica.weight *= std::max(target.weight * count / sum, kVeryLittle);
    all.try_emplace(replica.name, replica);
  }
  return all;
}

void DnsBook::take(const DnsAnswer& answer, Seconds now) {
  switch (answer.outcome) {
    case DnsAnswer::Outcome::kFound:
      replicas_ = read(answer);
      last_good_ = now;
      empty_since_ = kNever;
      trouble_.clear();
      next_ = now + std::clamp(static_cast<Seconds>(answer.ttl_s), kShortest, kLongest);
      return;
    case DnsAnswer::Outcome::kNobody:
      empty_since_ = std::min(empty_since_, now);
      if (now - empty_since_ >= options_.keep_empty) replicas_.clear();
      break;
    case DnsAnswer::Outcome::kFailed:
      if (now - last_good_ >= options_.keep_failed) replicas_.clear();
      break;
  }
  trouble_ = answer.why;
  next_ = now + kAfterFailure;
}

}  // namespace sluice::router
