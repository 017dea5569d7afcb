// sluice-route: reads the flags, opens the door, looks for replicas, routes until a signal, drains. The only
// file of the router that knows signals, the environment and the exit code.
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <random>
#include <thread>

#include "base/log.h"
#include "router/io/keda_door.h"
#include "router/io/metrics_api_door.h"
#include "router/io/options.h"
#include "router/io/peers.h"
#include "router/io/pod_costs.h"
#include "router/io/routes.h"
#include "router/io/static_discovery.h"

namespace sluice::router {
namespace {

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int complain(const Error& error) {
  log::error("{}", error.message);
  return 1;
}

// Runs `task` on the I/O thread and waits for it.
template <class Task>
auto on(IoThread& io, Task task) {
  std::packaged_task<decltype(task())()> packaged(std::move(task));
  auto done = packaged.get_future();
  auto shared = std::make_shared<decltype(packaged)>(std::move(packaged));
  io.post([shared] { (*shared)(); });
  return done.get();
}

std::vector<std::unique_ptr<Discovery>> sources_of(const RouteOptions& options, KubernetesApi* api) {
  std::vector<std::unique_ptr<Discovery>> sources;
  if (!options.sources.replicas.empty()) sources.push_back(make_replica_list(options.sources.replicas));
  if (!options.sources.replicas_file.empty())
    sources.push_back(make_replica_file(options.sources.replicas_file));
  for (const FoundReplica& each : options.sources.dns_patterns) {
    sources.push_back(make_dns_discovery(each, options.sources.dns));
  }
  if (options.sources.kubernetes)
    sources.push_back(make_kubernetes_discovery(*api, *options.sources.kubernetes));
  return sources;
}

// Null where there are no others.
std::unique_ptr<Errand> peers_of(const RouteOptions& options, IoThread& io, KubernetesApi* api,
                                 Dispatcher& dispatcher) {
  std::vector<std::unique_ptr<Discovery>> sources;
  if (!options.scaling.peers.empty()) sources.push_back(make_replica_list(options.scaling.peers));
  if (!options.scaling.peer_service.empty()) {
    sources.push_back(make_kubernetes_discovery(
        *api, {.space = options.sources.kubernetes_space, .service = options.scaling.peer_service}));
  }
  if (sources.empty()) return nullptr;
  PeerOptions peers{.own_name = dispatcher.name(), .upstream = options.dispatcher.link.upstream};
  const DoorOptions& door = options.door;
  if (const auto& keys = door.admin_api_keys.empty() ? door.api_keys : door.admin_api_keys; !keys.empty())
    peers.api_key = keys.front();
  return ask_peers(io, dispatcher.demand(), std::move(sources), std::move(peers));
}

std::vector<std::unique_ptr<Errand>> errands_of(const RouteOptions& asked, IoThread& io, KubernetesApi* api,
                                                Dispatcher& dispatcher, MetricsApiDoor* door,
                                                std::unique_ptr<Errand> keda) {
  const ScalingOptions& options = asked.scaling;
  std::vector<std::unique_ptr<Errand>> errands;
  if (keda != nullptr) errands.push_back(std::move(keda));
  if (auto peers = peers_of(asked, io, api, dispatcher)) errands.push_back(std::move(peers));
  if (door != nullptr && options.metrics_api.requestheader_client_ca_file.empty()) {
    errands.push_back(watch_front_proxy(*api, [door](const FrontProxy& proxy) { door->let_in(proxy); }));
  }
  for (const ScaleTargetOptions& target : options.targets) {
    errands.push_back(make_scale_target(*api, dispatcher, target));
  }
  if (options.pod_deletion_cost) errands.push_back(make_pod_costs(*api, dispatcher));
  return errands;
}

// Not ready at once, so that nobody sends anything new; what is on its way already is taken; then what runs
// may end.
void drain(Listener& listener, IoThread& io, Dispatcher& dispatcher, int delay_s, int timeout_s) {
  listener.begin_drain();
  if (delay_s > 0) {
    on(io, [&] { dispatcher.begin_leaving(); });
    std::this_thread::sleep_for(std::chrono::seconds(delay_s));
  }
  on(io, [&] { dispatcher.begin_drain(); });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  // Connections that were not told of the end are there a moment longer, and may still ask.
  while ((listener.active_exchanges() > 0 || listener.connections() > 0) &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (const int left = listener.active_exchanges(); left > 0) {
    log::warn("{} requests did not finish within --shutdown-timeout {} s and are cut", left, timeout_s);
  }
}

int route(RouteOptions options, const sigset_t& signals) {
  log::info("{}", describe(options));
  raise_descriptor_limit();
  auto door = Door::open(options.door);
  if (!door.ok()) return complain(door.error());
  (*door)->guard(options.listen);
  auto access_log = AccessLog::open(options.access_log);
  if (!access_log.ok()) return complain(access_log.error());
  std::random_device device;
  const uint64_t secret = (uint64_t{device()} << 32) | device();
  options.dispatcher.core.seed = options.dispatcher.core.index.secret = options.dispatcher.sketch.secret =
      secret;

  auto trust = TlsTrust::load(options.sources.trust);
  if (!trust.ok()) return complain(trust.error());
  options.dispatcher.link.upstream.tls = std::move(trust).value();
  if (!options.sources.trust.checks_server) log::warn("--replica-insecure: any certificate is believed");
  auto& kubernetes = options.sources.kubernetes_api;
  if (kubernetes && kubernetes->url.scheme == "https") {
    auto api_trust = TlsTrust::load({.authorities = {"--k8s-ca-file", options.sources.kubernetes_ca_file}});
    if (!api_trust.ok()) return complain(api_trust.error());
    kubernetes->tls = std::move(api_trust).value();
  }

  IoThreads threads(1);
  IoThread& io = threads.at(0);
  std::unique_ptr<KubernetesApi> api;
  if (kubernetes) api = on(io, [&] { return std::make_unique<KubernetesApi>(io, *kubernetes); });
  auto dispatcher = on(io, [&] { return std::make_unique<Dispatcher>(io, options.dispatcher, *access_log); });
  auto listener = Listener::start(options.listen, make_routes(*dispatcher), threads);
  if (!listener.ok()) return complain(listener.error());
  std::unique_ptr<ProbeDoor> probes;
  if (options.probe.port != 0) {
    options.probe.host = options.listen.host;
    auto opened = ProbeDoor::open(options.probe, threads, probe_answers(*dispatcher));
    if (!opened.ok()) return complain(opened.error());
    probes = std::move(opened).value();
  }
  std::unique_ptr<MetricsApiDoor> metrics_api;
  if (options.scaling.metrics_api.port != 0) {
    auto opened = MetricsApiDoor::open(options.scaling.metrics_api, *dispatcher, threads);
    if (!opened.ok()) return complain(opened.error());
    metrics_api = std::move(opened).value();
    log::info("the Kubernetes metrics APIs are at port {}", metrics_api->port());
  }
  std::unique_ptr<Errand> keda;
  if (options.scaling.keda.port != 0) {
    auto opened = open_keda_door(options.scaling.keda, *dispatcher);
    if (!opened.ok()) return complain(opened.error());
    keda = std::move(opened).value();
  }
  const Status started = on(io, [&] {
    return dispatcher->start(sources_of(options, api.get()), errands_of(options, io, api.get(), *dispatcher,
                                                                        metrics_api.get(), std::move(keda)));
  });
  int code = 0;
  if (started.ok()) {
    log::info("routing at {}://{}:{}", options.listen.tls ? "https" : "http", options.listen.host,
              (*listener)->port());
    for (;;) {
      int which = 0;
      sigwait(&signals, &which);
      if (which != SIGHUP) break;
      (*door)->reread();
      io.post([&] {
        dispatcher->refresh_sources();
        access_log->reopen();
      });
    }
    log::info("stopping: running requests finish");
    // A second signal ends the process at once.
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    drain(**listener, io, *dispatcher, options.shutdown_delay_s, options.shutdown_timeout_s);
  } else {
    code = complain(started.error());
  }
  listener->reset();
  probes.reset();
  on(io, [&] { dispatcher->forget_errands(); });  // they know the door
  metrics_api.reset();
  on(io, [&] {
    dispatcher.reset();
    api.reset();
  });
  log::info("stopped");
  return code;
}

}  // namespace
}  // namespace sluice::router

int main(int argc, char** argv) {
  using namespace sluice;
  using namespace sluice::router;
  RouteEnvironment environment;
  environment.replica_api_key = from_environment("SLUICE_REPLICA_API_KEY");
  environment.api_key = from_environment("SLUICE_API_KEY");
  environment.sources.kubernetes_host = from_environment("KUBERNETES_SERVICE_HOST");
  environment.sources.kubernetes_port = from_environment("KUBERNETES_SERVICE_PORT");
  ParsedRouteOptions parsed = parse_route_options(argc, argv, environment);
  if (!parsed.options) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  log::start(parsed.options->log_level);
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int each : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return route(std::move(*parsed.options), signals);
}
