#include "bench/serve/lane.h"

#include <time.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <optional>
#include <queue>

#include "base/log.h"
#include "bench/serve/answer_reader.h"
#include "server/net/sse_cut.h"
#include "server/net/upstream.h"

namespace sluice::bench {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds kTick{50};
constexpr size_t kBeginsAtOnce = 32;  // before answers are read again
constexpr size_t kMaxErrorBytes = 16 << 10;
constexpr size_t kMaxBodyBytes = size_t{64} << 20;
constexpr size_t kMaxStalls = 100'000;
constexpr uint32_t kMaxGapsAhead = 4096;

double thread_cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// A session under way.
struct Talk {
  uint64_t number = 0;
  Session session;
  Said said;
};

struct Due {
  double at_s = 0;
  std::shared_ptr<Talk> talk;
  uint32_t turn = 0;
  bool operator>(const Due& other) const { return at_s > other.at_s; }
};

std::string head_of(const Target& target, const PartSpec& part) {
  std::string head = "POST " + target.endpoint_path + " HTTP/1.1\r\nHost: " + target.url.authority() +
                     "\r\nUser-Agent: sluice-bench\r\nContent-Type: application/json\r\n";
  for (const auto& [name, value] : target.headers) head += name + ": " + value + "\r\n";
  if (!part.tenant.empty()) head += "X-Sluice-Tenant: " + part.tenant + "\r\n";
  return head + "Content-Length: ";
}

class Flight;

}  // namespace

struct Lane::State : std::enable_shared_from_this<Lane::State> {
  State(IoThread& thread, Shared with, size_t number, size_t of)
      : io(thread),
        shared(std::move(with)),
        index(number),
        count(of),
        due_timer(io.loop()),
        tick_timer(io.loop()),
        cursor(number) {
    for (const PartSpec& part : shared.workload.parts()) heads.push_back(head_of(shared.target, part));
    const size_t limit = shared.plan.max_concurrency;
    places = limit == 0 ? SIZE_MAX : limit / count + (index < limit % count ? 1 : 0);
  }

  double now_s() const { return std::chrono::duration<double>(Clock::now() - zero).count(); }
  bool is_open_loop() const { return !shared.plan.times_s.empty(); }

  void run();
  void pump();
  void begin(Due due);
  void ended(std::unique_ptr<Flight> flight, bool goes_on);
  std::unique_ptr<Flight> take(const Flight* flight);
  void tick(Clock::time_point due);
  void halt();
  void finish_if_idle();
  std::optional<Due> next_session();

  IoThread& io;
  const Shared shared;
  const size_t index, count;
  std::vector<std::string> heads;  // of requests of each part, up to their length
  std::optional<Upstream> upstream;
  asio::steady_timer due_timer, tick_timer;
  Clock::time_point zero;
  uint64_t cursor;  // open loop: the next session of ours
  size_t places;    // requests that may be in flight
  std::priority_queue<Due, std::vector<Due>, std::greater<>> later;
  std::deque<Due> waiting;  // due, without a place
  std::vector<std::unique_ptr<Flight>> flights;
  std::vector<RequestRecord> records;
  std::vector<float> stalls_ms;
  double cpu_begin_s = 0, cpu_s = 0;
  bool exhausted = false;  // no further session begins
  bool done = false;
};

namespace {

// One request and what comes back.
class Flight final : public UpstreamSink {
 public:
  Flight(Lane::State& lane, const Due& due, bool keeps_text)
      : talk(due.talk), lane_(lane), reader_(lane.shared.target.endpoint, keeps_text) {
    const Turn& turn = talk->session.turns[due.turn];
    record.session = talk->number;
    record.turn = due.turn;
    record.part = static_cast<uint32_t>(talk->session.part);
    record.planned_s = due.at_s;
    record.is_warmup = due.at_s < lane.shared.plan.warmup_s;
    record.wanted_output = turn.output_tokens;
    record.wanted_input = due.turn == 0 ? lane.shared.bodies.prompt_tokens(turn) : 0;
    cancel_after_ = turn.cancel_after;
    record.gaps_ms.reserve(std::min(turn.output_tokens, kMaxGapsAhead));
  }

