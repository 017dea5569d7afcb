// What route functions are made of. Each part runs on the I/O thread of its exchange.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/api/work_pool.h"
#include "server/net/routes.h"

namespace sluice {

HttpResponse json_response(std::string body, int status = 200);

// A browser sends text/plain or a form to any address without asking; only JSON needs the page's owner's
// consent. Compressed bodies are refused.
Status require_json(const HttpRequest& request);

// False: there, and not a whole number within [0, most].
bool read_number(std::string_view text, int64_t most, int64_t& value);

using Answerer = std::function<HttpResponse(const HttpRequest& request)>;

// A route that answers at once. Those not for users are answered always.
Route simple_route(std::string method, std::string pattern, Access access, Answerer answerer);

// Waits for a job on the pool; the answer is dropped when the client has left.
class PoolAnswer final : public Responder, public std::enable_shared_from_this<PoolAnswer> {
 public:
  explicit PoolAnswer(Exchange& exchange) : exchange_(exchange) {}
  void start(WorkPool& pool, std::function<HttpResponse()> job);

 private:
  Exchange& exchange_;
};

}  // namespace sluice
