// A request that the core steers, whoever waits for its answer: a client (Relay) or nobody (Mirror). What the
// core wants arrives as these calls, in the order of its actions. One I/O thread.
#pragma once

#include <string>

#include "router/core/action.h"
#include "server/net/http_message.h"

namespace sluice::router {

class Journey {
 public:
  virtual ~Journey() = default;

  virtual RequestId id() const = 0;
  // Its name in replicas' events is request().request_id.
  virtual const HttpRequest& request() const = 0;
  virtual const std::string& model() const = 0;  // behind its alias
  virtual Seconds arrived() const = 0;
  virtual bool is_held() const = 0;

  virtual void dispatch(const Action& action) = 0;
  virtual void relay(Attempt attempt) = 0;
  virtual void cancel(Attempt attempt) = 0;
  virtual void hold() = 0;
  virtual void reject(const Action& action) = 0;
  virtual void fail(const std::string& message) = 0;
  // Some four times a second.
  virtual void tick(Seconds now) = 0;
};

}  // namespace sluice::router
