#include "server/api/api_routes.h"

#include <limits>

#include "base/check.h"
#include "base/log.h"
#include "server/api/kv_event_stream.h"
#include "server/api/plans.h"
#include "server/api/pooled_answer.h"
#include "server/api/responses_routes.h"
#include "server/api/route_parts.h"
#include "server/wire/anthropic_request.h"
#include "server/wire/error_body.h"
#include "server/wire/json_out.h"
#include "server/wire/openapi.h"

namespace sluice {
namespace {

// For the log: the trace the client put the request in.
std::string trace_of(const HttpRequest& request) {
  const std::string* trace = request.headers.find("traceparent");
  return trace == nullptr ? "" : ", traceparent " + log::safe(*trace, 64);
}

using Planner = Result<GenerationPlan> (*)(const ModelService&, const PlanRequest&);

RouteFunction generation_route(ApiFloor& floor, Planner planner) {
  return [&floor, planner](Exchange& exchange, HttpRequest&& request) -> std::shared_ptr<Responder> {
    const ErrorStyle style = error_style_of(request.path);
    const Status acceptable = require_json(request);
    auto service = floor.slot.get();
    if (!acceptable.ok() || !service.ok()) {
      exchange.respond(
          error_response(acceptable.ok() ? service.error() : acceptable.error(), style, request.request_id));
      return nullptr;
    }
    if (floor.options.log_requests)
      log::info("request {}: {} with {} bytes{}", request.request_id, request.path, request.body.size(),
                trace_of(request));
    EventSwitch& events = *floor.switches[static_cast<size_t>(exchange.io().index())];
    auto generation =
        std::make_shared<Generation>(exchange, *service, events, *floor.grammar_pool,
                                     GenerationRequest{request.request_id, request.arrival, style});
    generation->keep(floor.active.add(request.request_id, exchange.io(), generation));
    // A template of a client's own may take long: never on a thread that others' streams wait for.
    const bool may_take_long = (*service)->dialect.trusts_request_template;
    const size_t bytes = may_take_long ? std::numeric_limits<size_t>::max() : request.body.size();
    auto prepare = [service = *service, planner,
                    plan_request = PlanRequest{std::move(request.body), std::move(request.request_id)}] {
      return planner(*service, plan_request);
    };
    generation->start(bytes, *floor.pool, std::move(prepare));
    return generation;
  };
}

RouteFunction pooled_route(ApiFloor& floor,
                           Result<PooledPlan> (*planner)(const ModelService&, const PlanRequest&)) {
  return [&floor, planner](Exchange& exchange, HttpRequest&& request) -> std::shared_ptr<Responder> {
    const Status acceptable = require_json(request);
    auto service = floor.slot.get();
    if (!acceptable.ok() || !service.ok()) {
      exchange.respond(error_response(acceptable.ok() ? service.error() : acceptable.error()));
      return nullptr;
    }
    EventSwitch& events = *floor.switches[static_cast<size_t>(exchange.io().index())];
    auto answer =
        std::make_shared<PooledAnswer>(exchange, *service, events, request.request_id, request.arrival);
    answer->start(*floor.pool,
                  [service = *service, planner,
                   plan_request = PlanRequest{std::move(request.body), std::move(request.request_id)}] {
                    return planner(*service, plan_request);
                  });
    return answer;
  };
}

Result<std::string> tokenize(const ModelService& service, const PlanRequest& asked) {
  SLUICE_ASSIGN(TokenizeRequest request, parse_tokenize_request(asked.body, service.limits));
  SLUICE_ASSIGN(const std::string model, service.answer_name(request.model));
  std::vector<int32_t> ids;
  if (request.chat_body.empty()) {
    SLUICE_ASSIGN(ids, service.tokenizer->encode(request.prompt, request.add_special_tokens, true));
  } else {
    SLUICE_ASSIGN(ChatRequest chat, parse_chat_request(request.chat_body, service.limits, service.dialect));
    SLUICE_ASSIGN(ids, encode_chat(service, chat));
  }
  std::vector<std::string> strings;
  if (request.return_token_strings) {
    for (int32_t id : ids) strings.push_back(service.tokenizer->token_bytes(id));
  }
  return tokenize_body(ids, strings, service.limits.max_model_len);
}

Result<std::string> count_message_tokens(const ModelService& service, const PlanRequest& asked) {
  SLUICE_ASSIGN(ChatRequest chat, parse_messages_request(asked.body, service.limits, service.dialect, true));
  SLUICE_ASSIGN(const std::string model, service.answer_name(chat.fields.model));
  SLUICE_ASSIGN(const std::vector<int32_t> ids, encode_chat(service, chat));
  return token_count_body(ids.size());
}

Result<std::string> detokenize(const ModelService& service, const PlanRequest& asked) {
  SLUICE_ASSIGN(DetokenizeRequest request, parse_detokenize_request(asked.body, service.limits));
  SLUICE_ASSIGN(const std::string model, service.answer_name(request.model));
  return detokenize_body(service.tokenizer->decode(request.ids, false));
}

template <class Work>  // Result<std::string>(const ModelService&, const PlanRequest&), any thread
RouteFunction pool_route(ApiFloor& floor, Work work) {
  return [&floor, work](Exchange& exchange, HttpRequest&& request) -> std::shared_ptr<Responder> {
    const Status acceptable = require_json(request);
    auto service = floor.slot.get();
    if (!acceptable.ok() || !service.ok()) {
      exchange.respond(error_response(acceptable.ok() ? service.error() : acceptable.error()));
      return nullptr;
    }
    auto answer = std::make_shared<PoolAnswer>(exchange);
    answer->start(*floor.pool, [service = *service, work, style = error_style_of(request.path),
                                asked = PlanRequest{std::move(request.body), request.request_id}] {
      const Result<std::string> result = work(*service, asked);
      return result.ok() ? json_response(*result) : error_response(result.error(), style, asked.request_id);
    });
    return answer;
  };
}

HttpResponse models(const ApiFloor& floor) {
  const auto service = floor.slot.get();
  if (!service.ok()) return error_response(service.error());
  return json_response(model_list_body((*service)->cards));
}

HttpResponse model(const ApiFloor& floor, const std::string& id) {
  const auto service = floor.slot.get();
  if (!service.ok()) return error_response(service.error());
  for (const ModelCard& card : (*service)->cards) {
    if (card.id == id) return json_response(model_card_body(card));
  }
  return error_response((*service)->answer_name(id).error());
}

// `id`: an answer's, or the request's.
HttpResponse abort_request(ApiFloor& floor, std::string_view id, std::string_view prefix) {
  const std::string request_id(id.starts_with(prefix) ? id.substr(prefix.size()) : id);
  if (!floor.active.abort(request_id)) {
    return error_response(
        {ErrorCode::kNotFound, "No request '" + log::safe(std::string(id), 64) + "' is running.", "id"});
  }
  return json_response(deletion_body(id));
}

// Last: it describes the others.
void add_description(Routes& routes, const ApiFloor& floor) {
  const auto document = std::make_shared<std::string>();
  routes.add(simple_route("GET", "/openapi.json", Access::kUsers,
                          [document](const HttpRequest&) { return json_response(*document); }));
  const auto needs_key = [&](const std::string& method, std::string path) {
    if (const size_t id = path.find("{id}"); id != std::string::npos) path.replace(id, 4, "x");
    const Routes::Match match = routes.find(method, path);
    SLUICE_CHECK(match.route != nullptr);
    return !floor.keys.admits({}, match.route->access);
  };
  *document = openapi_document({floor.options.version, floor.options.limits, needs_key});
}

}  // namespace

HttpResponse health(const ApiFloor& floor) {
  const auto service = floor.slot.peek();
  if (service != nullptr && !service->engine->makes_progress(floor.options.health_stall)) {
    return error_response({ErrorCode::kUnavailable, "The engine has work and makes no progress.", "", 5});
  }
  return json_response(R"({"status":"ok"})");
}

HttpResponse ready(const ApiFloor& floor) {
  const auto service = floor.slot.get();
  if (service.ok() && floor.slot.phase() == ServingPhase::kLeaving) {
    return error_response({ErrorCode::kUnavailable, "The server is about to shut down.", "", 5});
  }
  if (service.ok()) return health(floor);
  HttpResponse response = error_response(service.error());
  if (const auto fraction = floor.slot.progress()) {
    response.body.pop_back();
    append_json_member(response.body, "loading", *fraction);
    response.body += '}';
  }
  return response;
}

std::unique_ptr<ApiFloor> make_api_floor(ApiOptions options, IoThreads& threads, int worker_threads) {
  auto floor = std::make_unique<ApiFloor>(std::move(options));
  for (int i = 0; i < threads.count(); ++i)
    floor->switches.push_back(std::make_unique<EventSwitch>(threads.at(i)));
  floor->pool = std::make_unique<WorkPool>(worker_threads, 1024);
  floor->grammar_pool = std::make_unique<WorkPool>(1, 256);
  return floor;
}

Routes make_api_routes(ApiFloor& floor) {
  Routes routes;
  routes.add({"POST", "/v1/chat/completions", generation_route(floor, plan_chat)});
  routes.add({"POST", "/v1/messages", generation_route(floor, plan_messages)});
  routes.add({"POST", "/v1/messages/count_tokens", pool_route(floor, count_message_tokens)});
  routes.add({"POST", "/v1/completions", generation_route(floor, plan_completion)});
  routes.add({"POST", "/v1/chat/completions/render", pool_route(floor, render_chat_request)});
  routes.add({"POST", "/v1/completions/render", pool_route(floor, render_completion_request)});
  for (const auto& [path, prefix] : {std::pair("/v1/chat/completions/{rest}", "chatcmpl-"),
                                     std::pair("/v1/completions/{rest}", "cmpl-")}) {
    routes.add(simple_route("DELETE", path, Access::kUsers,
                            [&floor, prefix = std::string_view(prefix)](const HttpRequest& r) {
                              return abort_request(floor, r.path_rest, prefix);
                            }));
  }
  add_responses_routes(routes, floor);
  routes.add({"POST", "/v1/embeddings", pooled_route(floor, plan_embeddings)});
  for (const char* path : {"/v1/score", "/score"})
    routes.add({"POST", path, pooled_route(floor, plan_score)});
  for (const char* path : {"/v1/rerank", "/v2/rerank", "/rerank"})
    routes.add({"POST", path, pooled_route(floor, plan_rerank)});
  routes.add({"POST", "/tokenize", pool_route(floor, tokenize)});
  routes.add({"POST", "/detokenize", pool_route(floor, detokenize)});
  routes.add(simple_route("GET", "/v1/models", Access::kUsers,
                          [&floor](const HttpRequest&) { return models(floor); }));
  routes.add(simple_route("GET", "/v1/models/{rest}", Access::kUsers,
                          [&floor](const HttpRequest& r) { return model(floor, r.path_rest); }));
  routes.add(simple_route("GET", "/health", Access::kEverybody,
                          [&floor](const HttpRequest&) { return health(floor); }));
  routes.add(simple_route("GET", "/ready", Access::kEverybody,
                          [&floor](const HttpRequest&) { return ready(floor); }));
  routes.add(simple_route("GET", "/ping", Access::kEverybody,
                          [&floor](const HttpRequest&) { return health(floor); }));
  routes.add(simple_route("POST", "/ping", Access::kEverybody,
                          [&floor](const HttpRequest&) { return health(floor); }));
  routes.add(simple_route("GET", "/version", Access::kOperators, [&floor](const HttpRequest&) {
    return json_response(version_body(floor.options.version));
  }));
  routes.add(simple_route("GET", "/metrics",
                          floor.options.metrics_without_key ? Access::kEverybody : Access::kOperators,
                          [&floor](const HttpRequest&) {
                            HttpResponse response;
                            response.content_type = "text/plain; version=0.0.4; charset=utf-8";
                            response.body = floor.metrics.expose();
                            return response;
                          }));
  routes.add(kv_events_route(floor));
  add_description(routes, floor);
  return routes;
}

void guard_door(ListenOptions& options, ApiFloor& floor) {
  options.render_fault = fault_response;
  options.on_exchange = [&floor](const ExchangeRecord& record) {
    floor.metrics.count_exchange(record.route, record.method, record.status);
  };
  options.admit = [&floor](const HttpRequest& head, const Route& route) -> std::optional<HttpResponse> {
    if (floor.keys.admits(head.headers, route.access)) return std::nullopt;
    return error_response(
        {ErrorCode::kUnauthorized,
         route.access == Access::kOperators
             ? "The key is missing or wrong; this endpoint wants 'Authorization: Bearer KEY' with the "
               "server's --admin-api-key, or with --api-key where no such key is set."
             : "The API key is missing or wrong; send 'Authorization: Bearer KEY' with the server's "
               "--api-key."},
        error_style_of(head.path));
  };
}

}  // namespace sluice
