// How a route answers: whole or piece by piece, on the connection's own I/O thread, without knowing sockets.
// Whoever answers later leaves a Responder with the session; the session destroys it when the answer has
// ended or the client is gone, and that destruction is the cancellation.
#pragma once

#include <string_view>

#include "server/net/http_message.h"

namespace sluice {

class IoThread;

class Exchange {
 public:
  virtual ~Exchange() = default;
  // The whole answer. Once, and nothing else.
  virtual void respond(HttpResponse response) = 0;
  // Or: the head, any number of pieces, the end.
  virtual void begin(HttpResponse head) = 0;
  // False when nothing can reach the client any more: it left, or it did not read and its buffer is full. The
  // session then destroys the Responder soon; until then writes are dropped.
  virtual bool write(std::string_view bytes) = 0;
  virtual void end() = 0;
  // The answer cannot be completed: where there is a connection it is cut, so that the client sees it.
  virtual void abort() { end(); }
  // Written and not yet on its way: for whoever can wait until the client has read more.
  virtual size_t unsent_bytes() const { return 0; }
  virtual IoThread& io() = 0;
};

// What goes on after a route returned. Lives on the I/O thread of its exchange, which outlives it.
class Responder {
 public:
  virtual ~Responder() = default;
  // All that was written so far is on its way: there is room again.
  virtual void sent() {}
};

}  // namespace sluice