  void on_sent() override { was_sent_ = true; }

  void on_head(int status, HeaderList& headers) override {
    record.status = static_cast<int16_t>(status);
    const std::string* type = headers.find("content-type");
    streams_ = status / 100 == 2 && type != nullptr && type->starts_with("text/event-stream");
  }

  void on_piece(std::string_view bytes) override {
    if (!streams_) {
      const bool is_fault = record.status / 100 != 2;
      if (is_fault && kept_.size() + bytes.size() > kMaxErrorBytes) return;
      if (kept_.size() + bytes.size() > kMaxBodyBytes)
        return end(Outcome::kBadBody, "the answer is larger than 64 MiB");
      kept_.append(bytes);
      return;
    }
    const double now = lane_.now_s();
    std::string_view events = cut_.take(bytes);
    read_events(events, now);
  }

  void on_end() override {
    if (record.status / 100 != 2) {
      reader_.read_body(kept_);
      const std::string& said = reader_.told().error;
      return end(Outcome::kHttpStatus,
                 said.empty() ? log::safe(std::string_view(kept_).substr(0, 200)) : said);
    }
    if (!streams_) {
      const auto event = reader_.read_body(kept_);
      if (event == AnswerReader::Event::kMalformed)
        return end(Outcome::kBadBody, "the answer is not what this API sends");
      if (event == AnswerReader::Event::kText) record.events = 1;
      return end_by_told();
    }
    std::string_view rest = cut_.rest();
    if (!rest.empty() && !read_events(rest, lane_.now_s())) return;
    end_by_told();
  }

  void on_fault(std::string_view what) override {
    end(was_sent_ ? Outcome::kBroken : Outcome::kConnect, std::string(what));
  }

  // Destroys this.
  void end(Outcome outcome, std::string fault) {
    record.outcome = outcome;
    record.fault = std::move(fault);
    record.end_s = lane_.now_s();
    const Told& told = reader_.told();
    record.has_usage = told.output_tokens.has_value() || told.input_tokens.has_value();
    record.input_tokens = told.input_tokens.value_or(record.wanted_input);
    record.output_tokens = told.output_tokens.value_or(record.events);
    if (told.cached_tokens) record.cached_tokens = *told.cached_tokens;
    if (told.queue_ms) record.queue_ms = static_cast<float>(*told.queue_ms);
    const bool goes_on = outcome == Outcome::kDone || outcome == Outcome::kCancelled;
    lane_.ended(lane_.take(this), goes_on);
  }

  std::string& text() { return reader_.told().text; }

  RequestRecord record;
  std::shared_ptr<Talk> talk;
  std::unique_ptr<UpstreamCall> call;
  size_t place = 0;  // among the lane's flights

 private:
  // False when that was the end of it.
  bool read_events(std::string_view events, double now) {
    SseEvent event;
    while (next_event(events, event, joined_)) {
      const auto read = reader_.read_event(event.name, event.data);
      if (read == AnswerReader::Event::kMalformed) {
        end(Outcome::kBadBody, "an event is not what this API sends: " + log::safe(event.data.substr(0, 80)));
        return false;
      }
      if (read != AnswerReader::Event::kText) continue;
      if (++record.events == 1) {
        record.first_s = now;
        const double ttft_ms = (now - record.planned_s) * 1e3;
        Progress& progress = lane_.shared.progress;
        const uint64_t slot = progress.recent_count.fetch_add(1, std::memory_order_relaxed);
        progress.recent_ttft_ms[slot % Progress::kRecent].store(static_cast<float>(ttft_ms),
                                                                std::memory_order_relaxed);
      } else {
        record.gaps_ms.push_back(static_cast<float>((now - record.last_s) * 1e3));
      }
      record.last_s = now;
      lane_.shared.progress.tokens.fetch_add(1, std::memory_order_relaxed);
      if (cancel_after_ > 0 && record.events >= cancel_after_) {
        end(Outcome::kCancelled, "");
        return false;
      }
    }
    return true;
  }

