#include "router/io/relay.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/log.h"
#include "router/io/dispatcher.h"
#include "router/io/explain.h"
#include "router/io/outgoing.h"
#include "server/net/sse.h"
#include "server/wire/error_body.h"
#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

// An answer of at most this size that has not begun at the client is passed on whole: until then another
// replica can still be asked for it.
constexpr size_t kWholeBytes = size_t{1} << 20;
// Written and not yet taken by the client: then its replica is not read any further.
constexpr size_t kHighWater = size_t{256} << 10;
constexpr size_t kMaxExplanation = 8192;
// Seeds that every JSON reader can read.
constexpr uint64_t kSeedMask = (1ULL << 48) - 1;

Seconds read_retry_after(const HeaderList& headers) {
  const std::string* value = headers.find("retry-after");
  int seconds = 0;
  if (value != nullptr) std::from_chars(value->data(), value->data() + value->size(), seconds);
  return std::clamp(seconds, 0, 3600);
}

bool is_event_stream(const HeaderList& headers) {
  const std::string* type = headers.find("content-type");
  return type != nullptr && type->starts_with("text/event-stream");
}

}  // namespace

// One attempt: what its replica says, as far as it has not been passed on.
class Relay::Try final : public UpstreamSink {
 public:
  Try(Relay& owner, const Action& action, ReplicaLink& link)
      : relay(owner), number(action.attempt), replica(action.replica), ours(link.is_ours()) {
    last_byte = relay.dispatcher_.now();
  }

  Relay& relay;
  const Attempt number;
  const ReplicaId replica;
  const bool ours;
  bool relayed = false;
  bool is_stream = false;  // of events
  bool collecting = true;  // until it is whole
  bool answered = false;
  int status = 0;
  HeaderList headers;
  std::string held;
  SseCut cut;
  Seconds last_byte = 0;
  std::unique_ptr<UpstreamCall> call;

  bool continues() const { return ours && relay.resumable_ && is_stream; }

  void on_sent() override {
    Relay& r = relay;
    if (r.measured_ || r.held_ > 0) return;
    r.measured_ = true;
    r.dispatcher_.counters().added.observe(r.dispatcher_.now() - r.arrived_);
  }

  void on_head(int code, HeaderList& fields) override {
    last_byte = relay.dispatcher_.now();
    status = code;
    headers = std::move(fields);
    answered = true;
    is_stream = code == 200 && is_event_stream(headers);
    if (is_stream) collecting = false;
    Dispatcher& dispatcher = relay.dispatcher_;
    dispatcher.core().answered(relay.id_, number, code, read_retry_after(headers), last_byte);
    dispatcher.settle();
  }

  void on_piece(std::string_view bytes) override {
    last_byte = relay.dispatcher_.now();
    Relay& r = relay;
    if (relayed && !collecting) return r.pass(*this, bytes);
    held.append(bytes);
    if (collecting && held.size() <= kWholeBytes) return;
    collecting = false;
    if (relayed) return r.flush_try(*this);
    r.dispatcher_.core().first_byte(r.id_, number, last_byte);
    r.dispatcher_.settle();
  }

  void on_end() override {
    Relay& r = relay;
    const uint32_t tokens = static_cast<uint32_t>(std::min<uint64_t>(r.events_, 1U << 30));
    if (is_stream && relayed) r.observe_answer(replica, tokens);
    r.dispatcher_.core().ended(r.id_, number, is_stream ? tokens : 0, r.dispatcher_.now());
    r.dispatcher_.settle();
    if (!relayed || r.done_) return;
    if (collecting) return r.pass_whole(*this);
    if (!cut.rest().empty()) r.give(std::string(cut.rest()));
    r.finish();
  }

  void on_fault(std::string_view what) override {
    Relay& r = relay;
    Dispatcher& dispatcher = r.dispatcher_;
    // Nothing more was to come.
    if (relayed && is_stream && r.last_event_) return on_end();
    ++dispatcher.counters().upstream_faults;
    log::debug("request {}: replica {}: {}", r.request_.request_id, r.replica_, log::safe(what));
    r.lose(number);
  }
};

Relay::Relay(Dispatcher& dispatcher, Exchange& exchange, HttpRequest request, Content content,
             const Endpoint& endpoint)
    : dispatcher_(dispatcher),
      exchange_(exchange),
      request_(std::move(request)),
      content_(std::move(content)),
      endpoint_(endpoint),
      told_(!content_.scan.returns_token_ids),
      arrived_(dispatcher.now()) {}

