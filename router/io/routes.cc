#include "router/io/routes.h"

#include <algorithm>
#include <set>

#include "router/io/explain.h"
#include "router/io/exposition.h"
#include "router/io/outgoing.h"
#include "router/io/peers.h"
#include "server/wire/error_body.h"
#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

// Asked again after a failure they do no harm; those that begin something that stays do.
constexpr struct {
  const char* method;
  const char* path;
  bool has_body;
  bool can_continue;
  bool retryable;
} kPassed[] = {
    {"POST", "/v1/chat/completions", true, true, true},
    {"POST", "/v1/completions", true, true, true},
    {"POST", "/v1/responses", true, false, true},
    {"POST", "/v1/messages", true, false, true},
    {"POST", "/v1/messages/count_tokens", true, false, true},
    {"POST", "/v1/embeddings", true, false, true},
    {"POST", "/v1/score", true, false, true},
    {"POST", "/score", true, false, true},
    {"POST", "/v1/rerank", true, false, true},
    {"POST", "/v2/rerank", true, false, true},
    {"POST", "/rerank", true, false, true},
    {"POST", "/pooling", true, false, true},
    {"POST", "/classify", true, false, true},
    {"POST", "/tokenize", true, false, true},
    {"POST", "/detokenize", true, false, true},
    {"POST", "/v1/chat/completions/render", true, false, true},
    {"POST", "/v1/completions/render", true, false, true},
};

std::shared_ptr<Responder> pass_on(Dispatcher& dispatcher, Exchange& exchange, HttpRequest&& request,
                                   const Relay::Endpoint& endpoint) {
  const ErrorStyle style = error_style_of(request.path);
  if (dispatcher.draining()) {
    ++dispatcher.counters().shed["draining"];
    ++dispatcher.counters().requests[{endpoint.path, 503}];
    exchange.respond(error_response(
        {ErrorCode::kUnavailable, "The router is stopping; ask again, and another will answer.", "", 1},
        style, request.request_id));
    return nullptr;
  }
  Relay::Content content;
  if (endpoint.has_body) {
    content.body = std::make_shared<const std::string>(std::move(request.body));
    auto scan = scan_body(*content.body);
    if (!scan.ok()) {
      ++dispatcher.counters().requests[{endpoint.path, 400}];
      exchange.respond(error_response(scan.error(), style, request.request_id));
      return nullptr;
    }
    content.scan = std::move(scan).value();
  }
  auto relay =
      std::make_shared<Relay>(dispatcher, exchange, std::move(request), std::move(content), endpoint);
  relay->start();
  if (endpoint.has_body) dispatcher.shadow(*relay);
  return relay;
}

RouteFunction answered_by(std::function<HttpResponse(const HttpRequest& request)> answer) {
  return [answer = std::move(answer)](Exchange& exchange, HttpRequest&& request) {
    exchange.respond(answer(request));
    return std::shared_ptr<Responder>();
  };
}

