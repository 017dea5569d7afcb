// The client against a server of our own on this machine: bodies, redirects, ranges, what must not be sent
// on.
#include "server/net/http_fetcher.h"

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "server/net/listener.h"
#include "tests/support/raw_http.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_certificates.h"

namespace sluice {
namespace {

using testing::PemPair;
using testing::TestAuthority;

class Origin {
 public:
  explicit Origin(std::shared_ptr<TlsIdentity> identity = nullptr)
      : threads_(1), is_secure_(identity != nullptr) {
    ListenOptions options;
    options.port = 0;
    options.tls = std::move(identity);
    options.render_fault = [](const HttpFault& fault, std::string_view) {
      return HttpResponse{fault.status, "text/plain", {}, fault.message};
    };
    Routes routes;
    routes.add({"GET", "/{rest}", [this](Exchange& exchange, HttpRequest&& request) {
                  exchange.respond(answer(request));
                  return nullptr;
                }});
    auto listener = Listener::start(std::move(options), std::move(routes), threads_);
    EXPECT_TRUE(listener.ok());
    listener_ = std::move(listener).value();
  }
  std::string url(const std::string& path) const {
    return (is_secure_ ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port()) + path;
  }
  uint16_t port() const { return listener_->port(); }
  std::map<std::string, HttpResponse> pages;
  std::vector<HttpRequest> seen() {
    std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  HttpResponse answer(const HttpRequest& request) {
    std::lock_guard lock(mutex_);
    seen_.push_back(request);
    const auto page = pages.find(request.path);
    return page == pages.end() ? HttpResponse{404, "text/plain", {}, "no such page"} : page->second;
  }
  std::mutex mutex_;
  std::vector<HttpRequest> seen_;
  IoThreads threads_;
  const bool is_secure_;
  std::unique_ptr<Listener> listener_;
};

// Takes one connection and does with it what the test says.
class OneVisit {
 public:
  explicit OneVisit(std::function<void(int socket)> serve) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this, serve = std::move(serve)] {
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket < 0) return;
      serve(socket);
      ::close(socket);
    });
  }
  ~OneVisit() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  uint16_t port = 0;

 private:
  int listener_ = -1;
  std::thread thread_;
};

std::string read_head(int socket) {
  std::string head;
  char byte;
  while (!head.ends_with("\r\n\r\n") && ::recv(socket, &byte, 1, 0) == 1) head += byte;
  return head;
}

void say(int socket, std::string_view text) {
  ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
}

// Both ways, until one side ends.
void carry(int one, int other) {
  char room[4096];
  for (;;) {
    pollfd ends[] = {{one, POLLIN, 0}, {other, POLLIN, 0}};
    if (::poll(ends, 2, 60000) <= 0) return;
    for (const auto& [from, to] : {std::pair(one, other), std::pair(other, one)}) {
      if ((ends[from == one ? 0 : 1].revents & (POLLIN | POLLHUP)) == 0) continue;
      const ssize_t got = ::recv(from, room, sizeof room, 0);
      if (got <= 0) return;
      say(to, {room, static_cast<size_t>(got)});
    }
  }
}

// A server's files and whom to trust.
struct Secure {
  Secure() {
    const PemPair pair = authority.sign("origin");
    write_file(folder / "own.pem", pair.certificate);
    write_file(folder / "own.key", pair.key);
    write_file(trusted, authority.own().certificate);
  }
  std::shared_ptr<TlsIdentity> identity() const {
    return TlsIdentity::load({.certfile = folder / "own.pem", .keyfile = folder / "own.key"}).value();
  }
  TestAuthority authority;
  TempFolder folder;
  const std::string trusted = folder / "trusted.pem";
};

HttpResponse redirect(int status, const std::string& to) {
  HttpResponse response{status, "text/plain", {}, "moved"};
  response.headers.add("Location", to);
  return response;
}

TEST(HttpFetcher, fetches_a_body_with_headers) {
  Origin origin;
  origin.pages["/a"] = {200, "text/plain", {}, std::string(3000000, 'z')};
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = origin.url("/a?q=1");
  request.headers["Range"] = "bytes=5-";
  const auto response = fetcher.fetch(request);
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body.size(), 3000000U);
  EXPECT_EQ(response->headers.at("content-type"), "text/plain");
  EXPECT_EQ(*origin.seen()[0].headers.find("range"), "bytes=5-");
  EXPECT_EQ(origin.seen()[0].query, "q=1");
}

