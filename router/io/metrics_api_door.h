// The door at which kube-apiserver's aggregation layer asks for the Kubernetes metrics APIs: TLS both ways.
// Who shows no certificate of the front proxy's authority does not get in; whose name is not allowed gets
// 403. Identity headers are not read: the API server has judged its caller before it asks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "router/io/dispatcher.h"
#include "router/io/front_proxy.h"
#include "router/io/options_scaling.h"
#include "server/net/listener.h"

namespace sluice::router {

class MetricsApiDoor {
 public:
  // `dispatcher`, which lives on the first of `threads`, and these outlive it. Without a certificate file it
  // makes a certificate of its own; without an authority file it lets nobody in before let_in().
  static Result<std::unique_ptr<MetricsApiDoor>> open(const MetricsApiOptions& options,
                                                      Dispatcher& dispatcher, IoThreads& threads);

  // Who may ask from now on. On the I/O thread.
  void let_in(const FrontProxy& proxy);
  uint16_t port() const { return listener_->port(); }

 private:
  explicit MetricsApiDoor(std::shared_ptr<TlsIdentity> identity) : identity_(std::move(identity)) {}

  const std::shared_ptr<TlsIdentity> identity_;
  std::vector<std::string> names_;  // none: any
  std::unique_ptr<Listener> listener_;
};

}  // namespace sluice::router