HttpResponse text(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

HttpResponse json(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

HttpResponse ready(const Dispatcher& dispatcher) {
  if (dispatcher.leaving()) return text(503, "draining\n");
  return text(200, "ready, " + std::to_string(dispatcher.ready_replicas()) + " replicas ready\n");
}

// Cards by id; of several replicas' the first.
std::map<std::string, std::string> cards_of(const Dispatcher& dispatcher) {
  std::map<std::string, std::string> cards;
  for (const auto& [name, link] : dispatcher.links()) {
    if (link->id() == kNoReplica) continue;
    for (const ServedModel& model : link->models()) cards.try_emplace(model.id, model.card);
    for (const std::string& model : link->found().models) {
      std::string card = R"({"id":)";
      append_json_string(card, model);
      cards.try_emplace(model, card + R"(,"object":"model","owned_by":"sluice"})");
    }
  }
  for (const auto& [alias, targets] : dispatcher.options().sketch.aliases) {
    const auto served = std::ranges::find_if(
        targets, [&](const AliasTarget& target) { return cards.contains(target.model); });
    if (served == targets.end() || cards.contains(alias)) continue;
    std::string card = R"({"id":)";
    append_json_string(card, alias);
    card += R"(,"object":"model","owned_by":"sluice","root":)";
    append_json_string(card, served->model);
    cards.emplace(alias, card + "}");
  }
  return cards;
}

HttpResponse one_model(const Dispatcher& dispatcher, const std::string& id) {
  const auto cards = cards_of(dispatcher);
  const auto at = cards.find(id);
  if (at != cards.end()) return json(at->second);
  return error_response({ErrorCode::kNotFound, "No replica serves a model of that name.", "model"});
}

HttpResponse explain(Dispatcher& dispatcher, const HttpRequest& request) {
  auto scan = scan_body(request.body);
  if (!scan.ok()) return error_response(scan.error());
  const Seconds now = dispatcher.now();
  const RequestSketch sketch = dispatcher.sketch_of(request, *scan, now);
  return json(explain_json(dispatcher.core().consider(sketch, now), dispatcher));
}

// Answers that a replica keeps under an id: whoever has it answers, the others say 404.
class AskAll final : public Responder, public UpstreamSink {
 public:
  AskAll(Dispatcher& dispatcher, Exchange& exchange, HttpRequest&& request)
      : dispatcher_(dispatcher), exchange_(exchange), request_(std::move(request)) {
    for (const auto& [name, link] : dispatcher.links()) {
      if (link->id() != kNoReplica && !dispatcher.is_sick(link->id())) names_.push_back(name);
    }
    // Who is asked first stands last.
    const std::string& rest = request_.path_rest;
    const std::string home = dispatcher.name_of(dispatcher.home_of(rest.substr(0, rest.find('/'))));
    std::ranges::stable_partition(names_, [&](const std::string& name) { return name != home; });
  }
  void next();

 private:
  static constexpr size_t kMaxBytes = size_t{16} << 20;
  void on_head(int status, HeaderList& headers) override {
    answer_ = HttpResponse();
    answer_.status = status;
    if (const std::string* type = headers.find("content-type")) answer_.content_type = *type;
  }
  void on_piece(std::string_view bytes) override {
    if (answer_.body.size() + bytes.size() <= kMaxBytes) answer_.body.append(bytes);
  }
  void on_end() override {
    if (answer_.status == 404 || answer_.status == 405) return next();
    exchange_.respond(std::move(answer_));
  }
  void on_fault(std::string_view) override { next(); }

  Dispatcher& dispatcher_;
  Exchange& exchange_;
  const HttpRequest request_;
  std::vector<std::string> names_;
  HttpResponse answer_;
  std::unique_ptr<UpstreamCall> call_;
};

void AskAll::next() {
  while (!names_.empty()) {
    const auto at = dispatcher_.links().find(names_.back());
    names_.pop_back();
    if (at == dispatcher_.links().end()) continue;
    Upstream& upstream = at->second->upstream();
    const bool has_body = request_.method != "GET" && request_.method != "DELETE";
    std::string head = request_head(request_, at->second->destination(),
                                    has_body ? std::optional<size_t>(request_.body.size()) : std::nullopt);
    call_ = upstream.send({std::move(head), std::make_shared<const std::string>(request_.body)}, *this);
    return;
  }
  if (answer_.status == 404 && !answer_.body.empty()) return exchange_.respond(std::move(answer_));
  exchange_.respond(error_response({ErrorCode::kNotFound, "No replica knows of it."},
                                   error_style_of(request_.path), request_.request_id));
}

}  // namespace

std::string model_list(const Dispatcher& dispatcher) {
  std::string out = R"({"object":"list","data":[)";
  for (const auto& [id, card] : cards_of(dispatcher)) {
    if (out.back() != '[') out += ',';
    out += card;
  }
  return out + "]}";
}

std::string replica_list(const Dispatcher& dispatcher) {
  std::string out = R"({"replicas":[)";
  const auto add = [&](std::string_view name, double value) { append_json_member(out, name, value); };
  for (const auto& [name, link] : dispatcher.links()) {
    if (out.back() != '[') out += ',';
    out += R"({"name":)";
    append_json_string(out, name);
    out += R"(,"url":)";
    append_json_string(out, link->found().url);
    if (const PodName& pod = link->found().pod; !pod.name.empty()) {
      out += R"(,"pod":{"namespace":)";
      append_json_string(out, pod.space);
      out += R"(,"name":)";
      append_json_string(out, pod.name);
      out += '}';
    }
    const Replica* found = dispatcher.core_view().fleet().find(link->id());
    out += R"(,"state":")";
    out += found != nullptr ? name_of(found->state) : link->found().pending ? "pending" : "starting";
    out += '"';
    if (found == nullptr || !link->last_check_passed()) {
      out += R"(,"trouble":)";
      append_json_string(out, link->trouble());
    }
    if (found != nullptr) {
      const Replica& replica = *found;
      out += R"(,"knowledge":")";
      out += name_of(replica.knowledge);
      out += R"(","models":[)";
      for (const std::string& model : replica.spec.models) {
        if (out.back() != '[') out += ',';
        append_json_string(out, model);
      }
      out += ']';
      add("weight", replica.spec.weight);
      add("in_flight", replica.in_flight);
      add("prefill_tokens", std::max(replica.prefill_work.tokens, 0.0));
      add("wait_s", replica.wait_seconds(dispatcher.now()));
      add("prefill_tokens_per_s", 1 / replica.rate.prefill().token_seconds);
      add("kv_usage", replica.kv_usage());
      add("requests", static_cast<double>(replica.requests));
      add("faults", static_cast<double>(replica.faults));
    }
    out += '}';
  }
  out += R"(],"sources":[)";
  for (const auto& source : dispatcher.sources()) {
    out += out.back() == '[' ? R"({"name":)" : R"(,{"name":)";
    append_json_string(out, source->name());
    if (!source->trouble().empty()) {
      out += R"(,"trouble":)";
      append_json_string(out, source->trouble());
    }
    out += '}';
  }
  return out + "]}";
}

