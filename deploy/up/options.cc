#include "deploy/up/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace sluice::up {
namespace {

constexpr int kMostReplicas = 99;
constexpr std::string_view kHelp =
    R"(usage: sluice up [--replicas MIN..MAX] MODEL [flags of sluice serve] [-- flags of sluice route]

Serves MODEL on this machine by as many replicas as its load asks for, behind one router: the same signal and
the same arithmetic as a Kubernetes HorizontalPodAutoscaler, without Kubernetes. Ctrl-C stops all of it, a
second one at once.

  --replicas MIN..MAX            bounds; one number: always so many; 0..N: none while nobody asks (1..4)
  --scale-down-window SECONDS    so long a replica was not needed before it goes (60)
  --startup-timeout SECONDS      a replica that loads for longer is started anew (900)
  --host, --port                 where to listen (127.0.0.1, 8000)
  --shutdown-timeout SECONDS     that running requests have after Ctrl-C (30)
  --api-key, --api-key-file, --admin-api-key, --ssl-certfile, --ssl-keyfile
                                 of the door, as of sluice serve; replicas are reached through it alone
  --ttft-target, --slo-ttft, --slo-itl, --predict-traffic, --policy, --access-log, --probe-port,
  --max-connections, --model-alias  the router's, see sluice route --help; after -- any other of its flags

All else goes to each replica as it stands: sluice serve --help. Unless --threads is given, each replica
computes with its share of the cores as if all MAX ran; GPUs are given out in turn.

  sluice up --replicas 1..4 model.gguf
  sluice up --replicas 0..8 --simulate h100-8b --port 9000
)";

// Flags with a value that are the router's.
constexpr std::string_view kRouterFlags[] = {
    "--api-key",    "--api-key-file", "--admin-api-key",   "--ssl-certfile", "--ssl-keyfile",
    "--access-log", "--ttft-target",  "--slo-ttft",        "--slo-itl",      "--predict-traffic",
    "--policy",     "--probe-port",   "--max-connections", "--model-alias"};

bool parse_number(std::string_view text, auto& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

class Reader {
 public:
  explicit Reader(const std::vector<std::string>& words) : words_(words) {}

  // An empty string when all is well.
  std::string read(UpOptions& options) {
    while (at_ < words_.size()) {
      const std::string& word = words_[at_++];
      if (word == "--") {
        options.router_flags.insert(options.router_flags.end(), words_.begin() + static_cast<long>(at_),
                                    words_.end());
        break;
      }
      const size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
      name_ = word.substr(0, equals);
      inline_value_ = equals == std::string::npos ? std::nullopt : std::optional(word.substr(equals + 1));
      if (!take(options)) {
        note(options);
        options.server_flags.push_back(word);
      }
      if (!fault_.empty()) return fault_;
    }
    return {};
  }

 private:
  std::string value() {
    if (inline_value_) return *inline_value_;
    if (at_ < words_.size()) return words_[at_++];
    fault_ = name_ + " needs a value.";
    return {};
  }
  void number(auto& into, double least, double most) {
    const std::string text = value();
    if (!fault_.empty()) return;
    if (!parse_number(text, into) || !(into >= least) || !(into <= most))
      fault_ = fmt::format("{} is '{}'; it must be a number from {} to {}.", name_, text, least, most);
  }

  // Of a word that is ours or the router's; false: it is the server's.
  bool take(UpOptions& o) {
    if (name_ == "--replicas") {
      replicas(o);
    } else if (name_ == "--scale-down-window") {
      number(o.scale_down_window, 1, 86'400);
    } else if (name_ == "--startup-timeout") {
      number(o.startup_timeout, 1, 86'400);
    } else if (name_ == "--shutdown-timeout") {
      number(o.shutdown_timeout, 0, 86'400);
    } else if (name_ == "--host") {
      o.host = value();
    } else if (name_ == "--port") {
      number(o.port, 0, 65'535);
    } else if (name_ == "--ssl-cert-reqs" || name_ == "--ssl-ca-certs") {
      fault_ = name_ + " is of no use here: the supervisor asks the router as well, and has no certificate.";
    } else if (std::ranges::find(kRouterFlags, name_) != std::end(kRouterFlags)) {
      const std::string text = value();
      if (name_ == "--ssl-certfile") o.has_tls = true;
      if (name_ == "--api-key-file") o.key_file = text;
      // A client's key opens the router's own pages only where there is no operator's.
      if (name_ == "--admin-api-key") operator_key_ = o.key = text;
      if (name_ == "--api-key" && operator_key_.empty()) o.key = text;
      o.router_flags.insert(o.router_flags.end(), {name_, text});
    } else {
      return false;
    }
    return true;
  }

  void replicas(UpOptions& o) {
    const std::string text = value();
    if (!fault_.empty()) return;
    const size_t dots = text.find("..");
    const std::string_view low = std::string_view(text).substr(0, dots);
    const std::string_view high = dots == std::string::npos ? low : std::string_view(text).substr(dots + 2);
    if (!parse_number(low, o.min_replicas) || !parse_number(high, o.max_replicas) || o.min_replicas < 0 ||
        o.max_replicas < std::max(o.min_replicas, 1) || o.max_replicas > kMostReplicas) {
      fault_ = fmt::format("--replicas is '{}'; it must be MIN..MAX such as 1..4, or a number from 1 to {}.",
                           text, kMostReplicas);
    }
  }

  void note(UpOptions& o) const {
    if (name_ == "--threads") o.names_threads = true;
    if (name_ == "--gpu-memory-utilization") o.names_gpu_memory = true;
    if (name_ == "--device" || name_ == "--tensor-parallel-size" || name_ == "-tp") o.names_device = true;
    if (name_ == "--simulate") o.is_simulated = true;
  }

  const std::vector<std::string>& words_;
  size_t at_ = 0;
  std::string name_, fault_, operator_key_;
  std::optional<std::string> inline_value_;
};

}  // namespace

ParsedUpOptions parse_up_options(const std::vector<std::string>& arguments) {
  ParsedUpOptions parsed;
  if (std::ranges::count(arguments, "--help") + std::ranges::count(arguments, "-h") > 0) {
    parsed.text = kHelp;
    return parsed;
  }
  UpOptions options;
  std::string fault = Reader(arguments).read(options);
  if (fault.empty() && options.server_flags.empty())
    fault = "MODEL is required: a file, a directory or a name on the Hub; or --simulate COST_MODEL.";
  if (!fault.empty()) {
    parsed.text = "error: " + fault + "\nsluice up --help tells more.\n";
    parsed.exit_code = 2;
    return parsed;
  }
  parsed.options = std::move(options);
  return parsed;
}

HpaSpec hpa_spec(const UpOptions& options) {
  HpaSpec spec;
  spec.min_replicas = options.min_replicas;
  spec.max_replicas = options.max_replicas;
  spec.tolerance = 0;  // demand is a whole number already, and has its own dead band
  spec.sync = 1;
  spec.down.stabilization = options.scale_down_window;
  return spec;
}

}  // namespace sluice::up
