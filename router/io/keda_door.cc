#include "router/io/keda_door.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "router/keda/keda_server.h"

namespace sluice::router {
namespace {

constexpr const char* kLibrary = "libsluice_keda.so";

class Told final : public KedaSource {
 public:
  void tell(std::vector<KedaModel> models) {
    std::lock_guard lock(mutex_);
    models_ = std::move(models);
    told_.notify_all();
  }
  std::vector<KedaModel> models() const override {
    std::lock_guard lock(mutex_);
    return models_;
  }
  void wait(std::chrono::milliseconds most) const override {
    std::unique_lock lock(mutex_);
    told_.wait_for(lock, most);  // woken for nothing is looking once more
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable told_;
  std::vector<KedaModel> models_;
};

class KedaDoor final : public Errand {
 public:
  explicit KedaDoor(const Dispatcher& dispatcher) : dispatcher_(dispatcher) {}

  Status open(OpenKeda open, const std::string& address) {
    std::string fault;
    server_.reset(open(address, told_, fault));
    if (server_ == nullptr) return Error{ErrorCode::kIo, "--keda-port: " + fault, "--keda-port"};
    log::info("KEDA's external scaler is at port {}", server_->port());
    return {};
  }
  void tick(Seconds) override {
    std::vector<KedaModel> models;
    for (const auto& [name, told] : dispatcher_.demand_view().models()) {
      models.push_back({name, told.demand.replicas, is_active(told)});
    }
    told_.tell(std::move(models));
  }

 private:
  const Dispatcher& dispatcher_;
  Told told_;
  std::unique_ptr<KedaServer> server_;  // ends before what it is told
};

// Beside the program, then where the system looks for libraries. It stays open.
void* open_library(std::string& why) {
  char program[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program);
  std::string beside(program, length > 0 ? static_cast<size_t>(length) : 0);
  beside.resize(beside.rfind('/') + 1);  // of none: npos + 1
  beside += kLibrary;
  for (const char* place : {beside.c_str(), kLibrary}) {
    if (void* const library = dlopen(place, RTLD_NOW | RTLD_LOCAL)) return library;
    if (const char* words = dlerror(); words != nullptr && access(place, F_OK) == 0) why = words;
  }
  return nullptr;
}

}  // namespace

Result<std::unique_ptr<Errand>> open_keda_door(const KedaOptions& options, const Dispatcher& dispatcher) {
  std::string why = "this build has no " + std::string(kLibrary) + " beside the program (it needs gRPC)";
  void* const library = open_library(why);
  const auto open = library == nullptr ? nullptr : reinterpret_cast<OpenKeda>(dlsym(library, kOpenKeda));
  if (library != nullptr && open == nullptr) why = std::string(kLibrary) + " belongs to another build";
  if (open == nullptr) {
    return Error{ErrorCode::kUnsupported,
                 "--keda-port cannot be served: " + why +
                     ". KEDA's metrics-api scaler needs nothing of it: /autoscale/v1/models/MODEL.",
                 "--keda-port"};
  }
  auto door = std::make_unique<KedaDoor>(dispatcher);
  const bool is_v6 = options.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + options.host + "]" : options.host;
  SLUICE_TRY(door->open(open, host + ":" + std::to_string(options.port)));
  return std::unique_ptr<Errand>(std::move(door));
}

}  // namespace sluice::router
