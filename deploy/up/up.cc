#include "deploy/up/up.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

#include "deploy/up/child.h"
#include "deploy/up/machine_share.h"
#include "deploy/up/router_watch.h"
#include "deploy/up/supervisor.h"

namespace sluice::up {
namespace {

constexpr int kTick_ms = 50;
constexpr double kEnd = 5;  // seconds that processes have to end once nothing is asked of them any more
// Answers end by themselves, however long they are: a replica that leaves is in nobody's way.
constexpr const char* kReplicaDrain = "3600";
constexpr double kRouterBackoff = 1;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A port that was free a moment ago.
Result<int> free_port() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  const bool found = listener >= 0 && bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  if (listener >= 0) close(listener);
  if (!found) return Error{ErrorCode::kIo, "There is no free port on 127.0.0.1."};
  return ntohs(address.sin_port);
}

// An address to listen on, as one to ask at.
std::string reachable(const std::string& host) {
  if (host == "0.0.0.0" || host.empty()) return "127.0.0.1";
  if (host == "::") return "[::1]";
  return host.find(':') != std::string::npos ? "[" + host + "]" : host;
}

class Up {
 public:
  Up(const UpOptions& options, const UpWorld& world)
      : options_(options),
        world_(world),
        machine_(look_around(world.names_gpus ? world.machine_gpus.c_str() : nullptr)),
        screen_(world.screen),
        supervisor_({.hpa = hpa_spec(options), .startup_timeout = options.startup_timeout}) {}

  int run();

 private:
  struct Process {
    Child child;
    std::string url;
    double began;
    bool was_ready = false;
  };

  // --- what happens ---
  void hear_signals();
  void hear_children(double now);
  void hear_router(double now);
  void replica_ended(int number, double now);
  void router_ended(double now);
  // --- what is done ---
  void act(double now);
  bool start_router();
  void start_replica(int number, double now);
  void write_list();
  void begin_end(double now);
  void end(double now);
  void give_up(const Child& culprit, std::string_view who);
  void show(double now);

  void say(const std::string& text) { screen_.line("up", text); }
  template <class... A>
  void say(fmt::format_string<A...> format, A&&... values) {
    say(fmt::format(format, std::forward<A>(values)...));
  }
  std::string list_path() const { return world_.folder + "/replicas"; }

