// Shadow traffic: a copy of a client's request for another model, whose answer nobody reads. It takes a place
// like any other request where its model is served, but never waits for one, is never asked twice, and ends
// alone: what becomes of it is counted and logged beside its original. One I/O thread; the dispatcher owns
// it.
#pragma once

#include <memory>
#include <string>

#include "router/io/body_scan.h"
#include "router/io/journey.h"
#include "server/net/upstream.h"

namespace sluice::router {

class Dispatcher;

struct ShadowTraffic {
  std::string target;  // a model's name
  double share = 1;    // of the requests, 0..1
};

class Mirror final : public Journey, public UpstreamSink {
 public:
  struct Copy {
    HttpRequest request;  // the original's, without its body
    std::shared_ptr<const std::string> body;
    BodyScan scan;  // points into `body`
    std::string model, target;
  };
  Mirror(Dispatcher& dispatcher, Copy copy);
  ~Mirror() override;

  // Into the core. Afterwards it may have ended.
  void start();

  RequestId id() const override { return id_; }
  const HttpRequest& request() const override { return copy_.request; }
  const std::string& model() const override { return copy_.target; }
  Seconds arrived() const override { return arrived_; }
  bool is_held() const override { return false; }

  void dispatch(const Action& action) override;
  void relay(Attempt) override {}
  void cancel(Attempt attempt) override;
  void hold() override;
  void reject(const Action& action) override;
  void fail(const std::string& message) override;
  void tick(Seconds now) override;

 private:
  void on_head(int status, HeaderList& headers) override;
  void on_piece(std::string_view bytes) override;
  void on_end() override;
  void on_fault(std::string_view what) override;
  void end(std::string_view how);

  Dispatcher& dispatcher_;
  const Copy copy_;
  RequestId id_ = 0;
  std::string tenant_;
  std::string original_;  // its request id
  Seconds arrived_ = 0;
  Attempt attempt_ = 0;
  std::string replica_;
  ReplicaId replica_id_ = kNoReplica;
  bool ended_ = false;
  int status_ = 0;
  uint64_t bytes_in_ = 0;
  uint64_t bytes_out_ = 0;
  Seconds first_byte_at_ = kNever;
  Seconds last_byte_ = 0;
  std::unique_ptr<UpstreamCall> call_;
};

}  // namespace sluice::router
