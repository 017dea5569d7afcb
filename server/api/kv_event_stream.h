// GET /kv_events: the engine's events to one client, as lines of JSON, for as long as both stay. Lives on its
// connection's I/O thread. A client that reads slowly makes it pause; the engine's ring goes on, and once
// that has passed it by, the stream ends with the line "lost".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/api/model_service.h"
#include "server/net/exchange.h"
#include "server/net/routes.h"
#include "server/wire/kv_event_lines.h"

namespace sluice {

struct ApiFloor;

class KvEventStream final : public Responder, public std::enable_shared_from_this<KvEventStream> {
 public:
  explicit KvEventStream(Exchange& exchange) : exchange_(exchange) {}

  // Answers with the engine's error when it takes no reader.
  void start(const ModelService& service, std::optional<KvEventPlace> from);

 private:
  class Ear;
  void pump();
  bool write_batch();  // false: nothing more can or need be written now
  void end(KvEventReader::State state);
  void pump_later(std::chrono::milliseconds delay);
  void beat();

  Exchange& exchange_;
  KvHello hello_;
  std::unique_ptr<KvEventReader> reader_;
  std::vector<KvEvent> events_;
  std::string out_;
  uint64_t next_ = 0;
  bool begun_ = false, over_ = false;
  bool pausing_ = false;  // until the client has read more
  bool quiet_ = true;     // nothing was written since the last beat
};

Route kv_events_route(ApiFloor& floor);

}  // namespace sluice
