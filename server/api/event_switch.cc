#include "server/api/event_switch.h"

#include <unordered_map>

namespace sluice {

struct EventSwitch::State {
  struct Place {
    TokenListener* listener;
    int choice;
  };
  std::unordered_map<uint64_t, Place> places;
  uint64_t last_tag = 0;
  std::vector<double> inter_token_s;
  std::shared_ptr<ModelMetrics> metrics;

  void deliver(std::vector<TokenEvent>&& events) {
    const Clock::time_point now = Clock::now();
    for (TokenEvent& event : events) {
      const auto place = places.find(event.tag);
      if (place == places.end()) continue;  // its client has left
      place->second.listener->on_tokens(place->second.choice, std::move(event), now);
    }
    if (inter_token_s.empty()) return;
    metrics->inter_token(inter_token_s);
    inter_token_s.clear();
  }
};

namespace {

class Inlet final : public EventSink {
 public:
  Inlet(IoThread& io, std::shared_ptr<EventSwitch::State> state) : io_(io), state_(std::move(state)) {}
  void post(std::vector<TokenEvent>&& events) noexcept override {
    auto carried = std::make_shared<std::vector<TokenEvent>>(std::move(events));
    io_.post([state = state_, carried] { state->deliver(std::move(*carried)); });
  }

 private:
  IoThread& io_;
  const std::shared_ptr<EventSwitch::State> state_;
};

}  // namespace

EventSwitch::EventSwitch(IoThread& io)
    : state_(std::make_shared<State>()), sink_(std::make_shared<Inlet>(io, state_)) {}
EventSwitch::~EventSwitch() = default;

std::shared_ptr<EventSink> EventSwitch::sink() const {
  return sink_;
}

uint64_t EventSwitch::open(TokenListener& listener, int choice) {
  const uint64_t tag = ++state_->last_tag;
  state_->places.emplace(tag, State::Place{&listener, choice});
  return tag;
}

void EventSwitch::close(uint64_t tag) {
  state_->places.erase(tag);
}

void EventSwitch::note_inter_token(const std::shared_ptr<ModelMetrics>& metrics, double seconds) {
  if (state_->metrics != metrics) state_->metrics = metrics;
  state_->inter_token_s.push_back(seconds);
}

}  // namespace sluice