Relay::~Relay() {
  dispatcher_.leave(*this);
  tries_.clear();
  if (id_ != 0) {
    dispatcher_.core().client_left(id_, dispatcher_.now());
    dispatcher_.settle();
  }
  write_log();
}

void Relay::start() {
  const BodyScan& scan = content_.scan;
  RequestSketch sketch = dispatcher_.sketch_of(request_, scan, arrived_);
  model_ = sketch.model;
  tenant_ = sketch.tenant;
  if (!scan.model.empty() && scan.model != model_) new_model_ = model_;
  dispatcher_.counters().bytes_in += content_.body ? content_.body->size() : 0;
  if (std::string unknown = dispatcher_.unknown_model(model_); !unknown.empty()) {
    id_ = 0;
    status_ = 404;
    end_ = "refused";
    ++dispatcher_.counters().shed["unknown_model"];
    done_ = true;
    return exchange_.respond(error_response({ErrorCode::kNotFound, std::move(unknown), "model"},
                                            error_style_of(request_.path), request_.request_id));
  }
  resumable_ = endpoint_.can_continue && scan.stream && !scan.plural && !scan.continues &&
               dispatcher_.options().continues;
  // An answer that is drawn by chance may as well be drawn from a seed of ours: then it can be drawn again.
  if (resumable_ && !scan.greedy && !scan.seeded) seed_ = dispatcher_.random() & kSeedMask;
  sketch.resumable = resumable_;
  sketch.retryable = endpoint_.retryable;
  if (!scan.previous_response.empty()) sketch.home = dispatcher_.home_of(scan.previous_response);
  const std::string* explain = request_.headers.find("x-sluice-explain");
  explains_ = sketch.explain = explain != nullptr && *explain == "1";
  dispatcher_.demand().arrived(model_);
  sketch.id = id_ = dispatcher_.enter(*this);
  dispatcher_.core().arrive(std::move(sketch), arrived_);
  dispatcher_.settle();
}

// --- what the core wants ---

Relay::Try* Relay::find(Attempt attempt) {
  const auto at = std::ranges::find_if(tries_, [&](const auto& each) { return each->number == attempt; });
  return at == tries_.end() ? nullptr : at->get();
}

void Relay::dispatch(const Action& action) {
  const Seconds now = dispatcher_.now();
  if (held_since_ < kNever) {
    held_ += now - held_since_;
    dispatcher_.counters().held.observe(now - held_since_);
    held_since_ = kNever;
  }
  ++dispatches_;
  hedged_ |= !tries_.empty();
  ReplicaLink* link = dispatcher_.link_of(action.replica);
  const bool goes_on = action.resume && events_ > 0;
  if (link == nullptr || (goes_on && !link->is_ours())) {
    return dispatcher_.core().broke(id_, action.attempt, now);
  }
  if (goes_on && !continuable_) {  // what was told came from a replica that names no tokens
    fail("The replica that was answering broke off; what came before is all there is.");
    return dispatcher_.core().client_left(id_, now);
  }
  resumed_ |= action.resume;
  replica_ = link->found().name;
  if (explains_) {
    if (const Decision* decision = dispatcher_.core().explain(id_)) {
      explanation_ = explain_json(*decision, dispatcher_);
      if (explanation_.size() > kMaxExplanation) explanation_ = R"({"error":"too many candidates"})";
    }
  }
  auto attempt = std::make_unique<Try>(*this, action, *link);
  std::shared_ptr<const std::string> body = body_for(*link, action.resume);
  std::string head =
      request_head(request_, link->destination(), body ? std::optional<size_t>(body->size()) : std::nullopt);
  attempt->call = link->upstream().send({std::move(head), std::move(body)}, *attempt);
  tries_.push_back(std::move(attempt));
}

std::shared_ptr<const std::string> Relay::body_for(const ReplicaLink& link, bool resume) {
  if (content_.body == nullptr) return nullptr;
  BodyChanges changes;
  changes.model = new_model_;
  if (resumable_ && link.is_ours()) {
    changes.token_ids = true;
    changes.seed = seed_;
    if (resume) changes.told = told_.ids();
  }
  if (!changes.any()) return content_.body;
  return std::make_shared<const std::string>(change_body(*content_.body, content_.scan, changes));
}

void Relay::relay(Attempt number) {
  Try* attempt = find(number);
  if (attempt == nullptr) return;
  attempt->relayed = true;
  continuable_ = attempt->continues();
  if (ReplicaLink* link = dispatcher_.link_of(attempt->replica)) replica_ = link->found().name;
  if (!attempt->collecting) flush_try(*attempt);
}

