// The server's door: accepts connections, spreads them over the I/O threads, keeps the bounds on what clients
// may hold. Everything that is about models is behind Routes and the three functions of ListenOptions.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "server/net/cross_origin.h"
#include "server/net/http_message.h"
#include "server/net/io_threads.h"
#include "server/net/routes.h"
#include "server/net/tls_identity.h"

namespace sluice {

struct ExchangeRecord {
  std::string_view route;   // the route's pattern, or "unmatched"
  std::string_view method;  // one of a closed set, or "other"
  int status = 0;           // of the answer; 499 when the client left before there was one
  std::chrono::nanoseconds duration{};
};

struct ListenOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;
  HttpLimits limits;
  int max_connections = 4096;  // beyond it only always_answered routes answer, the rest get 503
  size_t max_buffered_body_bytes = size_t{256} << 20;  // of all request bodies that are being read or used
  size_t max_unsent_bytes = size_t{1}
                            << 20;  // of one answer's pieces; a client that reads slower is cancelled
  // Of requests behind the one that runs: a connection has one answer at a time (HTTP/1.1). Beyond it, it
  // ends with the running answer.
  size_t max_pipelined_bytes = size_t{256} << 10;
  std::chrono::milliseconds idle_timeout{75000};   // between requests of a connection
  std::chrono::milliseconds head_timeout{10000};   // from a request's first byte to its last header
  std::chrono::milliseconds body_timeout{30000};   // without a byte of the body
  std::chrono::milliseconds write_timeout{30000};  // without the client taking a byte
  std::chrono::milliseconds farewell{1000};        // draining: in which an open connection may ask once more

  CrossOriginOptions cross_origin;
  std::shared_ptr<const TlsIdentity> tls;  // null: plain HTTP

  // Makes the answer for what went wrong before a route was called.
  std::function<HttpResponse(const HttpFault& fault, std::string_view path)> render_fault;
  // Judges a request by its head, before a byte of its body is read. Null: everybody may enter. Any I/O
  // thread.
  std::function<std::optional<HttpResponse>(const HttpRequest& head, const Route& route)> admit;
  // Told once per answered request. Null: nobody listens. Any I/O thread.
  std::function<void(const ExchangeRecord& record)> on_exchange;
};

class Listener {
 public:
  // Binds, listens, accepts from here on. kIo with a sentence when the address is taken or not ours.
  // `threads` outlives it.
  static Result<std::unique_ptr<Listener>> start(ListenOptions options, Routes routes, IoThreads& threads);
  ~Listener();  // closes the door and every connection, waits until the I/O threads have let go of them

  uint16_t port() const;
  // Answers say from now on that their connection closes, and it does. One that was not told, for it was idle
  // or in the midst of an answer, is kept for ListenOptions::farewell: what its client asks at that moment is
  // `owed`. New ones are still accepted, for health checks.
  void begin_drain();
  int active_exchanges() const;
  int connections() const;

  struct Shared;  // what sessions see

 private:
  struct Door;
  explicit Listener(std::shared_ptr<Door> door);
  std::shared_ptr<Door> door_;
};

}  // namespace sluice
