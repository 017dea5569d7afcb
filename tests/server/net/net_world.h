// A listener with routes that answer at once, later, in pieces, for ever or never, and what they saw. Test
// threads; the routes run on its I/O threads.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/net/listener.h"
#include "tests/support/raw_http.h"

namespace sluice::testing {

using std::chrono::milliseconds;

// Waits for what another thread will make true; a hang ends the test, slowness does not.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 60000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

struct Counted : Responder {
  explicit Counted(std::atomic<int>& counter) : alive(counter) { ++alive; }
  ~Counted() override { --alive; }
  std::atomic<int>& alive;
};

// Writes until it is told that nobody takes it.
struct Flood : Counted, std::enable_shared_from_this<Flood> {
  Flood(std::atomic<int>& counter, std::atomic<int64_t>& total, Exchange& out)
      : Counted(counter), written(total), exchange(out) {}
  void pour() {
    const std::string piece(64 << 10, 'x');
    if (!exchange.write(piece)) return;
    written += static_cast<int64_t>(piece.size());
    exchange.io().run_after(milliseconds(1), [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->pour();
    });
  }
  std::atomic<int64_t>& written;
  Exchange& exchange;
};

class NetWorld {
 public:
  explicit NetWorld(ListenOptions options = {}, int io_threads = 1) : threads_(io_threads) {
    options.port = 0;
    options.render_fault = [](const HttpFault& fault, std::string_view) {
      HttpResponse response;
      response.status = fault.status;
      response.body = fault.message;
      return response;
    };
    if (!options.on_exchange) {
      options.on_exchange = [this](const ExchangeRecord& record) {
        std::lock_guard lock(mutex_);
        records_.push_back(std::string(record.method) + " " + std::string(record.route) + " " +
                           std::to_string(record.status));
      };
    }
    auto listener = Listener::start(std::move(options), routes(), threads_);
    EXPECT_TRUE(listener.ok()) << (listener.ok() ? "" : listener.error().message);
    listener_ = std::move(listener).value();
  }
  uint16_t port() const { return listener_->port(); }
  Listener& listener() { return *listener_; }
  std::vector<std::string> records() {
    std::lock_guard lock(mutex_);
    return records_;
  }

  std::atomic<int> alive{0};
  std::atomic<int> answered{0};
  std::atomic<int64_t> flooded{0};
  std::atomic<bool> told{false};

 private:
  void answer_when_told(Exchange& exchange) {
    if (told) return exchange.respond({200, "text/plain", {}, "told"});
    exchange.io().run_after(milliseconds(1), [this, &exchange] { answer_when_told(exchange); });
  }

  Routes routes() {
    Routes routes;
    routes.add({"POST", "/echo", [this](Exchange& exchange, HttpRequest&& request) {
                  ++answered;
                  HttpResponse response;
                  response.content_type = "text/plain";
                  response.body = std::move(request.body);
                  exchange.respond(std::move(response));
                  return nullptr;
                }});
    routes.add({"GET", "/owed", [](Exchange& exchange, HttpRequest&& request) {
                  exchange.respond({200, "text/plain", {}, request.owed ? "owed" : "not owed"});
                  return std::shared_ptr<Responder>();
                }});
    routes.add({"GET", "/id",
                [](Exchange& exchange, HttpRequest&& request) {
                  HttpResponse response;
                  response.body = request.request_id;
                  response.headers.add("X-Bad", "a\r\nSet-Cookie: b");
                  exchange.respond(std::move(response));
                  return nullptr;
                },
                true});
    routes.add(
        {"GET", "/hold", [this](Exchange&, HttpRequest&&) { return std::make_shared<Counted>(alive); }});
    routes.add(
        {"POST", "/hold", [this](Exchange&, HttpRequest&&) { return std::make_shared<Counted>(alive); }});
    routes.add({"GET", "/flood", [this](Exchange& exchange, HttpRequest&&) {
                  auto flood = std::make_shared<Flood>(alive, flooded, exchange);
                  exchange.begin(HttpResponse{});
                  flood->pour();
                  return flood;
                }});
    routes.add({"GET", "/pieces", [](Exchange& exchange, HttpRequest&&) {
                  exchange.begin(HttpResponse{});
                  exchange.write("one ");
                  exchange.io().post([&exchange] {
                    exchange.write("two");
                    exchange.end();
                  });
                  return nullptr;
                }});
    routes.add({"GET", "/late", [this](Exchange& exchange, HttpRequest&&) {
                  exchange.io().run_after(milliseconds(30), [&exchange] {
                    exchange.respond({200, "text/plain", {}, "late"});
                  });
                  return std::make_shared<Counted>(alive);
                }});
    routes.add({"GET", "/told", [this](Exchange& exchange, HttpRequest&&) {
                  answer_when_told(exchange);
                  return nullptr;
                }});
    routes.add({"GET", "/throw",
                [](Exchange&, HttpRequest&&) -> std::shared_ptr<Responder> { throw std::bad_alloc(); }});
    return routes;
  }

  std::mutex mutex_;
  std::vector<std::string> records_;
  IoThreads threads_;
  std::unique_ptr<Listener> listener_;
};

inline std::string echo(const std::string& body, const std::string& headers = "") {
  return "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}

}  // namespace sluice::testing
