#include "router/io/mirror.h"

#include <utility>

#include "base/log.h"
#include "router/io/dispatcher.h"
#include "router/io/outgoing.h"

namespace sluice::router {
namespace {

Mirror::Copy renamed(Mirror::Copy copy) {
  copy.request.request_id += "-shadow";
  return copy;
}

}  // namespace

Mirror::Mirror(Dispatcher& dispatcher, Copy copy)
    : dispatcher_(dispatcher),
      copy_(renamed(std::move(copy))),
      original_(copy_.request.request_id, 0, copy_.request.request_id.rfind('-')),
      arrived_(dispatcher.now()),
      bytes_in_(copy_.body->size()) {}

Mirror::~Mirror() {
  if (id_ != 0) dispatcher_.leave(*this);
}

void Mirror::start() {
  RequestSketch sketch = dispatcher_.sketch_of(copy_.request, copy_.scan, arrived_, copy_.target);
  tenant_ = sketch.tenant;
  sketch.retryable = sketch.hedgeable = false;
  sketch.id = id_ = dispatcher_.enter(*this);
  dispatcher_.core().arrive(std::move(sketch), arrived_);
  dispatcher_.settle();
}

void Mirror::dispatch(const Action& action) {
  if (ended_) return;
  attempt_ = action.attempt;
  last_byte_ = dispatcher_.now();
  ReplicaLink* link = dispatcher_.link_of(action.replica);
  if (link == nullptr) return end("dropped");
  replica_ = link->found().name;
  replica_id_ = action.replica;
  auto body =
      std::make_shared<const std::string>(change_body(*copy_.body, copy_.scan, {.model = copy_.target}));
  std::string head = request_head(copy_.request, link->destination(), body->size());
  call_ = link->upstream().send({std::move(head), std::move(body)}, *this);
}

void Mirror::cancel(Attempt) {
  call_.reset();
}

void Mirror::hold() {
  end("dropped");  // it shall not stand before a client
}

void Mirror::reject(const Action& action) {
  end(status_ == 0 ? (action.status == 502 ? "broken" : "dropped") : std::to_string(status_));
}

void Mirror::fail(const std::string&) {
  end("broken");
}

void Mirror::tick(Seconds now) {
  const bool sick = dispatcher_.is_sick(replica_id_);
  const Seconds patience =
      sick ? dispatcher_.options().sick_stall_timeout : dispatcher_.options().stall_timeout;
  if (call_ != nullptr && (sick || status_ != 0) && now - last_byte_ > patience) end("broken");
}

// --- the answer ---

void Mirror::on_head(int status, HeaderList&) {
  last_byte_ = dispatcher_.now();
  status_ = status;
  dispatcher_.core().answered(id_, attempt_, status, 0, last_byte_);
  dispatcher_.settle();
}

void Mirror::on_piece(std::string_view bytes) {
  last_byte_ = dispatcher_.now();
  bytes_out_ += bytes.size();
  if (first_byte_at_ < kNever) return;
  first_byte_at_ = last_byte_;
  dispatcher_.core().first_byte(id_, attempt_, last_byte_);
  dispatcher_.settle();
}

void Mirror::on_end() {
  dispatcher_.core().ended(id_, attempt_, 0, dispatcher_.now());
  end(std::to_string(status_));
}

void Mirror::on_fault(std::string_view what) {
  log::debug("request {}: replica {}: {}", copy_.request.request_id, replica_, log::safe(what));
  dispatcher_.core().broke(id_, attempt_, dispatcher_.now());
  end("broken");
}

void Mirror::end(std::string_view how) {
  if (std::exchange(ended_, true)) return;
  call_.reset();
  dispatcher_.core().client_left(id_, dispatcher_.now());
  const Seconds duration = dispatcher_.now() - arrived_;
  ShadowCounters& counters = dispatcher_.counters().shadows[{copy_.model, copy_.target}];
  ++counters.requests[std::string(how)];
  if (status_ == 200 && how == "200") {
    counters.first_byte.observe(first_byte_at_ - arrived_);
    counters.duration.observe(duration);
  }
  dispatcher_.access_log().write({.request_id = copy_.request.request_id,
                                  .method = copy_.request.method,
                                  .path = copy_.request.path,
                                  .model = copy_.target,
                                  .tenant = tenant_,
                                  .replica = replica_,
                                  .shadow_of = original_,
                                  .status = status_,
                                  .end = how == "dropped" || how == "broken" ? how : "complete",
                                  .attempts = attempt_ > 0 ? 1 : 0,
                                  .streamed = copy_.scan.stream,
                                  .bytes_in = bytes_in_,
                                  .bytes_out = bytes_out_,
                                  .first_byte_s = first_byte_at_ < kNever ? first_byte_at_ - arrived_ : -1,
                                  .duration_s = duration});
  dispatcher_.drop(*this);
}

}  // namespace sluice::router
