#include "server/api/kv_event_stream.h"

#include <charconv>

#include "server/api/api_routes.h"
#include "server/api/route_parts.h"
#include "server/net/io_threads.h"
#include "server/wire/error_body.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHeartbeat{5000};
constexpr milliseconds kPause{5};
constexpr size_t kMaxUnsent = size_t{128} << 10;  // and the engine's ring behind it
constexpr int kBatchesAtOnce = 8;                 // then others on this thread have their turn

HttpResponse lines_head() {
  HttpResponse head;
  head.content_type = "application/x-ndjson";
  head.headers.add("Cache-Control", "no-cache");
  head.headers.add("X-Accel-Buffering", "no");
  return head;
}

}  // namespace

// What the engine's thread holds of a stream.
class KvEventStream::Ear final : public KvEventListener {
 public:
  Ear(IoThread& io, std::weak_ptr<KvEventStream> stream) : io_(io), stream_(std::move(stream)) {}
  void events_ready() noexcept override {
    io_.post([stream = stream_] {
      if (const auto alive = stream.lock(); alive && !alive->pausing_) alive->pump();
    });
  }

 private:
  IoThread& io_;
  const std::weak_ptr<KvEventStream> stream_;
};

void KvEventStream::start(const ModelService& service, std::optional<KvEventPlace> from) {
  hello_.block_tokens = service.engine->options().block_size;
  hello_.max_num_seqs = service.engine->options().max_num_seqs;
  for (const ModelCard& card : service.cards) hello_.models.push_back(card.id);
  auto reader = service.engine->read_events(from, std::make_shared<Ear>(exchange_.io(), weak_from_this()));
  if (!reader.ok()) return exchange_.respond(error_response(reader.error()));
  reader_ = std::move(reader).value();
  exchange_.begin(lines_head());
  exchange_.io().run_after(kHeartbeat, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->beat();
  });
}

void KvEventStream::pump() {
  for (int batch = 0; batch < kBatchesAtOnce && !over_; ++batch) {
    if (exchange_.unsent_bytes() >= kMaxUnsent) return pump_later(kPause);
    if (!write_batch()) return;
  }
  if (!over_) pump_later(milliseconds(0));
}

bool KvEventStream::write_batch() {
  events_.clear();
  out_.clear();
  const KvEventReader::State state = reader_->read(events_);
  if (!begun_) {
    const auto start = reader_->start();
    begun_ = start.has_value();
    if (begun_) {
      hello_.start = *start;
      next_ = start->next;
      append_hello(out_, hello_);
    }
  }
  append_lines(out_, events_);
  for (const KvEvent& event : events_) {
    if (event.kind != KvEvent::Kind::kHeld && event.kind != KvEvent::Kind::kHeldAll)
      next_ = event.sequence + 1;
  }
  if (!out_.empty()) {
    quiet_ = false;
    if (!exchange_.write(out_)) over_ = true;
  }
  if (state != KvEventReader::State::kOpen) end(state);
  return !over_ && !events_.empty();
}

void KvEventStream::end(KvEventReader::State state) {
  if (over_) return;
  over_ = true;
  out_.clear();
  append_ending(out_, state);
  exchange_.write(out_);
  exchange_.end();
}

void KvEventStream::pump_later(milliseconds delay) {
  pausing_ = true;
  exchange_.io().run_after(delay, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->pausing_ = false;
    self->pump();
  });
}

void KvEventStream::beat() {
  if (over_) return;
  if (std::exchange(quiet_, true) && begun_) {
    out_.clear();
    append_heartbeat(out_, next_);
    if (!exchange_.write(out_)) over_ = true;
  }
  exchange_.io().run_after(kHeartbeat, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->beat();
  });
}

namespace {

// None: from now on.
Result<std::optional<KvEventPlace>> read_query(std::string_view query) {
  int64_t from = -1;
  if (!read_number(query_value(query, "from"), INT64_MAX, from))
    return invalid_argument("from", "'from' must be the number of an event.");
  KvEventPlace place{.sequence = static_cast<uint64_t>(from), .epoch = std::nullopt};
  if (const std::string_view text = query_value(query, "epoch"); !text.empty()) {
    uint64_t epoch = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), epoch, 16);
    if (error != std::errc() || end != text.data() + text.size() || text.size() != 16)
      return invalid_argument("epoch", "'epoch' must be the 16 hexadecimal digits of a hello line.");
    place.epoch = epoch;
  }
  return from < 0 ? std::nullopt : std::optional(place);
}

}  // namespace

Route kv_events_route(ApiFloor& floor) {
  const auto answer = [&floor](Exchange& exchange, HttpRequest&& request) -> std::shared_ptr<Responder> {
    const auto from = read_query(request.query);
    const auto service = floor.slot.get();
    if (!from.ok() || !service.ok()) {
      exchange.respond(error_response(from.ok() ? service.error() : from.error()));
      return nullptr;
    }
    if (request.method == "HEAD") {
      exchange.respond(lines_head());
      return nullptr;
    }
    auto stream = std::make_shared<KvEventStream>(exchange);
    stream->start(**service, *from);
    return stream;
  };
  return {"GET", "/kv_events", answer, false, Access::kOperators};
}

}  // namespace sluice
