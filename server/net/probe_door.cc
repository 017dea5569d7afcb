#include "server/net/probe_door.h"

#include <algorithm>

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kBeat{500};

HttpResponse text(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

}  // namespace

// Of one thread: when it last came round.
struct ProbeDoor::Pulse {
  explicit Pulse(IoThread& watched) : thread(watched) {}

  static void beat(const std::weak_ptr<Pulse>& weak) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->last = Clock::now().time_since_epoch().count();
    self->thread.run_after(kBeat, [weak] { beat(weak); });
  }
  bool has_stopped(std::chrono::milliseconds stall) const {
    return Clock::now().time_since_epoch() - Clock::duration(last) > stall;
  }

  IoThread& thread;
  std::atomic<Clock::rep> last = Clock::now().time_since_epoch().count();
};

ProbeDoor::~ProbeDoor() = default;

Result<std::unique_ptr<ProbeDoor>> ProbeDoor::open(const ProbeOptions& options, IoThreads& watched,
                                                   ProbeAnswers answers) {
  std::unique_ptr<ProbeDoor> door(new ProbeDoor);
  for (int i = 0; i < watched.count(); ++i) {
    door->pulses_.push_back(std::make_shared<Pulse>(watched.at(i)));
    watched.at(i).post([weak = std::weak_ptr(door->pulses_.back())] { Pulse::beat(weak); });
  }
  const auto hangs = [&pulses = door->pulses_, stall = options.stall] {
    return std::ranges::any_of(pulses, [&](const auto& pulse) { return pulse->has_stopped(stall); });
  };
  const auto probe = [hangs](std::function<HttpResponse()> answer) -> RouteFunction {
    return [hangs, answer = std::move(answer)](Exchange& exchange, HttpRequest&&) {
      exchange.respond(hangs() ? text(503, "An I/O thread makes no progress.\n") : answer());
      return std::shared_ptr<Responder>();
    };
  };
  ListenOptions listen;
  listen.host = options.host;
  listen.port = static_cast<uint16_t>(options.port);
  listen.max_connections = 64;
  listen.limits.max_body_bytes = 4096;
  listen.render_fault = [](const HttpFault& fault, std::string_view) {
    return text(fault.status, fault.message + "\n");
  };
  Routes routes;
  routes.add({"GET", "/health", probe(answers.health)});
  routes.add({"GET", "/ready", probe(answers.ready)});
  SLUICE_ASSIGN(door->listener_, Listener::start(std::move(listen), std::move(routes), door->thread_));
  return door;
}

}  // namespace sluice