void Relay::cancel(Attempt number) {
  std::erase_if(tries_, [&](const auto& each) { return each->number == number; });
}

void Relay::hold() {
  held_since_ = dispatcher_.now();
  if (content_.scan.stream) next_comment_ = held_since_ + dispatcher_.options().comment_interval;
}

void Relay::reject(const Action& action) {
  if (done_) return;
  ++dispatcher_.counters().shed[action.status == 504   ? "deadline"
                                : action.status == 502 ? "no_replica_answered"
                                : action.status == 429 ? "queue_full"
                                                       : "unavailable"];
  end_ = "refused";
  if (begun_) return stop_with_error(action.message, action.status);
  status_ = action.status;
  done_ = true;
  const ErrorStyle style = error_style_of(request_.path);
  const int pause = static_cast<int>(action.retry_after + 0.999);
  if (action.status == 429 || action.status == 503) {
    const ErrorCode code = action.status == 429 ? ErrorCode::kOverloaded : ErrorCode::kUnavailable;
    return exchange_.respond(error_response({code, action.message, "", pause}, style, request_.request_id));
  }
  exchange_.respond(fault_response({action.status, action.message}, request_.path));
}

void Relay::fail(const std::string& message) {
  if (done_) return;
  end_ = "cut";
  stop_with_error(message, 502);
}

// The client has a head already: what went wrong is told as the API's streams tell it.
void Relay::stop_with_error(const std::string& message, int status) {
  if (done_) return;
  if (!streams_) {
    done_ = true;
    return exchange_.abort();
  }
  give(told_.error_event().empty() ? error_event(message, status) : told_.error_event());
  finish();
}

std::string Relay::error_event(const std::string& message, int status) const {
  if (request_.path.starts_with("/v1/responses")) {
    std::string text;
    append_json_string(text, message);
    return "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":" + text +
           ",\"param\":null}\n\n";
  }
  const std::string body = fault_response({status, message}, request_.path).body;
  if (error_style_of(request_.path) == ErrorStyle::kAnthropic) return "event: error\ndata: " + body + "\n\n";
  return "data: " + body + "\n\n";
}

// What a stream tells of its replica's speed, where it did not go on from another one.
void Relay::observe_answer(ReplicaId replica, uint32_t tokens) {
  const Replica* answering = dispatcher_.core_view().fleet().find(replica);
  if (answering == nullptr || resumed_ || first_byte_at_ == kNever || tokens == 0) return;
  const Seconds now = dispatcher_.now();
  const Seconds step = (now - first_byte_at_) / std::max(tokens - 1, 1U);
  dispatcher_.demand().answered(model_, answering->in_flight + answering->foreign_running, tokens, step, now);
}

// The attempt came to nothing; the core knows what now.
void Relay::lose(Attempt number) {
  std::erase_if(tries_, [&](const auto& each) { return each->number == number; });
  dispatcher_.core().broke(id_, number, dispatcher_.now());
  dispatcher_.settle();
}

// --- the answer ---

void Relay::begin_head(int status, HeaderList& headers) {
  HttpResponse head;
  head.status = status_ = status;
  head.content_type.clear();
  for (const auto& [name, value] : headers) {
    if (name == "content-type") {
      head.content_type = value;
    } else if (!stays_behind(name) && name != "date" && name != "x-request-id" && name != "traceparent") {
      head.headers.add(name, value);
    }
  }
  if (!explanation_.empty()) head.headers.add("x-sluice-explain", explanation_);
  head_ = std::move(head);
}

void Relay::flush_try(Try& attempt) {
  if (done_) return;
  if (!begun_) {
    begin_head(attempt.status, attempt.headers);
    begun_ = true;
    streams_ = attempt.is_stream;
    exchange_.begin(std::move(head_));
  }
  const std::string held = std::exchange(attempt.held, {});
  if (!held.empty()) pass(attempt, held);
}

void Relay::pass(Try& attempt, std::string_view bytes) {
  if (done_) return;
  if (first_byte_at_ == kNever) {
    first_byte_at_ = dispatcher_.now();
    dispatcher_.counters().first_byte.observe(first_byte_at_ - arrived_);
    dispatcher_.demand().first_token(model_, first_byte_at_ - arrived_, first_byte_at_);
  }
  note_response(bytes, attempt.replica);
  if (!attempt.is_stream) return give(bytes);
  const std::string_view events = attempt.cut.take(bytes);
  if (events.empty()) return;
  events_ += count_events(events);
  bool good = true;
  if (attempt.continues()) {
    out_.clear();
    good = told_.pass(events, out_);
    if (good) last_event_ |= is_last_event(events);
    give(out_);
  } else {
    last_event_ |= is_last_event(events);
    give(events);
  }
  if (!good) return lose(attempt.number);
  if (exchange_.unsent_bytes() > kHighWater && attempt.call != nullptr) {
    attempt.call->pause();
    paused_ = true;
  }
}

