#include "server/api/responses_routes.h"

#include <algorithm>
#include <ctime>

#include "base/log.h"
#include "server/api/api_routes.h"
#include "server/api/plans.h"
#include "server/api/route_parts.h"
#include "server/net/io_threads.h"
#include "server/wire/error_body.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

constexpr std::string_view kPrefix = "resp_";
// Read and rendered on the I/O thread itself: a few milliseconds' work at most. Earlier responses are not
// known yet, so these go to the pool.
constexpr size_t kInlineBytes = 4096;
// Events of a background response: enough for some 60,000 tokens.
constexpr size_t kMaxLogBytes = size_t{16} << 20;

// A request read and planned.
struct Opened {
  std::shared_ptr<GenerationPlan> plan;
  bool background = false;
  std::shared_ptr<EventLog> log;  // of a background response that is streamed
};

struct OpenRequest {
  std::string body, request_id, id;
};

Result<Opened> open_response(const ModelService& service, ResponseStore& store, const OpenRequest& asked) {
  SLUICE_ASSIGN(ResponsesRequest request,
                parse_responses_request(asked.body, service.limits, store, asked.id));
  SLUICE_ASSIGN(std::string model, service.answer_name(request.model));
  SLUICE_ASSIGN(GenerationPlan plan, plan_response(service, asked.request_id, request));
  ResponseFace face{asked.id, std::move(model), std::time(nullptr), std::move(request.echo)};
  face.echo += R"(,"temperature":)";
  append_json(face.echo, double{plan.sampling.temperature});
  face.echo += R"(,"top_p":)";
  append_json(face.echo, double{plan.sampling.top_p});
  plan.format = responses_answer(
      face, plan.sampling.logprobs >= 0,
      [&store, id = asked.id](FinishedResponse response) { store.finish(id, std::move(response)); });
  Opened opened;
  opened.background = request.background;
  if (request.background && request.stream) opened.log = std::make_shared<EventLog>(kMaxLogBytes);
  store.begin({std::move(face), std::move(request.input_items), std::move(request.before), request.store,
               opened.log});
  opened.plan = std::make_shared<GenerationPlan>(std::move(plan));
  return opened;
}

// A response whose client left, or that failed, is not remembered as running.
struct Unfinished {
  ResponseStore& store;
  const std::string id;
  std::shared_ptr<void> place;  // where cancel finds it
  ~Unfinished() { store.abandon(id); }
};

// Reads the request, then becomes its Generation, or a client of the one in the background.
class ResponseOpening final : public Responder, public std::enable_shared_from_this<ResponseOpening> {
 public:
  ResponseOpening(ApiFloor& floor, Exchange& exchange, std::shared_ptr<ModelService> service,
                  const HttpRequest& request)
      : floor_(floor),
        exchange_(exchange),
        service_(std::move(service)),
        id_(new_response_id()),
        generation_request_{request.request_id, request.arrival, ErrorStyle::kOpenAi} {}

  void start(std::string body) {
    const size_t bytes = body.size();
    // Neither many turns nor a client's own template keep this thread.
    const bool stands_alone =
        body.find("previous_response_id") == std::string::npos && !service_->dialect.trusts_request_template;
    auto prepare = [service = service_, &store = floor_.responses,
                    asked = OpenRequest{std::move(body), generation_request_.id, id_}] {
      return open_response(*service, store, asked);
    };
    if (bytes <= kInlineBytes && stands_alone) return go_on(prepare());
    const bool taken = floor_.pool->try_run([weak = weak_from_this(), &store = floor_.responses, id = id_,
                                             &io = exchange_.io(), prepare = std::move(prepare)] {
      if (weak.expired()) return;
      auto opened = std::make_shared<Result<Opened>>(prepare());
      io.post([weak, opened, &store, id] {
        if (const auto self = weak.lock())
          self->go_on(std::move(*opened));
        else
          store.abandon(id);
      });
    });
    if (!taken)
      exchange_.respond(error_response(
          {ErrorCode::kOverloaded, "Too many large prompts wait to be read; try again soon.", "", 1}));
  }

 private:
  void go_on(Result<Opened> opened) {
    if (!opened.ok()) return exchange_.respond(error_response(opened.error()));
    if (opened->background) return run_in_background(*opened);
    const auto generation = make_generation(exchange_);
    next_ = generation;
    generation->start(0, *floor_.pool,
                      [plan = opened->plan]() -> Result<GenerationPlan> { return std::move(*plan); });
  }

