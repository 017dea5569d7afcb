#include "server/api/route_parts.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "server/net/io_threads.h"
#include "server/wire/error_body.h"

namespace sluice {

HttpResponse json_response(std::string body, int status) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

Status require_json(const HttpRequest& request) {
  const std::string* type = request.headers.find("content-type");
  std::string essence = type == nullptr ? "" : type->substr(0, type->find(';'));
  while (!essence.empty() && essence.back() == ' ') essence.pop_back();
  for (char& c : essence) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (essence != "application/json") {
    return invalid_argument("", "The request's Content-Type must be application/json.");
  }
  if (const std::string* encoding = request.headers.find("content-encoding");
      encoding != nullptr && *encoding != "identity") {
    return invalid_argument("", "A compressed body is not accepted; send it without Content-Encoding.");
  }
  return {};
}

bool read_number(std::string_view text, int64_t most, int64_t& value) {
  if (text.empty()) return true;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= most;
}

Route simple_route(std::string method, std::string pattern, Access access, Answerer answerer) {
  return {std::move(method), std::move(pattern),
          [answerer = std::move(answerer)](Exchange& exchange,
                                           HttpRequest&& request) -> std::shared_ptr<Responder> {
            exchange.respond(answerer(request));
            return nullptr;
          },
          access != Access::kUsers, access};
}

void PoolAnswer::start(WorkPool& pool, std::function<HttpResponse()> job) {
  const bool taken = pool.try_run([weak = weak_from_this(), &io = exchange_.io(), job = std::move(job)] {
    if (weak.expired()) return;
    auto response = std::make_shared<HttpResponse>(job());
    io.post([weak, response] {
      if (const auto self = weak.lock()) self->exchange_.respond(std::move(*response));
    });
  });
  if (!taken)
    exchange_.respond(
        error_response({ErrorCode::kOverloaded, "Too many requests wait; try again soon.", "", 1}));
}

}  // namespace sluice
