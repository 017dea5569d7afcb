// What becomes of a name's replicas as answers come, fail and stay away.
#include "router/io/dns_book.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice::router {
namespace {

using Set = std::set<std::string>;

DnsAnswer found(std::vector<DnsTarget> targets, uint32_t ttl_s = 10) {
  return {.outcome = DnsAnswer::Outcome::kFound, .targets = std::move(targets), .ttl_s = ttl_s};
}
const DnsAnswer kNobody{.outcome = DnsAnswer::Outcome::kNobody, .why = "nobody"};
const DnsAnswer kFailed{.outcome = DnsAnswer::Outcome::kFailed, .why = "silence"};

DnsBook book_of(const std::string& url, double weight = 1) {
  FoundReplica pattern = parse_replica(url).value();
  pattern.weight = weight;
  return DnsBook({.pattern = pattern, .keep_empty = 30, .keep_failed = 600});
}
Set urls(const DnsBook& book) {
  Set all;
  for (const auto& [name, replica] : book.replicas()) all.insert(replica.url);
  return all;
}

TEST(DnsBook, each_address_is_a_replica) {
  DnsBook book = book_of("http://llm.example:8000/base", 2);
  book.take(found({{.host = "10.0.0.1"}, {.host = "10.0.0.2"}, {.host = "[fd00::1]"}, {.host = "10.0.0.1"}}),
            0);
  EXPECT_EQ(urls(book),
            (Set{"http://10.0.0.1:8000/base", "http://10.0.0.2:8000/base", "http://[fd00::1]:8000/base"}));
  const FoundReplica& first = book.replicas().at("10.0.0.1:8000");
  EXPECT_EQ(first.weight, 2);
  EXPECT_EQ(first.server_name, "llm.example") << "certificates are for names";
  book.take(found({{.host = "10.0.0.2"}}), 10);
  EXPECT_EQ(urls(book), Set{"http://10.0.0.2:8000/base"}) << "who left the answer has left";
}

TEST(DnsBook, asks_again_when_the_records_time_is_over_within_bounds) {
  DnsBook book = book_of("http://llm.example:8000");
  EXPECT_EQ(book.next(), 0) << "at once";
  book.take(found({{.host = "10.0.0.1"}}, 10), 100);
  EXPECT_EQ(book.next(), 110);
  book.take(found({{.host = "10.0.0.1"}}, 0), 100);
  EXPECT_EQ(book.next(), 100 + DnsBook::kShortest);
  book.take(found({{.host = "10.0.0.1"}}, 86400), 100);
  EXPECT_EQ(book.next(), 100 + DnsBook::kLongest);
  book.take(kFailed, 100);
  EXPECT_EQ(book.next(), 100 + DnsBook::kAfterFailure);
}

TEST(DnsBook, believes_an_empty_answer_after_a_while) {
  DnsBook book = book_of("http://llm.example:8000");
  book.take(found({{.host = "10.0.0.1"}}), 0);
  book.take(kNobody, 100);
  EXPECT_EQ(book.trouble(), "nobody");
  book.take(kNobody, 129);
  EXPECT_EQ(book.replicas().size(), 1U);
  book.take(found({{.host = "10.0.0.1"}}), 130);
  EXPECT_EQ(book.trouble(), "");
  book.take(kNobody, 131);
  book.take(kNobody, 160);
  EXPECT_EQ(book.replicas().size(), 1U) << "the while began anew";
  book.take(kNobody, 161);
  EXPECT_TRUE(book.replicas().empty());
}

TEST(DnsBook, outlives_a_dns_that_is_away) {
  DnsBook book = book_of("http://llm.example:8000");
  book.take(kFailed, 0);
  EXPECT_TRUE(book.replicas().empty());
  book.take(found({{.host = "10.0.0.1"}}), 100);
  for (int at = 101; at < 700; at += 5) book.take(kFailed, at);
  EXPECT_EQ(book.replicas().size(), 1U);
  book.take(kFailed, 700);
  EXPECT_TRUE(book.replicas().empty()) << "not for ever: addresses are given to others";
}

TEST(DnsBook, services_have_ports_weights_and_priorities_of_their_own) {
  DnsBook book = book_of("https://_http._tcp.llm.example");
  book.take(found({{.host = "10.0.0.1", .port = 8001, .name = "a.llm.example", .priority = 1, .weight = 30},
                   {.host = "10.0.0.1", .port = 8002, .name = "b.llm.example", .priority = 1, .weight = 10},
                   {.host = "10.0.0.3", .port = 8003, .name = "c.llm.example", .priority = 1, .weight = 0},
                   {.host = "10.0.0.4", .port = 8004, .name = "d.llm.example", .priority = 2, .weight = 99}}),
            0);
  EXPECT_EQ(urls(book), (Set{"https://10.0.0.1:8001", "https://10.0.0.1:8002", "https://10.0.0.3:8003"}));
  const FoundReplica& first = book.replicas().at("a.llm.example:8001");
  EXPECT_EQ(first.server_name, "a.llm.example");
  EXPECT_DOUBLE_EQ(first.weight, 2.25);
  EXPECT_DOUBLE_EQ(book.replicas().at("b.llm.example:8002").weight, 0.75);
  EXPECT_DOUBLE_EQ(book.replicas().at("c.llm.example:8003").weight, 0.01);
  book.take(found({{.host = "10.0.0.4", .port = 8004, .name = "d.llm.example", .priority = 2}}), 1);
  EXPECT_EQ(urls(book), Set{"https://10.0.0.4:8004"}) << "the others are gone, so it serves";
  EXPECT_EQ(book.replicas().begin()->second.weight, 1);
}

TEST(DnsLookup, wants_a_server_that_it_can_ask) {
  for (const char* good : {"", "10.0.0.10", "10.0.0.10:5353"})
    EXPECT_TRUE(DnsLookup::open(good).ok()) << good;
  for (const char* bad : {"dns.example", "10.0.0.10:", "10.0.0.10:0", "10.0.0.10:x", "fd00::1", ":53"}) {
    EXPECT_FALSE(DnsLookup::open(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace sluice::router
