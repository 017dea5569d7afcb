// EndpointSlices from an API server that tells the truth, part of it, or nonsense.
#include "router/io/slice_book.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace sluice::router {
namespace {

using ::testing::HasSubstr;
using Verdict = SliceBook::Verdict;

constexpr const char* kReady = R"("ready":true,"serving":true,"terminating":false)";
constexpr const char* kUnready = R"("ready":false,"serving":false,"terminating":false)";
constexpr const char* kEnding = R"("ready":false,"serving":true,"terminating":true)";
constexpr const char* kGoing = R"("ready":false,"serving":false,"terminating":true)";
constexpr const char* kHttp = R"({"name":"http","port":8000,"protocol":"TCP"})";

std::string endpoint(const std::string& pod, const std::string& address, const char* conditions = kReady) {
  const std::string target =
      pod.empty()
          ? ""
          : fmt::format(R"(,"targetRef":{{"kind":"Pod","namespace":"llm","name":"{}","uid":"u"}})", pod);
  return fmt::format(R"({{"addresses":["{}"],"conditions":{{{}}}{},"nodeName":"n"}})", address, conditions,
                     target);
}

std::string slice(const std::string& name, const std::string& endpoints, const std::string& ports = kHttp,
                  const char* family = "IPv4", int version = 7) {
  return fmt::format(
      R"({{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{{"name":"{}",)"
      R"("resourceVersion":"{}","managedFields":[{{"x":null}}]}},"addressType":"{}","endpoints":[{}],)"
      R"("ports":[{}]}})",
      name, version, family, endpoints, ports);
}

std::string event(const char* type, const std::string& object) {
  return fmt::format(R"({{"type":"{}","object":{}}})", type, object);
}

// What a router would hold, and in which order it was told.
struct Followed final : DiscoverySink {
  void found(const FoundReplica& replica) override { now[replica.name] = replica; }
  void lost(std::string_view name) override { EXPECT_EQ(now.erase(std::string(name)), 1U) << name; }
  std::map<std::string, FoundReplica> now;
};

class SliceBookTest : public ::testing::Test {
 protected:
  void list(std::initializer_list<std::string> slices) {
    book.begin_list();
    for (const std::string& each : slices) {
      const Status read = book.list_item(each);
      ASSERT_TRUE(read.ok()) << read.error().message;
    }
    book.end_list("5");
  }
  // "name url" of each, with a "-" before those that drain.
  std::set<std::string> told() {
    if (book.changed()) found.become(book.replicas(), sink);
    std::set<std::string> all;
    for (const auto& [name, replica] : sink.now) {
      EXPECT_EQ(name, replica.name);
      all.insert((replica.draining ? "-" : replica.pending ? "~" : "") + name + " " + replica.url);
    }
    return all;
  }
  using Set = std::set<std::string>;