  const UpOptions& options_;
  const UpWorld& world_;
  const Machine machine_;
  Screen screen_;
  Supervisor supervisor_;
  std::optional<Child> router_;
  double router_due_ = -1;  // when it is started anew; -1: it runs
  bool router_answers_ = false;  // since it was started last: before, a SIGHUP would end it
  bool router_was_well_ = false;
  bool announced_ = false;
  std::map<int, Process> replicas_;
  std::unique_ptr<RouterWatch> watch_;
  RouterView view_;
  std::string url_;
  std::string list_;
  int desired_ = -1;
  int signals_ = -1;
  int interrupts_ = 0;
  double ending_since_ = -1;
  double replicas_told_since_ = -1;
  bool list_trouble_ = false;
  bool is_over_ = false;
  int code_ = 0;
};

int Up::run() {
  signals_ = signalfd(-1, &world_.signals, SFD_NONBLOCK | SFD_CLOEXEC);
  url_ =
      fmt::format("{}://{}:{}", options_.has_tls ? "https" : "http", reachable(options_.host), options_.port);
  auto watch = RouterWatch::start({url_, options_.key});
  if (!watch.ok()) {
    say("{}", watch.error().message);
    return 1;
  }
  watch_ = std::move(watch).value();
  write_list();
  if (!start_router()) return 1;
  while (router_ || !replicas_.empty() || ending_since_ < 0) {
    std::vector<pollfd> waited = {{.fd = signals_, .events = POLLIN}};
    if (router_ && router_->output() >= 0) waited.push_back({.fd = router_->output(), .events = POLLIN});
    for (const auto& [number, process] : replicas_) {
      if (process.child.output() >= 0) waited.push_back({.fd = process.child.output(), .events = POLLIN});
    }
    poll(waited.data(), waited.size(), kTick_ms);
    hear_signals();
    const double now = seconds_now();
    hear_children(now);
    if (is_over_) break;  // the children's own end kills them
    hear_router(now);
    if (interrupts_ > 1) {
      say("stopped at once by a second signal");
      code_ = 1;
      break;  // likewise
    }
    if (ending_since_ < 0)
      act(now);
    else
      end(now);
    show(now);
  }
  screen_.status({});
  close(signals_);
  if (ending_since_ >= 0 && interrupts_ < 2) say("stopped");
  return code_;
}

// --- what happens ---

void Up::hear_signals() {
  signalfd_siginfo heard;
  while (read(signals_, &heard, sizeof heard) == sizeof heard) {
    switch (heard.ssi_signo) {
      case SIGCHLD:
        break;  // it only ends the wait
      case SIGHUP:
        if (router_) router_->send(SIGHUP);
        for (auto& [number, process] : replicas_) process.child.send(SIGHUP);
        break;
      default:
        if (++interrupts_ == 1 && ending_since_ < 0) {
          say("{}: running requests finish, new ones get 503; once more stops at once",
              strsignal(static_cast<int>(heard.ssi_signo)));
          begin_end(seconds_now());
        }
    }
  }
}

void Up::hear_children(double now) {
  if (router_) {
    const bool ended = router_->has_ended();
    router_->read_lines([this](std::string_view line) { screen_.line("router", line); });
    if (ended) router_ended(now);
  }
  std::vector<int> ended;
  for (auto& [number, process] : replicas_) {
    if (process.child.has_ended()) ended.push_back(number);
    process.child.read_lines(
        [&, number = number](std::string_view line) { screen_.line(name_of(number), line); });
  }
  for (const int number : ended) replica_ended(number, now);
}

void Up::hear_router(double now) {
  auto view = watch_->take();
  if (!view) return;
  view_ = std::move(*view);
  router_answers_ = router_was_well_ = true;
  std::vector<Sight> sights;
  for (const SeenReplica& seen : view_.replicas) {
    const auto at = replicas_.find(seen.sight.number);
    if (at == replicas_.end() || at->second.url != seen.url) continue;
    sights.push_back(seen.sight);
    Process& process = at->second;
    if (!seen.sight.is_ready || process.was_ready) continue;
    process.was_ready = true;
    say("{} is ready after {:.1f} s", name_of(seen.sight.number), now - process.began);
  }
  supervisor_.hear(view_.demand, sights, now);
  if (announced_ || supervisor_.count(ReplicaState::kReady) == 0) return;
  announced_ = true;
  say("serving at {}/v1 with {} to {} replicas; Ctrl-C stops all of it", url_, options_.min_replicas,
      options_.max_replicas);
}

void Up::replica_ended(int number, double now) {
  const auto at = replicas_.find(number);
  const Child child = std::move(at->second.child);
  replicas_.erase(at);
  const auto known = supervisor_.replicas().find(number);
  const bool was_asked = ending_since_ >= 0 || known == supervisor_.replicas().end() ||
                         known->second.state == ReplicaState::kLeaving;
  supervisor_.ended(number, now);
  if (was_asked) return say("{} has left", name_of(number));
  if (supervisor_.is_hopeless()) return give_up(child, name_of(number));
  const Replica& replica = supervisor_.replicas().at(number);
  say("{} {}; it is started anew in {:.0f} s", name_of(number), child.fate(), replica.due - now);
}

void Up::router_ended(double now) {
  const Child child = std::move(*router_);
  router_.reset();
  if (ending_since_ >= 0) return;
  if (!router_was_well_) return give_up(child, "the router");
  say("the router {}; it is started anew", child.fate());
  router_due_ = now + kRouterBackoff;
}

// --- what is done ---

void Up::act(double now) {
  if (router_due_ >= 0 && now >= router_due_) start_router();
  const std::vector<Step> steps = supervisor_.advance(now);
  if (supervisor_.desired() != desired_) {
    if (desired_ >= 0) {
      say("{} {} wanted, {} before: the load asks for {:.0f}{}", supervisor_.desired(),
          supervisor_.desired() == 1 ? "replica is" : "replicas are", desired_, view_.demand,
          view_.reason.empty() || view_.reason == "none" ? "" : " (" + view_.reason + ")");
    }
    desired_ = supervisor_.desired();
  }
  for (const Step& step : steps) {
    const auto at = replicas_.find(step.number);
    switch (step.kind) {
      case Step::Kind::kStart:
        start_replica(step.number, now);
        break;
      case Step::Kind::kStop:
        if (at == replicas_.end()) break;
        say("{} stops when its {:.0f} running requests have ended", name_of(step.number),
            supervisor_.replicas().at(step.number).in_flight);
        at->second.child.send(SIGTERM);
        break;
      case Step::Kind::kKill:
        if (at == replicas_.end()) break;
        say("{} is killed: {}", name_of(step.number),
            at->second.was_ready ? "it does not answer its health checks"
                                 : fmt::format("it was not ready within --startup-timeout {:.0f} s",
                                               options_.startup_timeout));
        at->second.child.send(SIGKILL);
        break;
    }
  }
  write_list();
}

bool Up::start_router() {
  router_due_ = -1;
  router_answers_ = false;
  Command command{
      .program = world_.route_program,
      .arguments = {"--host", options_.host, "--port", std::to_string(options_.port), "--replicas-file",
                    list_path(), "--shutdown-timeout", std::to_string(options_.shutdown_timeout),
                    "--max-replicas", "200", "--health-check-interval", "0.5"},
      .without = {"KUBERNETES_SERVICE_HOST"}};
  if (!options_.key.empty()) command.environment["SLUICE_REPLICA_API_KEY"] = world_.replica_key;
  command.arguments.insert(command.arguments.end(), options_.router_flags.begin(),
                           options_.router_flags.end());
  auto child = Child::start(command);
  if (!child.ok()) {
    say("{}", child.error().message);
    code_ = 1;
    begin_end(seconds_now());
    return false;
  }
  router_.emplace(std::move(child).value());
  return true;
}

void Up::start_replica(int number, double now) {
  const auto fault = [&](const Error& error) {
    say("{}: {}", name_of(number), error.message);
    supervisor_.ended(number, now);
  };
  const auto port = free_port();
  if (!port.ok()) return fault(port.error());
  Command command{
      .program = world_.serve_program, .arguments = options_.server_flags, .without = {"SLUICE_API_KEY"}};
  const auto add = [&](const char* flag, std::string value) {
    command.arguments.insert(command.arguments.end(), {flag, std::move(value)});
  };
  add("--host", "127.0.0.1");
  add("--port", std::to_string(*port));
  add("--shutdown-timeout", kReplicaDrain);
  const Share share = share_of(machine_, number, options_.max_replicas);
  if (!options_.is_simulated && !options_.names_threads) add("--threads", std::to_string(share.threads));
  if (!options_.is_simulated && !options_.names_device && !share.gpu.empty()) {
    command.environment["CUDA_VISIBLE_DEVICES"] = share.gpu;
    if (share.gpu_memory_utilization > 0 && !options_.names_gpu_memory)
      add("--gpu-memory-utilization", fmt::format("{:.2f}", share.gpu_memory_utilization));
  }
  if (!options_.key.empty()) command.environment["SLUICE_API_KEY"] = world_.replica_key;
  auto child = Child::start(command);
  if (!child.ok()) return fault(child.error());
  replicas_.emplace(number,
                    Process{std::move(child).value(), fmt::format("http://127.0.0.1:{}", *port), now});
}

// Whole or not at all: the router reads it when it likes. It looks once a second; the signal is sooner.
void Up::write_list() {
  std::string list = "# written by sluice up\n";
  for (const auto& [number, process] : replicas_) {
    if (supervisor_.is_listed(number)) list += process.url + ",name=" + name_of(number) + "\n";
  }
  if (list == list_) return;
  const std::string next = list_path() + ".next";
  const bool is_written = (std::ofstream(next) << list).flush().good();
  if (!is_written || std::rename(next.c_str(), list_path().c_str()) != 0) {
    if (!list_trouble_) say("cannot write {}: the router does not know of its replicas", list_path());
    list_trouble_ = true;
    return;
  }
  list_trouble_ = false;
  list_ = std::move(list);
  if (router_ && router_answers_) router_->send(SIGHUP);
}

void Up::begin_end(double now) {
  ending_since_ = now;
  if (router_) router_->send(SIGTERM);
}

// First the router, which has the streams; then the replicas, which have nothing any more.
void Up::end(double now) {
  const double since = now - ending_since_;
  if (router_ && since > options_.shutdown_timeout + kEnd) router_->send(SIGKILL);
  if (router_) return;
  if (replicas_told_since_ < 0) {
    replicas_told_since_ = now;
    for (auto& [number, process] : replicas_) process.child.send(SIGTERM);
  } else if (now - replicas_told_since_ > kEnd) {
    for (auto& [number, process] : replicas_) process.child.send(SIGKILL);
  }
}

void Up::give_up(const Child& culprit, std::string_view who) {
  say("{} {} before it was ready. Its last words:", who, culprit.fate());
  for (const std::string& line : culprit.last_lines()) say("    {}", line);
  say("nothing can be served; all is stopped");
  code_ = 1;
  is_over_ = true;
}

void Up::show(double now) {
  if (!world_.screen.is_terminal) return;
  if (ending_since_ >= 0) {
    return screen_.status(fmt::format("stopping: {:.0f} requests still run, at most {:.0f} s more",
                                      view_.in_flight,
                                      std::max(options_.shutdown_timeout - (now - ending_since_), 0.0)));
  }
  std::string status = fmt::format("{} ready", supervisor_.count(ReplicaState::kReady));
  const auto more = [&](ReplicaState state, const char* word) {
    if (const int count = supervisor_.count(state); count > 0) status += fmt::format(", {} {}", count, word);
  };
  more(ReplicaState::kWaiting, "to be started");
  more(ReplicaState::kLoading, "loading");
  more(ReplicaState::kLeaving, "leaving");
  status += fmt::format(" of {}..{} | load asks for {:.0f}{} | {:.0f} in flight, {:.0f} waiting | {}",
                        options_.min_replicas, options_.max_replicas, view_.demand,
                        view_.reason.empty() || view_.reason == "none" ? "" : " (" + view_.reason + ")",
                        view_.in_flight, view_.queued, url_);
  screen_.status(std::move(status));
}

}  // namespace

int run_up(const UpOptions& options, const UpWorld& world) {
  return Up(options, world).run();
}

}  // namespace sluice::up