  std::shared_ptr<Generation> make_generation(Exchange& exchange) {
    EventSwitch& events = *floor_.switches[static_cast<size_t>(exchange.io().index())];
    auto generation =
        std::make_shared<Generation>(exchange, service_, events, *floor_.grammar_pool, generation_request_);
    std::shared_ptr<void> place = floor_.active.add(id_, exchange.io(), generation);
    generation->keep(std::make_shared<Unfinished>(floor_.responses, id_, std::move(place)));
    return generation;
  }

  void run_in_background(const Opened& opened) {
    const auto run =
        std::make_shared<BackgroundRun>(exchange_.io(), floor_.background, floor_.responses, id_, opened.log);
    floor_.background.add(run);
    run->run(make_generation(*run), opened.plan, *floor_.pool);
    if (auto refusal = run->take_refusal()) return exchange_.respond(std::move(*refusal));
    if (opened.log == nullptr)
      return exchange_.respond(json_response(floor_.responses.body(id_, "queued").value_or("{}")));
    const auto follower = std::make_shared<LogFollower>(exchange_, opened.log);
    next_ = follower;
    follower->start(0);
  }

  ApiFloor& floor_;
  Exchange& exchange_;
  const std::shared_ptr<ModelService> service_;
  const std::string id_;
  const GenerationRequest generation_request_;
  std::shared_ptr<Responder> next_;
};

std::shared_ptr<Responder> create(ApiFloor& floor, Exchange& exchange, HttpRequest&& request) {
  const Status acceptable = require_json(request);
  auto service = floor.slot.get();
  if (!acceptable.ok() || !service.ok()) {
    exchange.respond(error_response(acceptable.ok() ? service.error() : acceptable.error()));
    return nullptr;
  }
  if (floor.options.log_requests)
    log::info("request {}: {} with {} bytes", request.request_id, request.path, request.body.size());
  auto opening = std::make_shared<ResponseOpening>(floor, exchange, *service, request);
  opening->start(std::move(request.body));
  return opening;
}

Result<std::string> count_input_tokens(const ModelService& service, const ResponseStore& store,
                                       const std::string& body) {
  SLUICE_ASSIGN(const ResponsesRequest request,
                parse_responses_request(body, service.limits, store, "counted"));
  SLUICE_ASSIGN(const std::string model, service.answer_name(request.model));
  auto chat = parse_chat_request(chat_body_of(request), service.limits, service.dialect);
  if (!chat.ok()) return in_responses_words(chat.error());
  SLUICE_ASSIGN(const std::vector<int32_t> ids, encode_chat(service, *chat));
  return input_tokens_body(ids.size());
}

std::shared_ptr<Responder> count_tokens(ApiFloor& floor, Exchange& exchange, HttpRequest&& request) {
  const Status acceptable = require_json(request);
  auto service = floor.slot.get();
  if (!acceptable.ok() || !service.ok()) {
    exchange.respond(error_response(acceptable.ok() ? service.error() : acceptable.error()));
    return nullptr;
  }
  auto answer = std::make_shared<PoolAnswer>(exchange);
  answer->start(*floor.pool, [service = *service, &store = floor.responses, body = std::move(request.body)] {
    const auto counted = count_input_tokens(*service, store, body);
    return counted.ok() ? json_response(*counted) : error_response(counted.error());
  });
  return answer;
}

HttpResponse not_found(std::string_view id) {
  return error_response({ErrorCode::kNotFound,
                         "Response with id '" + log::safe(std::string(id), 64) +
                             "' not found: it was not stored, or had to make room for later ones.",
                         "id"});
}

// "resp_…/more": the id without its prefix, and what comes behind it.
struct Target {
  std::string id;
  std::string_view shown, more;
};

Target target_of(std::string_view rest) {
  const size_t slash = std::min(rest.find('/'), rest.size());
  Target target;
  target.shown = rest.substr(0, slash);
  target.more = slash < rest.size() ? rest.substr(slash + 1) : std::string_view();
  if (target.shown.starts_with(kPrefix)) target.id = target.shown.substr(kPrefix.size());
  return target;
}