  SliceBook book{SliceBookOptions{}};
  FoundSet found;
  Followed sink;
};

TEST_F(SliceBookTest, merges_slices_and_keeps_pods_names) {
  list({slice("a", endpoint("llm-0", "10.0.0.1") + "," + endpoint("llm-1", "10.0.0.2")),
        slice("b", endpoint("llm-2", "10.0.0.3") + "," + endpoint("", "10.0.0.4"))});
  EXPECT_EQ(told(), (Set{"llm-0 http://10.0.0.1:8000", "llm-1 http://10.0.0.2:8000",
                         "llm-2 http://10.0.0.3:8000", "10.0.0.4:8000 http://10.0.0.4:8000"}));
  EXPECT_EQ(sink.now["llm-0"].pod, (PodName{"llm", "llm-0"}));
  EXPECT_EQ(book.version(), "5");
}

TEST_F(SliceBookTest, conditions_decide_who_gets_what) {
  list({slice("a", endpoint("a", "10.0.0.1") + "," + endpoint("b", "10.0.0.2", kUnready) + "," +
                       endpoint("c", "10.0.0.3", kEnding) + "," + endpoint("d", "10.0.0.4", kGoing) + "," +
                       endpoint("e", "10.0.0.5", ""))});
  EXPECT_EQ(told(), (Set{"a http://10.0.0.1:8000", "~b http://10.0.0.2:8000", "-c http://10.0.0.3:8000",
                         "-d http://10.0.0.4:8000", "e http://10.0.0.5:8000"}))
      << "b was never ready: on its way; e's conditions are unknown, and unknown is ready";
}

TEST_F(SliceBookTest, follows_a_pod_from_its_first_day_to_its_last) {
  list({slice("a", "")});
  EXPECT_EQ(told(), Set{});
  const auto step = [&](const char* conditions) {
    EXPECT_EQ(book.watch_line(event("MODIFIED", slice("a", endpoint("p", "10.0.0.1", conditions)))),
              Verdict::kGoOn);
    return told();
  };
  EXPECT_EQ(step(kUnready), Set{"~p http://10.0.0.1:8000"});
  EXPECT_EQ(step(kReady), Set{"p http://10.0.0.1:8000"});
  EXPECT_EQ(step(kUnready), Set{"-p http://10.0.0.1:8000"}) << "known: it keeps its place";
  EXPECT_EQ(step(kReady), Set{"p http://10.0.0.1:8000"});
  EXPECT_EQ(step(kEnding), Set{"-p http://10.0.0.1:8000"});
  EXPECT_EQ(step(kGoing), Set{"-p http://10.0.0.1:8000"}) << "its streams go on as long as it is listed";
  EXPECT_EQ(book.watch_line(event("MODIFIED", slice("a", "", kHttp, "IPv4", 99))), Verdict::kGoOn);
  EXPECT_EQ(told(), Set{});
  EXPECT_EQ(book.version(), "99");
}

TEST_F(SliceBookTest, a_slice_that_is_deleted_takes_only_its_own) {
  list({slice("a", endpoint("p", "10.0.0.1")), slice("b", endpoint("q", "10.0.0.2"))});
  EXPECT_EQ(told().size(), 2U);
  EXPECT_EQ(book.watch_line(event("DELETED", slice("a", endpoint("p", "10.0.0.1")))), Verdict::kGoOn);
  EXPECT_EQ(told(), Set{"q http://10.0.0.2:8000"});
}

TEST_F(SliceBookTest, a_pod_in_two_slices_or_families_is_one_replica) {
  list({slice("v6", endpoint("p", "fd00::1"), kHttp, "IPv6"), slice("v4", endpoint("p", "10.0.0.1"))});
  EXPECT_EQ(told(), Set{"p http://10.0.0.1:8000"});
  // While the controller moves endpoints, one may stand in two slices, and one of them is late.
  list({slice("old", endpoint("p", "10.0.0.1", kUnready)), slice("new", endpoint("p", "10.0.0.1"))});
  EXPECT_EQ(told(), Set{"p http://10.0.0.1:8000"});
  list({slice("anonymous", endpoint("", "10.0.0.1")), slice("named", endpoint("p", "10.0.0.1"))});
  EXPECT_EQ(told(), Set{"p http://10.0.0.1:8000"});
  // A StatefulSet's pod comes back by another address while the old one still ends.
  list({slice("a", endpoint("p", "10.0.0.1", kEnding) + "," + endpoint("p", "10.0.0.9"))});
  EXPECT_EQ(told(), Set{"p http://10.0.0.9:8000"});
  list({slice("v6", endpoint("p", "fd00::1"), kHttp, "IPv6")});
  EXPECT_EQ(told(), Set{"p http://[fd00::1]:8000"});
  list({slice("names", endpoint("", "one.example.org"), kHttp, "FQDN")});
  EXPECT_EQ(told(), Set{"one.example.org:8000 http://one.example.org:8000"});
}

TEST_F(SliceBookTest, a_list_replaces_all_and_only_when_it_is_whole) {
  list({slice("a", endpoint("p", "10.0.0.1"))});
  EXPECT_EQ(told().size(), 1U);
  book.begin_list();
  ASSERT_TRUE(book.list_item(slice("b", endpoint("q", "10.0.0.2"))).ok());
  EXPECT_EQ(told(), Set{"p http://10.0.0.1:8000"});
  book.begin_list();  // the first broke off
  ASSERT_TRUE(book.list_item(slice("c", endpoint("r", "10.0.0.3"))).ok());
  book.end_list("8");
  EXPECT_EQ(told(), Set{"r http://10.0.0.3:8000"});
  EXPECT_EQ(book.version(), "8");
}

TEST_F(SliceBookTest, bookmarks_move_the_version_and_nothing_else) {
  list({slice("a", endpoint("p", "10.0.0.1"))});
  told();
  const std::string bookmark =
      R"({"kind":"EndpointSlice","metadata":{"resourceVersion":"1234","labels":null},"endpoints":null})";
  EXPECT_EQ(book.watch_line(event("BOOKMARK", bookmark)), Verdict::kGoOn);
  EXPECT_EQ(book.version(), "1234");
  EXPECT_FALSE(book.changed());
}

TEST_F(SliceBookTest, errors_of_a_watch_say_what_to_do) {
  const auto status = [](int code) {
    return fmt::format(
        R"({{"kind":"Status","status":"Failure","message":"too old resource version: 1","reason":"Expired",)"
        R"("code":{},"details":{{"retryAfterSeconds":3}}}})",
        code);
  };
  EXPECT_EQ(book.watch_line(event("ERROR", status(410))), Verdict::kExpired);
  EXPECT_EQ(book.watch_line(event("ERROR", status(500))), Verdict::kRefused);
  EXPECT_EQ(book.status().code, 500);
  EXPECT_EQ(book.status().retry_after_s, 3);
  EXPECT_THAT(book.fault(), HasSubstr("too old"));
}

TEST_F(SliceBookTest, what_is_not_the_protocol_changes_nothing) {
  list({slice("a", endpoint("p", "10.0.0.1"))});
  const auto before = told();
  const std::string good = slice("a", "");
  std::vector<std::string> lines = {
      "",
      "nonsense",
      "{}",
      "[]",
      "null",
      R"({"type":"ADDED"})",
      R"({"type":"ADDED","object":7})",
      event("APPEARED", good),
      event("BOOKMARK", "{}"),
      event("MODIFIED", "{}"),
      event("MODIFIED", slice("", "")),
      event("MODIFIED", slice("a", "", kHttp, "IPX")),
      event("MODIFIED", slice("a", R"({"addresses":[]})")),
      event("MODIFIED", slice("a", "7")),
      event("MODIFIED", slice("a", R"({"addresses":"10.0.0.1"})")),
      event("MODIFIED", slice("a", endpoint("p", "10.0.0.1/../"))),
      event("MODIFIED", slice("a", endpoint("p", "fd00::1"))),
      event("MODIFIED", slice("a", endpoint("p", "a b"), kHttp, "FQDN")),
      event("MODIFIED", slice("a", "", R"({"port":0})")),
      event("MODIFIED", slice("a", "", R"({"port":65536})")),
      event("MODIFIED", slice("a", "", R"({"port":1.5})")),
      event("MODIFIED", R"({"kind":"Pod","metadata":{"name":"a"},"addressType":"IPv4"})"),
      event("MODIFIED", good).substr(0, 100),
      std::string(5000, '[')};
  std::string many = endpoint("p", "10.0.0.1");
  for (size_t i = 0; i < kMaxEndpointsOfSlice; ++i) many += "," + endpoint("p", "10.0.0.1");
  lines.push_back(event("MODIFIED", slice("a", many)));
  for (const std::string& line : lines) {
    EXPECT_EQ(book.watch_line(line), Verdict::kBroken) << line;
    EXPECT_GT(book.fault().size(), 10U) << line;
    EXPECT_EQ(told(), before) << line;
  }
}

TEST_F(SliceBookTest, chooses_the_port_that_is_meant) {
  const std::string metrics = R"({"name":"metrics","port":9100})";
  const auto url = [&](const std::string& wanted, const std::string& ports) {
    book.~SliceBook();
    new (&book) SliceBook({.port = wanted});
    list({slice("a", endpoint("p", "10.0.0.1"), ports)});
    const FoundReplicas all = book.replicas();
    return all.empty() ? book.trouble() : all.begin()->second.url;
  };
  EXPECT_EQ(url("", kHttp), "http://10.0.0.1:8000");
  EXPECT_EQ(url("", metrics), "http://10.0.0.1:9100") << "there is no other";
  EXPECT_EQ(url("", metrics + "," + kHttp), "http://10.0.0.1:8000");
  EXPECT_EQ(url("metrics", metrics + "," + kHttp), "http://10.0.0.1:9100");
  EXPECT_EQ(url("9100", metrics + "," + kHttp), "http://10.0.0.1:9100");
  EXPECT_EQ(url("7000", metrics + "," + kHttp), "http://10.0.0.1:7000");
  EXPECT_EQ(url("7000", ""), "http://10.0.0.1:7000");
  EXPECT_EQ(url("", R"({"name":"https","port":8443})"), "https://10.0.0.1:8443");
  EXPECT_EQ(url("api", R"({"name":"api","port":8443,"appProtocol":"https"})"), "https://10.0.0.1:8443");
  EXPECT_THAT(url("", ""), HasSubstr("--k8s-port NUMBER"));
  EXPECT_THAT(url("api", metrics + "," + kHttp),
              HasSubstr("metrics=9100, http=8000; --k8s-port 'api' is none"));
  EXPECT_THAT(url("", metrics + R"(,{"name":"grpc","port":9})"), HasSubstr("which one is meant"));
}

TEST_F(SliceBookTest, reads_lists_page_by_page) {
  const std::string text =
      R"({"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"88",)"
      R"("continue":"abc","remainingItemCount":3},"items":[)" +
      slice("a", endpoint("p", "10.0.0.1")) + "," + slice("b", "") + "]}";
  const auto page = parse_slice_page(text);  // its items lie in the text
  ASSERT_TRUE(page.ok()) << page.error().message;
  EXPECT_EQ(page->version, "88");
  EXPECT_EQ(page->next, "abc");
  ASSERT_EQ(page->items.size(), 2U);
  EXPECT_TRUE(parse_endpoint_slice(page->items[0]).ok());
  const auto none =
      parse_slice_page(R"({"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":null})");
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->items.empty());
  for (const char* text :
       {"", "[]", "{}", R"({"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]})",
        R"({"kind":"EndpointSliceList","items":[]})",
        R"({"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":{}})",
        R"({"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[)"}) {
    EXPECT_FALSE(parse_slice_page(text).ok()) << text;
  }
}