  void end_by_told() {
    const Told& told = reader_.told();
    if (!told.error.empty()) return end(Outcome::kServer, std::string(told.error));
    if (!told.finished) return end(Outcome::kBroken, "the stream ended without its last event");
    end(Outcome::kDone, "");
  }

  Lane::State& lane_;
  AnswerReader reader_;
  SseCut cut_;
  std::string kept_;    // of an answer in one piece
  std::string joined_;  // of an event with several lines
  uint32_t cancel_after_ = 0;
  bool was_sent_ = false;
  bool streams_ = false;
};

}  // namespace

void Lane::State::run() {
  UpstreamOptions options;
  options.connect_timeout = std::chrono::seconds(10);
  options.max_idle = SIZE_MAX;
  options.tls = shared.target.tls;
  options.idle_timeout = std::chrono::seconds(4);  // below the least of common servers' own (uvicorn: 5 s)
  upstream.emplace(io, shared.target.url, std::move(options));
  cpu_begin_s = thread_cpu_s();
  tick(Clock::now());
  pump();
}

// The next session of an open loop if it is due, of a closed loop if there is one.
std::optional<Due> Lane::State::next_session() {
  const LoadPlan& plan = shared.plan;
  Due due{.talk = std::make_shared<Talk>()};
  if (is_open_loop()) {
    if (cursor >= plan.times_s.size() || plan.times_s[cursor] >= plan.duration_s) {
      exhausted = true;
      return std::nullopt;
    }
    if (plan.times_s[cursor] > now_s()) return std::nullopt;
    due.at_s = plan.times_s[cursor];
    due.talk->number = cursor;
    cursor += count;
  } else {
    due.at_s = std::max(0.0, now_s());  // due since there is a place
    const uint64_t number =
        due.at_s >= plan.duration_s ? plan.session_count : shared.next_session.fetch_add(1);
    if (number >= plan.session_count) {
      exhausted = true;
      return std::nullopt;
    }
    due.talk->number = number;
  }
  due.talk->session = shared.workload.session(due.talk->number);
  return due;
}

void Lane::State::pump() {
  if (done) return;
  size_t begun = 0;
  const double now = now_s();
  while (!later.empty() && later.top().at_s <= now) {
    waiting.push_back(later.top());
    later.pop();
  }
  for (;;) {
    if (begun == kBeginsAtOnce) {  // others get their turn, then we go on
      asio::post(io.loop(), [self = shared_from_this()] { self->pump(); });
      return;
    }
    const bool has_place = flights.size() < places;
    if (has_place && !waiting.empty()) {
      Due due = std::move(waiting.front());
      waiting.pop_front();
      begin(std::move(due));
      ++begun;
      continue;
    }
    if (exhausted || (!is_open_loop() && !has_place)) break;
    std::optional<Due> due = next_session();
    if (!due) break;
    waiting.push_back(std::move(*due));
    if (!has_place) continue;  // it waits in the order of arrival
  }
  double next = kNever;
  if (!later.empty()) next = later.top().at_s;
  if (is_open_loop() && !exhausted && cursor < shared.plan.times_s.size())
    next = std::fmin(next, shared.plan.times_s[cursor]);
  if (!std::isnan(next)) {
    due_timer.expires_at(zero +
                         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(next)));
    due_timer.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
      if (!cancelled) self->pump();
    });
  }
  finish_if_idle();
}

void Lane::State::begin(Due due) {
  const bool is_first = due.turn == 0;
  const Session& session = due.talk->session;
  const bool keeps_text = due.turn + 1 < session.turns.size();
  std::shared_ptr<const std::string> body;
  if (is_first && due.talk->number < shared.prepared.size()) body = shared.prepared[due.talk->number];
  if (body == nullptr)
    body = std::make_shared<const std::string>(shared.bodies.body(session, due.turn, due.talk->said));
  auto flight = std::make_unique<Flight>(*this, due, keeps_text);
  flight->place = flights.size();
  flight->record.sent_s = now_s();
  UpstreamRequest request;
  const std::string& head = heads[session.part];
  request.head.reserve(head.size() + 16);
  request.head.append(head).append(std::to_string(body->size())).append("\r\n\r\n");
  request.body = std::move(body);
  flight->call = upstream->send(std::move(request), *flight);
  flights.push_back(std::move(flight));
  shared.progress.begun.fetch_add(1, std::memory_order_relaxed);
  shared.progress.in_flight.fetch_add(1, std::memory_order_relaxed);
}

