// Asks the router again and again how its load stands, on a thread of its own, so that a router that does not
// answer keeps nobody waiting. Any thread may look at what it said last.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "deploy/up/router_view.h"

namespace sluice::up {

struct RouterDoor {
  std::string url;  // http://127.0.0.1:8000
  std::string key;  // empty: none
};

class RouterWatch {
 public:
  static Result<std::unique_ptr<RouterWatch>> start(const RouterDoor& door);
  virtual ~RouterWatch() = default;

  // What came since the last call of this; none: nothing did.
  virtual std::optional<RouterView> take() = 0;
};

}  // namespace sluice::up
