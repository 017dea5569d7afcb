// sluice-serve: reads the environment and the flags, opens the door, loads the model, serves until a signal,
// drains. The only file of the server that knows signals, the environment and the exit code.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "server/api/api_routes.h"
#include "server/console.h"
#include "server/model_loading.h"
#include "server/options.h"
#include "server/version.h"

namespace sluice {
namespace {

// The first of the variables that is set and not empty.
std::string from_environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

Environment read_environment() {
  Environment e;
  e.home = from_environment({"HOME"});
  e.xdg_cache_home = from_environment({"XDG_CACHE_HOME"});
  e.hf_home = from_environment({"HF_HOME"});
  e.hf_hub_cache = from_environment({"HF_HUB_CACHE"});
  e.hf_token = from_environment({"HF_TOKEN"});
  e.hf_endpoint = from_environment({"HF_ENDPOINT"});
  e.hf_hub_offline = from_environment({"HF_HUB_OFFLINE"});
  e.http_proxy = from_environment({"http_proxy"});  // not HTTP_PROXY: a CGI client could set it (httpoxy)
  e.https_proxy = from_environment({"https_proxy", "HTTPS_PROXY"});
  e.no_proxy = from_environment({"no_proxy", "NO_PROXY"});
  e.api_key = from_environment({"SLUICE_API_KEY"});
  return e;
}

// What the signals' thread does beside waiting for the end; empty: nothing.
struct Chores {
  std::function<void()> on_hangup;  // at SIGHUP
  std::function<void()> on_tick;    // every kTick
};
constexpr timespec kTick{3, 0};

// Waits for SIGTERM, SIGINT and SIGHUP on a thread of its own. Every other thread has them blocked.
class SignalWatch {
 public:
  SignalWatch() {
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::thread([this] { watch(); }).detach();  // lives as long as the process
  }

  // Until the first signal.
  void wait() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return seen_; });
  }
  // Returns when none of the former chores runs any more.
  void take_up(Chores chores) {
    std::lock_guard lock(mutex_);
    chores_ = std::move(chores);
  }
  // From now on the first signal is told to `wait`; before, it ends the process.
  void serving() {
    std::lock_guard lock(mutex_);
    serving_ = true;
  }

 private:
  void watch() {
    for (;;) {
      const int which = sigtimedwait(&signals_, nullptr, &kTick);
      if (which < 0 && errno != EAGAIN) continue;
      std::lock_guard lock(mutex_);
      if (which < 0 || which == SIGHUP) {
        const auto& chore = which < 0 ? chores_.on_tick : chores_.on_hangup;
        if (chore) chore();
        continue;
      }
      if (!serving_) {
        log::info("stopped by {} while loading", strsignal(which));
        _exit(0);
      }
      if (seen_) {
        log::warn("stopped at once by a second signal ({})", strsignal(which));
        _exit(1);
      }
      log::info("{}: running requests finish, then the server stops", strsignal(which));
      seen_ = true;
      arrived_.notify_all();
    }
  }

  sigset_t signals_{};
  std::mutex mutex_;
  std::condition_variable arrived_;
  Chores chores_;
  bool serving_ = false;
  bool seen_ = false;
};

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int complain(const Error& error) {
  log::error("{}", error.message);
  return 1;
}

