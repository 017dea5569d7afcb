// KEDA's external-push scaler over gRPC, as a library of its own beside the router (libsluice_keda.so),
// opened at run time when it is wanted: so that the router starts without gRPC, and builds without it. It
// asks its source on threads of its own.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace sluice::router {

struct KedaModel {
  std::string model;
  double demand = 0;    // replicas
  bool active = false;  // not to be scaled to zero
};

// What is told. Any thread.
class KedaSource {
 public:
  virtual ~KedaSource() = default;
  virtual std::vector<KedaModel> models() const = 0;
  // Until they are told anew, at most so long.
  virtual void wait(std::chrono::milliseconds most) const = 0;
};

// Listens until it is destroyed, which ends the streams.
class KedaServer {
 public:
  virtual ~KedaServer() = default;
  virtual int port() const = 0;
};

// `source` outlives the server. nullptr with a sentence in `fault` when it cannot listen there. The name
// changes with this contract: a library of another build is then not found.
using OpenKeda = KedaServer* (*)(const std::string& address, const KedaSource& source, std::string& fault);
inline constexpr const char* kOpenKeda = "sluice_open_keda_1";

}  // namespace sluice::router
