// Requests to servers that answer, answer badly, close, stall or are not there.
#include "server/net/upstream.h"

#include <gtest/gtest.h>

#include <future>
#include <map>

#include "tests/server/net/net_world.h"

namespace sluice {
namespace {

using testing::eventually;

// A server that does with each connection what the test says; one at a time or several.
class Script {
 public:
  // `serve` gets a connected socket and the number of the connection, from 0.
  explicit Script(std::function<void(int socket, int number)> serve) : serve_(std::move(serve)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        const int socket = ::accept(listener_, nullptr, nullptr);
        if (socket < 0) return;
        serve_(socket, connections++);
        ::close(socket);
      }
    });
  }
  ~Script() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  Url url() const { return parse_url("http://127.0.0.1:" + std::to_string(port_)).value(); }
  std::atomic<int> connections{0};

 private:
  std::function<void(int, int)> serve_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

// Until the end of a request's head; false when the peer closed.
bool read_request(int socket) {
  std::string got;
  char byte;
  while (!got.ends_with("\r\n\r\n")) {
    if (::recv(socket, &byte, 1, 0) != 1) return false;
    got += byte;
  }
  return true;
}
void say(int socket, std::string_view text) {
  ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
}

struct Heard final : UpstreamSink {
  void on_head(int code, HeaderList&) override { status = code; }
  void on_piece(std::string_view bytes) override {
    body += bytes;
    ++pieces;
    if (drop_at_piece) call.reset();
  }
  void on_end() override { over = "end"; }
  void on_fault(std::string_view what) override { over = what; }
  std::atomic<int> status{0}, pieces{0};
  std::string body, over;
  bool drop_at_piece = false;
  std::unique_ptr<UpstreamCall> call;
};

class UpstreamTest : public ::testing::Test {
 protected:
  // Runs on the I/O thread and waits for it.
  template <class Task>
  auto on_io(Task task) {
    std::promise<decltype(task())> done;
    io().post([&] { done.set_value(task()); });
    return done.get_future().get();
  }
  std::shared_ptr<Heard> send(Upstream& upstream) {
    auto heard = std::make_shared<Heard>();
    on_io([&] {
      heard->call = upstream.send({"GET / HTTP/1.1\r\nHost: a\r\n\r\n", nullptr}, *heard);
      return true;
    });
    return heard;
  }
  std::string outcome(const std::shared_ptr<Heard>& heard) {
    EXPECT_TRUE(eventually([&] { return on_io([&] { return !heard->over.empty(); }); }));
    return on_io([&] { return heard->over; });
  }
  IoThread& io() { return threads_.at(0); }
  std::unique_ptr<Upstream> upstream_of(const Url& url, UpstreamOptions options = {}) {
    return on_io([&] { return std::make_unique<Upstream>(io(), url, options); });
  }
  void end(std::unique_ptr<Upstream> upstream) {
    on_io([&] {
      upstream.reset();
      return true;
    });
  }

 private:
  IoThreads threads_{1};
};

TEST_F(UpstreamTest, uses_a_connection_again) {
  Script server([](int socket, int) {
    while (read_request(socket)) say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  });
  auto upstream = upstream_of(server.url());
  for (int i = 0; i < 5; ++i) {
    const auto heard = send(*upstream);
    EXPECT_EQ(outcome(heard), "end");
    EXPECT_EQ(on_io([&] { return heard->body; }), "hi");
  }
  EXPECT_EQ(server.connections, 1);
  EXPECT_EQ(on_io([&] { return upstream->idle_connections(); }), 1U);
  end(std::move(upstream));
}