std::unique_ptr<Flight> Lane::State::take(const Flight* flight) {
  const size_t place = flight->place;
  std::unique_ptr<Flight> taken = std::move(flights[place]);
  if (place + 1 < flights.size()) {
    flights[place] = std::move(flights.back());
    flights[place]->place = place;
  }
  flights.pop_back();
  return taken;
}

void Lane::State::ended(std::unique_ptr<Flight> flight, bool goes_on) {
  RequestRecord& record = flight->record;
  Progress& progress = shared.progress;
  progress.in_flight.fetch_sub(1, std::memory_order_relaxed);
  progress.ended.fetch_add(1, std::memory_order_relaxed);
  progress.input_tokens.fetch_add(record.input_tokens, std::memory_order_relaxed);
  if (record.is_error()) progress.failed.fetch_add(1, std::memory_order_relaxed);
  const uint32_t next = record.turn + 1;
  Talk& talk = *flight->talk;
  if (goes_on && next < talk.session.turns.size()) {
    const double at = record.end_s + talk.session.turns[next].think_s;
    if (at < shared.plan.duration_s) {
      talk.said.push_back(shared.bodies.prompt_text(talk.session.turns[record.turn], record.turn == 0));
      talk.said.push_back(std::move(flight->text()));
      later.push({at, flight->talk, next});
    }
  }
  records.push_back(std::move(record));
  flight.reset();
  if (!done) pump();
}

// Requests that take too long end; and a clock tick that comes late tells that this thread is too busy.
void Lane::State::tick(Clock::time_point due) {
  const auto now = Clock::now();
  const float late_ms = std::chrono::duration<float, std::milli>(now - due).count();
  if (stalls_ms.size() < kMaxStalls) stalls_ms.push_back(std::max(0.0f, late_ms));
  const double oldest = now_s() - shared.plan.request_timeout_s;
  for (size_t i = flights.size(); i-- > 0;) {
    if (i >= flights.size() || flights[i]->record.sent_s > oldest) continue;
    flights[i]->end(Outcome::kTimeout, "no end of the answer within --request-timeout");
    if (done) return;
  }
  const auto next = now + kTick;
  tick_timer.expires_at(next);
  tick_timer.async_wait([self = shared_from_this(), next](const boost::system::error_code& cancelled) {
    if (!cancelled && !self->done) self->tick(next);
  });
}

void Lane::State::halt() {
  if (done) return;
  exhausted = true;
  later = {};
  waiting.clear();
  places = 0;
  while (!flights.empty()) flights.back()->end(Outcome::kCut, "");
  finish_if_idle();
}

void Lane::State::finish_if_idle() {
  if (done || !exhausted || !flights.empty() || !waiting.empty() || !later.empty()) return;
  done = true;
  due_timer.cancel();
  tick_timer.cancel();
  upstream.reset();
  cpu_s = thread_cpu_s() - cpu_begin_s;
  shared.on_done(index);
}

Lane::Lane(IoThread& io, Shared shared, size_t index, size_t count)
    : state_(std::make_shared<State>(io, std::move(shared), index, count)) {}

Lane::~Lane() = default;

void Lane::start(Clock::time_point zero) {
  state_->zero = zero;
  state_->io.post([state = state_] {
    state->due_timer.expires_at(state->zero);
    state->due_timer.async_wait([state](const boost::system::error_code& cancelled) {
      if (!cancelled) state->run();
    });
  });
}

void Lane::stop() {
  state_->io.post([state = state_] { state->halt(); });
}

std::vector<RequestRecord>& Lane::records() {
  return state_->records;
}

double Lane::cpu_s() const {
  return state_->cpu_s;
}

const std::vector<float>& Lane::stalls_ms() const {
  return state_->stalls_ms;
}

}  // namespace sluice::bench