ProbeAnswers probe_answers(const Dispatcher& dispatcher) {
  return {[] { return text(200, ""); },
          [&dispatcher] { return dispatcher.leaving() ? text(503, "draining\n") : text(200, "ready\n"); }};
}

Routes make_routes(Dispatcher& dispatcher) {
  Routes routes;
  for (const auto& each : kPassed) {
    const bool keeps_answers = std::string_view(each.path) == "/v1/responses";
    const Relay::Endpoint endpoint{each.path, each.has_body, each.can_continue, each.retryable,
                                   keeps_answers};
    routes.add({each.method, each.path, [&dispatcher, endpoint](Exchange& exchange, HttpRequest&& request) {
                  return pass_on(dispatcher, exchange, std::move(request), endpoint);
                }});
  }
  const auto ask_all = [&dispatcher](Exchange& exchange, HttpRequest&& request) {
    auto asking = std::make_shared<AskAll>(dispatcher, exchange, std::move(request));
    asking->next();
    return std::shared_ptr<Responder>(std::move(asking));
  };
  for (const char* path : {"/v1/responses/{rest}", "/v1/chat/completions/{rest}", "/v1/completions/{rest}"}) {
    for (const char* method : {"GET", "POST", "DELETE"}) routes.add({method, path, ask_all});
  }
  const auto own = [&](const char* path, Access access,
                       std::function<HttpResponse(const HttpRequest&)> answer, bool always = false) {
    routes.add({"GET", path, answered_by(std::move(answer)), always, access});
  };
  own(
      "/health", Access::kEverybody, [](const HttpRequest&) { return text(200, ""); }, true);
  own(
      "/ping", Access::kEverybody, [](const HttpRequest&) { return text(200, ""); }, true);
  own(
      "/ready", Access::kEverybody, [&dispatcher](const HttpRequest&) { return ready(dispatcher); }, true);
  own("/metrics", Access::kOperators, [&dispatcher](const HttpRequest&) {
    HttpResponse response = text(200, expose_metrics(dispatcher));
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return response;
  });
  own("/autoscale/v1/models", Access::kOperators, [&dispatcher](const HttpRequest&) {
    std::string out = R"({"models":[)";
    for (const auto& [model, told] : dispatcher.demand_view().models()) {
      if (out.back() != '[') out += ',';
      out += demand_json(model, told, dispatcher.demand_view().cold_starts());
    }
    return json(out + "]}");
  });
  own("/autoscale/v1/models/{rest}", Access::kOperators, [&dispatcher](const HttpRequest& request) {
    const DemandBoard& board = dispatcher.demand_view();
    const auto at = board.models().find(request.path_rest);
    if (at != board.models().end()) return json(demand_json(at->first, at->second, board.cold_starts()));
    return error_response({ErrorCode::kNotFound,
                           "No replica ever served a model of that name, and no --model names it.", "model"});
  });
  own("/router/load", Access::kOperators, [&dispatcher](const HttpRequest&) {
    RouterShare share{.router = dispatcher.name()};
    for (const auto& [model, told] : dispatcher.demand_view().models()) share.models[model] = told.own;
    return json(share_json(share));
  });
  own("/v1/models", Access::kUsers,
      [&dispatcher](const HttpRequest&) { return json(model_list(dispatcher)); });
  own("/v1/models/{rest}", Access::kUsers,
      [&dispatcher](const HttpRequest& request) { return one_model(dispatcher, request.path_rest); });
  own("/router/replicas", Access::kOperators,
      [&dispatcher](const HttpRequest&) { return json(replica_list(dispatcher)); });
  routes.add({"POST", "/router/explain",
              answered_by([&dispatcher](const HttpRequest& request) { return explain(dispatcher, request); }),
              false, Access::kOperators});
  return routes;
}

}  // namespace sluice::router