// Whatever an API server tells in whatever order: who is ready is a replica, who drains is one that ends or
// was known, who was neither is on its way, and nobody is told who stands nowhere.
TEST_F(SliceBookTest, keeps_its_promises_over_any_history) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const auto draw = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  struct Endpoint {
    std::string pod, address;
    int state;
  };
  std::map<std::string, std::vector<Endpoint>> truth;
  const char* kStates[] = {kReady, kUnready, kEnding, kGoing};
  const auto text_of = [&](const std::string& name) {
    std::string endpoints;
    for (const Endpoint& each : truth[name]) {
      endpoints += (endpoints.empty() ? "" : ",") + endpoint(each.pod, each.address, kStates[each.state]);
    }
    return slice(name, endpoints);
  };
  for (int step = 0; step < 3000; ++step) {
    const std::string name = fmt::format("s{}", draw(5));
    if (draw(20) == 0) {
      book.begin_list();
      if (draw(2) == 0) truth.erase(name);
      for (const auto& [each, endpoints] : std::map(truth)) ASSERT_TRUE(book.list_item(text_of(each)).ok());
      book.end_list("1");
    } else if (draw(10) == 0 && truth.contains(name)) {
      ASSERT_EQ(book.watch_line(event("DELETED", text_of(name))), Verdict::kGoOn);
      truth.erase(name);
    } else {
      truth[name].clear();
      for (int n = draw(5); n > 0; --n) {
        const int pod = draw(12);
        truth[name].push_back({fmt::format("p{}", pod), fmt::format("10.0.{}.{}", draw(2), pod), draw(4)});
      }
      ASSERT_EQ(book.watch_line(event("MODIFIED", text_of(name))), Verdict::kGoOn);
    }
    if (draw(3) == 0) continue;  // events come faster than they are told
    const auto before = sink.now;
    told();
    std::set<std::string> ready, ending, listed;
    std::set<std::pair<std::string, std::string>> places;
    for (const auto& [each, endpoints] : truth) {
      for (const Endpoint& one : endpoints) {
        listed.insert(one.pod);
        places.insert({one.pod, "http://" + one.address + ":8000"});
        if (one.state == 0) ready.insert(one.pod);
        if (one.state >= 2) ending.insert(one.pod);
      }
    }
    for (const auto& [pod, replica] : sink.now) {
      ASSERT_TRUE(places.contains({pod, replica.url}));
      const auto known = before.find(pod);
      const bool was_asked = known != before.end() && !known->second.pending;
      const bool pending = !ready.contains(pod) && !ending.contains(pod) && !was_asked;
      ASSERT_EQ(replica.pending, pending);
      ASSERT_EQ(replica.draining, !ready.contains(pod) && !pending);
    }
    for (const std::string& pod : listed) ASSERT_TRUE(sink.now.contains(pod));
  }
}

}  // namespace
}  // namespace sluice::router