TEST(HttpFetcher, streams_into_a_sink_after_showing_the_head) {
  Origin origin;
  origin.pages["/a"] = {200, "text/plain", {}, std::string(700000, 'z')};
  origin.pages["/moved"] = redirect(302, "/a");
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = origin.url("/moved");
  std::vector<int> heads;
  size_t bytes = 0;
  request.on_head = [&](const FetchResponse& head) {
    heads.push_back(head.status);
    EXPECT_EQ(bytes, 0U);
    return Status();
  };
  request.sink = [&](std::string_view piece) {
    bytes += piece.size();
    return Status();
  };
  const auto response = fetcher.fetch(request);
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(heads, std::vector<int>{200});
  EXPECT_EQ(bytes, 700000U);
  EXPECT_TRUE(response->body.empty());
  EXPECT_EQ(response->final_url, origin.url("/a"));
}

TEST(HttpFetcher, keeps_an_error_page_out_of_the_sink) {
  Origin origin;
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = origin.url("/missing");
  request.sink = [](std::string_view) -> Status { return Error{ErrorCode::kInternal, "must not be called"}; };
  const auto response = fetcher.fetch(request);
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, "no such page");
}

TEST(HttpFetcher, stops_when_the_sink_or_the_head_says_so) {
  Origin origin;
  origin.pages["/a"] = {200, "text/plain", {}, std::string(700000, 'z')};
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = origin.url("/a");
  request.sink = [](std::string_view) -> Status { return Error{ErrorCode::kIo, "the disk is full"}; };
  EXPECT_EQ(fetcher.fetch(request).error().message, "the disk is full");
  request.sink = nullptr;
  request.on_head = [](const FetchResponse&) -> Status { return Error{ErrorCode::kIo, "not wanted"}; };
  EXPECT_EQ(fetcher.fetch(request).error().message, "not wanted");
}

TEST(HttpFetcher, shows_a_redirect_when_asked_not_to_follow) {
  Origin origin;
  origin.pages["/a"] = redirect(307, "/b");
  HttpFetcher fetcher({});
  FetchRequest request;
  request.method = "HEAD";
  request.url = origin.url("/a");
  request.follow_redirects = false;
  const auto response = fetcher.fetch(request);
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(response->status, 307);
  EXPECT_EQ(response->headers.at("location"), "/b");
}

TEST(HttpFetcher, drops_credentials_when_the_host_changes_and_keeps_them_when_not) {
  Origin first, second;
  first.pages["/same"] = redirect(302, "/other");
  first.pages["/other"] = redirect(302, second.url("/end"));
  second.pages["/end"] = {200, "text/plain", {}, "ok"};
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = first.url("/same");
  request.headers["Authorization"] = "Bearer secret";
  request.headers["X-Other"] = "kept";
  ASSERT_TRUE(fetcher.fetch(request).ok());
  ASSERT_EQ(first.seen().size(), 2U);
  EXPECT_EQ(*first.seen()[1].headers.find("authorization"), "Bearer secret");
  EXPECT_EQ(second.seen()[0].headers.find("authorization"), nullptr);
  EXPECT_EQ(*second.seen()[0].headers.find("x-other"), "kept");
}

TEST(HttpFetcher, gives_up_on_a_circle_of_redirects) {
  Origin origin;
  origin.pages["/a"] = redirect(301, "/a");
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = origin.url("/a");
  const auto response = fetcher.fetch(request);
  ASSERT_FALSE(response.ok());
  EXPECT_NE(response.error().message.find("redirects"), std::string::npos);
  EXPECT_LE(origin.seen().size(), 11U);
}

TEST(HttpFetcher, bounds_a_body_that_is_kept) {
  Origin origin;
  origin.pages["/a"] = {200, "text/plain", {}, std::string(100000, 'z')};
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = origin.url("/a");
  request.max_body_bytes = 1000;
  EXPECT_FALSE(fetcher.fetch(request).ok());
}

TEST(HttpFetcher, tells_the_url_without_its_query_when_nobody_answers) {
  HttpFetcher fetcher({});
  FetchRequest request;
  request.url = "http://127.0.0.1:1/file?signature=secret";
  const auto response = fetcher.fetch(request);
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().code, ErrorCode::kIo);
  EXPECT_NE(response.error().message.find("127.0.0.1:1/file"), std::string::npos);
  EXPECT_EQ(response.error().message.find("secret"), std::string::npos);
}