HttpResponse list_input(ApiFloor& floor, const Target& target, std::string_view query) {
  const auto items = floor.responses.input_items(target.id);
  if (!items) return not_found(target.shown);
  int64_t limit = 20;
  if (!read_number(query_value(query, "limit"), 100, limit) || limit == 0)
    return error_response(invalid_argument("limit", "'limit' must be from 1 to 100."));
  const std::string array = "[" + *items + "]";
  const auto checked = JsonText::check(array, 256);
  std::vector<std::pair<std::string, std::string_view>> listed;  // id, JSON
  if (checked.ok()) {
    checked->for_each([&](JsonText item) {
      auto fields = RequestFields::of(item, "");
      listed.emplace_back(fields.ok() ? fields->string("id", 256).value_or("") : "", item.text());
      return true;
    });
  }
  const std::string_view order = query_value(query, "order");
  if (order != "" && order != "asc" && order != "desc")
    return error_response(invalid_argument("order", "'order' must be asc or desc."));
  if (order != "asc") std::ranges::reverse(listed);
  if (const std::string_view after = query_value(query, "after"); !after.empty()) {
    const auto found = std::ranges::find(listed, after, &std::pair<std::string, std::string_view>::first);
    if (found == listed.end())
      return error_response(invalid_argument("after", "'after' is not the id of one of the items."));
    listed.erase(listed.begin(), found + 1);
  }
  const bool more = listed.size() > static_cast<size_t>(limit);
  if (more) listed.resize(static_cast<size_t>(limit));
  std::string joined;
  for (const auto& [id, json] : listed) (joined += joined.empty() ? "" : ",") += json;
  return json_response(item_list_body(joined, listed.empty() ? "" : listed.front().first,
                                      listed.empty() ? "" : listed.back().first, more));
}

std::shared_ptr<Responder> read(ApiFloor& floor, Exchange& exchange, HttpRequest&& request) {
  const Target target = target_of(request.path_rest);
  const auto answer = [&](HttpResponse response) -> std::shared_ptr<Responder> {
    exchange.respond(std::move(response));
    return nullptr;
  };
  if (target.more == "input_items") return answer(list_input(floor, target, request.query));
  auto body = target.more.empty() ? floor.responses.body(target.id) : std::nullopt;
  if (!body) return answer(not_found(target.shown));
  const std::string_view stream = query_value(request.query, "stream");
  if (stream != "" && stream != "true" && stream != "1" && stream != "false" && stream != "0")
    return answer(error_response(invalid_argument("stream", "'stream' must be true or false.")));
  if (stream != "true" && stream != "1") return answer(json_response(std::move(*body)));
  int64_t after = -1;
  if (!read_number(query_value(request.query, "starting_after"), int64_t{1} << 40, after))
    return answer(error_response(
        invalid_argument("starting_after", "'starting_after' must be an event's sequence_number.")));
  const auto log = floor.responses.log(target.id);
  if (log == nullptr)
    return answer(error_response(invalid_argument(
        "stream", "Only a response made with 'background' and 'stream' can be streamed again.")));
  auto follower = std::make_shared<LogFollower>(exchange, log);
  follower->start(static_cast<size_t>(after + 1));
  return follower;
}

HttpResponse act(ApiFloor& floor, const HttpRequest& request) {
  const Target target = target_of(request.path_rest);
  if (target.more != "cancel") return not_found(request.path_rest);
  auto body = floor.responses.body(target.id, "cancelled");
  if (!body) return not_found(target.shown);
  floor.active.abort(target.id);  // nothing when it is finished: the answer shows it as it is
  return json_response(std::move(*body));
}

HttpResponse remove(ApiFloor& floor, const HttpRequest& request) {
  const Target target = target_of(request.path_rest);
  if (!target.more.empty() || !floor.responses.erase(target.id)) return not_found(request.path_rest);
  floor.active.abort(target.id);
  return json_response(response_deletion_body(target.id));
}

}  // namespace

void add_responses_routes(Routes& routes, ApiFloor& floor) {
  const auto with_floor = [&floor](auto* function) {
    return [&floor, function](Exchange& exchange, HttpRequest&& request) {
      return function(floor, exchange, std::move(request));
    };
  };
  routes.add({"POST", "/v1/responses", with_floor(create)});
  routes.add({"POST", "/v1/responses/input_tokens", with_floor(count_tokens)});
  routes.add({"GET", "/v1/responses/{rest}", with_floor(read)});
  routes.add(simple_route("POST", "/v1/responses/{rest}", Access::kUsers,
                          [&floor](const HttpRequest& request) { return act(floor, request); }));
  routes.add(simple_route("DELETE", "/v1/responses/{rest}", Access::kUsers,
                          [&floor](const HttpRequest& request) { return remove(floor, request); }));
}

}  // namespace sluice
