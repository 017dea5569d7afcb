// One request on its way: from the client's exchange to the replicas that the core names, and the answer
// back, as it comes. Knows how HTTP and event streams are passed on, held, continued and ended; decides
// nothing (the core does). One I/O thread.
//
//   the client's bytes --Relay--> Try, Try, …        one for each attempt of the core's
//   the client        <--Relay--  the Try that kRelay named
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "router/core/router_core.h"
#include "router/io/body_scan.h"
#include "router/io/journey.h"
#include "router/io/sse_events.h"
#include "server/net/exchange.h"
#include "server/net/sse_cut.h"
#include "server/net/upstream.h"

namespace sluice::router {

class Dispatcher;
class ReplicaLink;

class Relay final : public Responder, public Journey {
 public:
  // What an endpoint lets the router do beyond passing on.
  struct Endpoint {
    std::string path;           // the route's pattern: for metrics
    bool has_body = true;       // JSON that tells the model and the prompt
    bool can_continue = false;  // the replicas of ours know continue_tokens there
    bool retryable = true;
    bool keeps_answers = false;  // under an id, from which later requests may go on
  };

  // `scan` points into `body`; both are empty where the endpoint has none.
  struct Content {
    std::shared_ptr<const std::string> body;
    BodyScan scan;
  };
  Relay(Dispatcher& dispatcher, Exchange& exchange, HttpRequest request, Content content,
        const Endpoint& endpoint);
  ~Relay() override;

  // Into the core. Afterwards it may be answered already.
  void start();

  const Content& content() const { return content_; }

  RequestId id() const override { return id_; }  // 0: refused before the core saw it
  const HttpRequest& request() const override { return request_; }
  const std::string& model() const override { return model_; }
  bool is_held() const override { return held_since_ < kNever; }
  Seconds arrived() const override { return arrived_; }

  void dispatch(const Action& action) override;
  void relay(Attempt attempt) override;
  void cancel(Attempt attempt) override;
  void hold() override;
  void reject(const Action& action) override;
  void fail(const std::string& message) override;
  // Comments for whoever is held, an end for whoever is silent.
  void tick(Seconds now) override;

  void sent() override;

 private:
  class Try;

  Try* find(Attempt attempt);
  std::shared_ptr<const std::string> body_for(const ReplicaLink& link, bool resume);
  void flush_try(Try& attempt);
  void begin_head(int status, HeaderList& headers);
  void pass(Try& attempt, std::string_view bytes);
  void pass_whole(Try& attempt);
  void give(std::string_view bytes);
  void note_response(std::string_view bytes, ReplicaId replica);
  void finish();
  void stop_with_error(const std::string& message, int status);
  void lose(Attempt attempt);
  void observe_answer(ReplicaId replica, uint32_t tokens);
  std::string error_event(const std::string& message, int status) const;
  void write_log();

  Dispatcher& dispatcher_;
  Exchange& exchange_;
  HttpRequest request_;
  const Content content_;
  const Endpoint& endpoint_;
  RequestId id_ = 0;
  std::string model_;      // behind its alias
  std::string new_model_;  // when that is another name than the client's
  std::vector<std::unique_ptr<Try>> tries_;
  std::optional<uint64_t> seed_;  // ours, so that the answer can go on elsewhere
  ToldTokens told_;
  bool explains_ = false;
  std::string explanation_;

  bool resumable_ = false;
  std::string tenant_;

  Seconds arrived_ = 0;
  Seconds held_since_ = kNever;
  Seconds held_ = 0;  // in sum
  Seconds next_comment_ = kNever;
  Seconds first_byte_at_ = kNever;
  HttpResponse head_;
  bool streams_ = false;      // what it gets is an event stream
  bool continuable_ = false;  // and names its tokens to us
  bool paused_ = false;       // the client is slower than its replica
  bool measured_ = false;     // its added latency
  bool begun_ = false;        // the client has a head
  bool done_ = false;         // and all the rest
  bool noted_ = false;        // under which id its replica keeps it
  bool last_event_ = false;   // the stream has said that it is complete
  int status_ = 0;
  int dispatches_ = 0;
  bool resumed_ = false;
  bool hedged_ = false;
  uint64_t events_ = 0;
  uint64_t bytes_out_ = 0;
  std::string replica_;  // that answered, or was asked last
  std::string_view end_ = "left";
  std::string out_;  // room
};

}  // namespace sluice::router