TEST(HttpFetcher, goes_through_a_proxy_unless_the_host_is_excepted) {
  Origin proxy, origin;
  proxy.pages["/x"] = {200, "text/plain", {}, "from the proxy"};
  origin.pages["/x"] = {200, "text/plain", {}, "from the origin"};
  HttpClientOptions options;
  options.http_proxy = "http://me:pw@" + proxy.url("").substr(7);
  FetchRequest request;
  request.url = origin.url("/x");
  EXPECT_EQ(HttpFetcher(options).fetch(request)->body, "from the proxy");
  EXPECT_EQ(*proxy.seen()[0].headers.find("proxy-authorization"), "Basic bWU6cHc=");
  options.no_proxy = "example.org, 127.0.0.1";
  EXPECT_EQ(HttpFetcher(options).fetch(request)->body, "from the origin");
  EXPECT_EQ(origin.seen()[0].headers.find("proxy-authorization"), nullptr);
}

TEST(HttpFetcher, fetches_by_https_from_whom_it_trusts) {
  Secure secure;
  Origin origin(secure.identity());
  origin.pages["/x"] = {200, "text/plain", {}, std::string(3 << 20, 'x')};
  FetchRequest request;
  request.url = origin.url("/x");
  const auto stranger = HttpFetcher({}).fetch(request);
  ASSERT_FALSE(stranger.ok());
  EXPECT_NE(stranger.error().message.find("certificate verify failed"), std::string::npos);
  const auto known = HttpFetcher({.ca_file = secure.trusted}).fetch(request);
  ASSERT_TRUE(known.ok()) << known.error().message;
  EXPECT_EQ(known->body.size(), size_t{3} << 20);
}

TEST(HttpFetcher, goes_through_a_proxys_tunnel_to_https) {
  Secure secure;
  Origin origin(secure.identity());
  origin.pages["/x"] = {200, "text/plain", {}, "by the tunnel"};
  std::string asked;
  OneVisit proxy([&](int socket) {
    asked = read_head(socket);
    struct Link : testing::RawClient {
      using RawClient::RawClient;
      using RawClient::socket;
    } there(origin.port());
    say(socket, "HTTP/1.1 200 Connection established\r\n\r\n");
    carry(socket, there.socket());
  });
  HttpClientOptions options{.https_proxy = "me:pw@127.0.0.1:" + std::to_string(proxy.port),
                            .ca_file = secure.trusted};
  FetchRequest request;
  request.url = origin.url("/x");
  const auto response = HttpFetcher(options).fetch(request);
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(response->body, "by the tunnel");
  EXPECT_EQ(asked.find("CONNECT 127.0.0.1:" + std::to_string(origin.port()) + " HTTP/1.1\r\n"), 0U) << asked;
  EXPECT_NE(asked.find("Proxy-Authorization: Basic bWU6cHc=\r\n"), std::string::npos) << asked;
}

TEST(HttpFetcher, says_what_the_proxy_said) {
  for (const auto& [answer, words] :
       {std::pair("HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "the proxy answered 407"),
        std::pair("nonsense\r\n\r\n", "the proxy: "), std::pair("", "the proxy left"),
        std::pair("HTTP/1.1 200 OK\r\n\r\ntoo early", "the proxy left")}) {
    OneVisit proxy([&](int socket) {
      read_head(socket);
      say(socket, answer);
    });
    FetchRequest request;
    request.url = "https://origin.test/x";
    const auto response =
        HttpFetcher({.https_proxy = "127.0.0.1:" + std::to_string(proxy.port)}).fetch(request);
    ASSERT_FALSE(response.ok());
    EXPECT_NE(response.error().message.find(words), std::string::npos) << response.error().message;
  }
}

TEST(HttpFetcher, gives_up_on_a_server_that_falls_silent) {
  for (const char* answer : {"", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"}) {
    std::promise<void> given_up;
    OneVisit server([&, over = given_up.get_future().share()](int socket) {
      read_head(socket);
      say(socket, answer);
      over.wait();
    });
    FetchRequest request;
    request.url = "http://127.0.0.1:" + std::to_string(server.port) + "/x";
    const auto response = HttpFetcher({.stall_timeout = std::chrono::milliseconds(50)}).fetch(request);
    given_up.set_value();
    ASSERT_FALSE(response.ok());
    EXPECT_NE(response.error().message.find("too long"), std::string::npos) << response.error().message;
  }
}

TEST(HttpClient, sends_a_body_with_its_length) {
  Origin origin;
  ClientRequest request;
  request.method = "POST";
  request.url = parse_url(origin.url("/ask")).value();
  request.headers["Content-Type"] = "application/json";
  request.body = std::string(200'000, 'x');
  const auto answer = http_exchange(request, {});
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->status, 405);  // the origin answers GET alone, once it has read the body
  request.method = "GET";
  ASSERT_TRUE(http_exchange(request, {}).ok());
  ASSERT_EQ(origin.seen().size(), 1u);
  EXPECT_EQ(origin.seen()[0].body, request.body);
}

}  // namespace
}  // namespace sluice