void Relay::sent() {
  if (!std::exchange(paused_, false)) return;
  for (const auto& attempt : tries_) attempt->call->resume();
}

void Relay::pass_whole(Try& attempt) {
  if (begun_) {  // while it was held it was promised a stream
    std::string line = attempt.held;
    std::erase_if(line, [](char c) { return c == '\n' || c == '\r'; });
    give("data: " + line + "\n\n");
    return finish();
  }
  begin_head(attempt.status, attempt.headers);
  note_response(attempt.held, attempt.replica);
  head_.body = std::move(attempt.held);
  bytes_out_ += head_.body.size();
  if (first_byte_at_ == kNever) {
    first_byte_at_ = dispatcher_.now();
    dispatcher_.counters().first_byte.observe(first_byte_at_ - arrived_);
  }
  done_ = true;
  end_ = "complete";
  exchange_.respond(std::move(head_));
}

// The id stands in the first event, or near the front of the whole.
void Relay::note_response(std::string_view bytes, ReplicaId replica) {
  if (!endpoint_.keeps_answers || std::exchange(noted_, true)) return;
  constexpr std::string_view kId = "\"id\":\"resp_";
  constexpr size_t kMaxId = 128;
  bytes = bytes.substr(0, 4096);
  const size_t at = bytes.find(kId);
  if (at == std::string_view::npos) return;
  const std::string_view id = bytes.substr(at + 6, bytes.find('"', at + 6) - at - 6);
  if (id.size() <= kMaxId) dispatcher_.remember_response(id, replica);
}

void Relay::give(std::string_view bytes) {
  if (bytes.empty() || done_) return;
  bytes_out_ += bytes.size();
  exchange_.write(bytes);
}

void Relay::finish() {
  if (std::exchange(done_, true)) return;
  if (end_ == "left") end_ = "complete";
  exchange_.end();
}

// --- time ---

void Relay::tick(Seconds now) {
  if (done_) return;
  if (held_since_ < kNever && now >= next_comment_) {
    next_comment_ = now + dispatcher_.options().comment_interval;
    if (!begun_) {
      begun_ = streams_ = true;
      status_ = 200;
      HttpResponse head = sse_head();
      exchange_.begin(std::move(head));
    }
    give(": " + dispatcher_.waiting_words(model_) + "\n\n");
  }
  for (const auto& attempt : tries_) {
    const Seconds silence = now - attempt->last_byte;
    const bool sick = dispatcher_.is_sick(attempt->replica);
    const bool stalled = (attempt->answered && !paused_ && silence > dispatcher_.options().stall_timeout) ||
                         (sick && silence > dispatcher_.options().sick_stall_timeout);
    if (!stalled) continue;
    ++dispatcher_.counters().stalled;
    log::info("request {}: replica {} is silent since {:.1f} s and {}; given up", request_.request_id,
              replica_, silence, sick ? "not well" : "has begun");
    return lose(attempt->number);  // the others' turn comes with the next tick
  }
}

void Relay::write_log() {
  const Seconds duration = dispatcher_.now() - arrived_;
  Counters& counters = dispatcher_.counters();
  counters.bytes_out += bytes_out_;
  const int status = status_ != 0 ? status_ : 499;
  counters.duration.observe(duration);
  ++counters.requests[{endpoint_.path, status}];
  if (!dispatcher_.access_log().is_open()) return;
  dispatcher_.access_log().write({.request_id = request_.request_id,
                                  .method = request_.method,
                                  .path = request_.path,
                                  .model = model_,
                                  .tenant = tenant_,
                                  .replica = replica_,
                                  .status = status,
                                  .end = end_,
                                  .attempts = dispatches_,
                                  .resumed = resumed_,
                                  .hedged = hedged_,
                                  .streamed = streams_,
                                  .bytes_in = content_.body ? content_.body->size() : 0,
                                  .bytes_out = bytes_out_,
                                  .held_s = held_,
                                  .first_byte_s = first_byte_at_ < kNever ? first_byte_at_ - arrived_ : -1,
                                  .duration_s = duration});
}

}  // namespace sluice::router