// Not ready at once, so that nobody sends anything new; what is on its way already is taken; then what runs
// may end. What is cut at last goes on at another server, if a router of ours asked for it.
void drain(Listener& listener, ApiFloor& floor, int delay_s, int timeout_s) {
  listener.begin_drain();
  if (delay_s > 0) {
    floor.slot.begin_leaving();
    std::this_thread::sleep_for(std::chrono::seconds(delay_s));
  }
  floor.slot.begin_drain();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  const auto running = [&] { return listener.active_exchanges() + floor.background.count(); };
  while (running() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (const int left = running(); left > 0) {
    log::warn("{} requests did not finish within --shutdown-timeout {} s and are cut", left, timeout_s);
  }
}

void reread_keys(KeyRing& ring, const std::string& path) {
  if (path.empty()) return;
  auto keys = read_key_file(path);
  if (!keys.ok()) return log::warn("the keys stay as they are: {}", keys.error().message);
  ring.replace_file_keys(std::move(keys).value());
  log::info("read {} keys anew", ring.user_keys());
}

void describe_identity(const TlsIdentity& identity) {
  log::info("the TLS certificate is of {}", log::safe(identity.describe()));
  if (identity.expired()) log::warn("the TLS certificate has expired; clients will refuse it");
}

void reread_identity(TlsIdentity* identity) {
  if (identity == nullptr) return;
  const Status read = identity->reload();
  if (!read.ok()) return log::warn("the TLS certificate stays as it is: {}", read.error().message);
  log::info("read the TLS certificate anew; running connections go on with the former");
  describe_identity(*identity);
}

Chores chores(ApiFloor& floor, const ServeOptions& options, std::shared_ptr<TlsIdentity> identity) {
  Chores chores;
  chores.on_hangup = [&floor, path = options.api_key_file, identity] {
    reread_keys(floor.keys, path);
    reread_identity(identity.get());
  };
  chores.on_tick = [identity] {
    if (identity != nullptr && identity->files_changed()) reread_identity(identity.get());
  };
  return chores;
}

int serve(ServeOptions options, SignalWatch& signals) {
  log::info("sluice {} serves {}", kVersion,
            log::safe(options.model.empty() ? "a simulation" : options.model));
  log::info("{}", describe(options));
  raise_descriptor_limit();
  ApiOptions api;
  api.version = kVersion;
  api.keys = {options.api_keys, {}, options.admin_api_keys};
  if (!options.api_key_file.empty()) {
    auto keys = read_key_file(options.api_key_file);
    if (!keys.ok()) return complain(keys.error());
    api.keys.from_file = std::move(keys).value();
  }
  api.metrics_without_key = options.metrics_without_key;
  api.responses_store_bytes = options.responses_store_bytes;
  api.limits = options.limits;
  api.log_requests = options.enable_log_requests;
  std::shared_ptr<TlsIdentity> identity;
  if (!options.tls.certfile.empty()) {
    auto read = TlsIdentity::load(options.tls);
    if (!read.ok()) return complain(read.error());
    identity = std::move(read).value();
    describe_identity(*identity);
    options.listen.tls = identity;
  }
  IoThreads threads(options.io_threads);
  const auto floor = make_api_floor(std::move(api), threads, options.tokenizer_threads);
  guard_door(options.listen, *floor);
  auto listener = Listener::start(options.listen, make_api_routes(*floor), threads);
  if (!listener.ok()) return complain(listener.error());
  std::unique_ptr<ProbeDoor> probes;
  if (options.probe.port != 0) {
    options.probe.host = options.listen.host;
    options.probe.stall = floor->options.health_stall;
    auto opened = ProbeDoor::open(options.probe, threads,
                                  {[&] { return health(*floor); }, [&] { return ready(*floor); }});
    if (!opened.ok()) return complain(opened.error());
    probes = std::move(opened).value();
  }
  signals.take_up(chores(*floor, options, identity));
  if (options.listen.host == "127.0.0.1" && floor->keys.user_keys() == 0) {
    log::info("listening on this machine only; --host 0.0.0.0 opens it to the network (then set --api-key)");
  }

  auto service =
      load_service(options, floor->metrics, [&](double fraction) { floor->slot.set_progress(fraction); });
  if (!service.ok()) {
    signals.take_up({});
    return complain(service.error());
  }
  signals.serving();
  floor->slot.serve(std::move(service).value());
  log::info("ready: {}://{}:{}/v1 serves {}", identity ? "https" : "http", options.listen.host,
            (*listener)->port(), log::safe(floor->slot.peek()->cards.front().id));
  if (!options.disable_log_stats) start_console(threads.at(0), floor->slot);

  signals.wait();
  drain(**listener, *floor, options.shutdown_delay_s, options.shutdown_timeout_s);
  signals.take_up({});
  listener->reset();
  probes.reset();
  floor->background.stop();
  floor->slot.clear();
  log::info("stopped");
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  using namespace sluice;
  ParsedOptions parsed = parse_serve_options(argc, argv, read_environment());
  if (!parsed.options) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  log::start(parsed.options->log_level);
  // Never destroyed: its thread outlives main's return.
  static SignalWatch& signals = *new SignalWatch;
  return serve(std::move(*parsed.options), signals);
}