TEST_F(UpstreamTest, keeps_as_many_connections_as_it_may) {
  for (const size_t most : {size_t{0}, size_t{1}}) {
    Script server([](int socket, int) {
      while (read_request(socket)) say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
    auto upstream = upstream_of(server.url(), {.max_idle = most});
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(outcome(send(*upstream)), "end");
      EXPECT_EQ(on_io([&] { return upstream->idle_connections(); }), most);
    }
    EXPECT_EQ(server.connections, most == 0 ? 3 : 1);
    end(std::move(upstream));
  }
}

TEST_F(UpstreamTest, asks_anew_when_a_kept_connection_was_closed_meanwhile) {
  Script server([](int socket, int) {
    if (read_request(socket)) say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  });
  auto upstream = upstream_of(server.url());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(outcome(send(*upstream)), "end");
  EXPECT_EQ(server.connections, 20);
  end(std::move(upstream));
}

TEST_F(UpstreamTest, does_not_keep_a_connection_on_which_too_much_came) {
  Script server([](int socket, int) {
    if (read_request(socket))
      say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\nevil");
  });
  auto upstream = upstream_of(server.url());
  const auto heard = send(*upstream);
  EXPECT_EQ(outcome(heard), "end");
  EXPECT_EQ(on_io([&] { return heard->body; }), "hi");
  EXPECT_EQ(on_io([&] { return upstream->idle_connections(); }), 0U);
  end(std::move(upstream));
}

TEST_F(UpstreamTest, tells_what_went_wrong) {
  Script server([](int socket, int number) {
    if (!read_request(socket)) return;
    if (number == 1) say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    if (number == 2) say(socket, "nonsense\r\n");
  });
  auto upstream = upstream_of(server.url());
  for (int i = 0; i < 3; ++i) {
    const std::string what = outcome(send(*upstream));
    EXPECT_NE(what, "end");
    EXPECT_GT(what.size(), 5U);
  }
  end(std::move(upstream));
  auto nowhere = upstream_of(parse_url("http://127.0.0.1:1").value());
  EXPECT_NE(outcome(send(*nowhere)).find("connecting"), std::string::npos);
  end(std::move(nowhere));
  auto unknown = upstream_of(parse_url("http://no-such-host.invalid:80").value());
  EXPECT_NE(outcome(send(*unknown)).find("no-such-host.invalid"), std::string::npos);
  end(std::move(unknown));
}

TEST_F(UpstreamTest, a_dropped_call_closes_its_connection) {
  std::promise<void> closed;
  Script server([&](int socket, int) {
    if (!read_request(socket)) return;
    say(socket, "HTTP/1.1 200 OK\r\n\r\nendless");
    char byte;
    while (::recv(socket, &byte, 1, 0) > 0) {
    }
    closed.set_value();
  });
  auto upstream = upstream_of(server.url());
  const auto heard = send(*upstream);
  ASSERT_TRUE(eventually([&] { return heard->pieces > 0; }));
  on_io([&] {
    heard->call.reset();
    return true;
  });
  closed.get_future().get();
  EXPECT_EQ(on_io([&] { return heard->over; }), "") << "who dropped it hears nothing more";
  end(std::move(upstream));
}

TEST_F(UpstreamTest, a_call_may_be_dropped_while_it_tells) {
  Script server([](int socket, int) {
    if (read_request(socket))
      say(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n");
  });
  auto upstream = upstream_of(server.url());
  auto heard = std::make_shared<Heard>();
  heard->drop_at_piece = true;
  on_io([&] {
    heard->call = upstream->send({"GET / HTTP/1.1\r\nHost: a\r\n\r\n", nullptr}, *heard);
    return true;
  });
  ASSERT_TRUE(eventually([&] { return heard->pieces > 0; }));
  EXPECT_EQ(on_io([&] { return heard->body; }), "a");
  end(std::move(upstream));
}

TEST_F(UpstreamTest, a_paused_call_reads_no_further) {
  std::atomic<size_t> sent{0};
  Script server([&](int socket, int) {
    if (!read_request(socket)) return;
    say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
    const std::string piece(1 << 16, 'x');
    while (sent < 67108864) {
      const ssize_t taken = ::send(socket, piece.data(), piece.size(), MSG_NOSIGNAL);
      if (taken <= 0) return;
      sent += static_cast<size_t>(taken);
    }
  });
  auto upstream = upstream_of(server.url());
  const auto heard = send(*upstream);
  ASSERT_TRUE(eventually([&] { return heard->pieces > 0; }));
  const size_t had = on_io([&] {
    heard->call->pause();
    return heard->body.size();
  });
  size_t before = ~size_t{0};
  while (before != sent) {  // until the kernel's buffers are full
    before = sent;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_LT(sent, 67108864U);
  EXPECT_LE(on_io([&] { return heard->body.size(); }), had + (1 << 17));
  on_io([&] {
    heard->call->resume();
    return true;
  });
  EXPECT_EQ(outcome(heard), "end");
  EXPECT_EQ(on_io([&] { return heard->body.size(); }), 67108864U);
  end(std::move(upstream));
}

TEST_F(UpstreamTest, calls_outlive_their_upstream) {
  Script server([](int socket, int) {
    if (!read_request(socket)) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  });
  auto upstream = upstream_of(server.url());
  const auto heard = send(*upstream);
  end(std::move(upstream));
  EXPECT_EQ(outcome(heard), "end");
}

}  // namespace
}  // namespace sluice
