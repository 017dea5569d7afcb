// Which function answers which method and path. Built before the listener starts, then read-only: any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/net/exchange.h"
#include "server/net/http_message.h"

namespace sluice {

// Answers at once and returns null, or leaves the Responder that will. Called on the connection's I/O thread.
using RouteFunction = std::function<std::shared_ptr<Responder>(Exchange& exchange, HttpRequest&& request)>;

enum class Access : uint8_t {
  kEverybody,  // probes
  kUsers,
  kOperators,
};

struct Route {
  std::string method;
  std::string pattern;  // an exact path, or one that ends in "{rest}", which matches anything not empty
  RouteFunction answer;
  bool always_answered = false;  // even when the server has all the connections it wants
  Access access = Access::kUsers;
};

class Routes {
 public:
  void add(Route route) { routes_.push_back(std::move(route)); }

  struct Match {
    const Route* route = nullptr;  // null: see `allowed`
    std::string rest;
    std::string allowed;  // methods the path has, for 405; empty: the path is unknown, 404
  };
  // HEAD finds the GET route.
  Match find(std::string_view method, std::string_view path) const;
  const std::vector<Route>& all() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

// The value of `name` in a query string as sent; empty: not there.
std::string_view query_value(std::string_view query, std::string_view name);
// False when an escape is not %XX or hides a NUL.
bool percent_decode(std::string_view text, std::string& out);

}  // namespace sluice
