#include "router/io/metrics_api_door.h"

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "server/net/routes.h"
#include "server/net/self_signed.h"
#include "server/scaling/metrics_api.h"
#include "server/wire/error_body.h"

namespace sluice::router {
namespace {

// Percent-decoded; empty where it is not there or broken.
std::string query_field(std::string_view query, std::string_view name) {
  std::string value(query_value(query, name)), decoded;
  std::ranges::replace(value, '+', ' ');
  return percent_decode(value, decoded) ? decoded : "";
}

HttpResponse answer(const HttpRequest& request, const DemandBoard& board, const std::string& space) {
  std::string path;
  if (!percent_decode(request.path, path)) path.clear();
  const std::string labels = query_field(request.query, "labelSelector");
  const std::string metric_labels = query_field(request.query, "metricLabelSelector");
  const std::string* accept = request.headers.find("accept");
  const auto series = board.series();
  MetricsApiAnswer answer =
      answer_metrics_api({.path = path,
                          .label_selector = labels,
                          .metric_label_selector = metric_labels,
                          .accept = accept == nullptr ? std::string_view() : std::string_view(*accept),
                          .unix_time = std::chrono::duration_cast<std::chrono::seconds>(
                                           std::chrono::system_clock::now().time_since_epoch())
                                           .count()},
                         series, space);
  HttpResponse response;
  response.status = answer.status;
  response.content_type = std::move(answer.content_type);
  response.body = std::move(answer.body);
  return response;
}

}  // namespace

Result<std::unique_ptr<MetricsApiDoor>> MetricsApiDoor::open(const MetricsApiOptions& options,
                                                             Dispatcher& dispatcher, IoThreads& threads) {
  TlsOptions tls{.certfile = options.certfile,
                 .keyfile = options.keyfile,
                 .ca_certs = options.requestheader_client_ca_file,
                 .cert_reqs = 2};
  if (tls.certfile.empty()) {
    SLUICE_ASSIGN(tls.certificate_text, self_signed_certificate("sluice-router"));
  }
  if (tls.ca_certs.empty()) tls.authority_text = "";
  SLUICE_ASSIGN(auto identity, TlsIdentity::load(std::move(tls)));
  std::unique_ptr<MetricsApiDoor> door(new MetricsApiDoor(identity));
  door->names_ = options.requestheader_allowed_names;
  ListenOptions listen;
  listen.host = options.host;
  listen.port = static_cast<uint16_t>(options.port);
  listen.max_connections = 256;
  listen.limits.max_body_bytes = 4096;
  listen.tls = std::move(identity);
  listen.render_fault = fault_response;
  listen.admit = [&names = door->names_](const HttpRequest& head,
                                         const Route&) -> std::optional<HttpResponse> {
    if (names.empty() || std::ranges::find(names, head.peer_name) != names.end()) return std::nullopt;
    return fault_response(
        {403, "The client's certificate has a name that requestheader-allowed-names has not."}, head.path);
  };
  Routes routes;
  const auto told = [&dispatcher, space = options.space](Exchange& exchange, HttpRequest&& request) {
    exchange.respond(answer(request, dispatcher.demand_view(), space));
    return std::shared_ptr<Responder>();
  };
  routes.add({"GET", "/apis", told});
  routes.add({"GET", "/apis/{rest}", told});
  for (const char* path : {"/healthz", "/readyz", "/livez"}) {
    routes.add({"GET", path, [](Exchange& exchange, HttpRequest&&) {
                  HttpResponse response;
                  response.content_type = "text/plain; charset=utf-8";
                  response.body = "ok";
                  exchange.respond(std::move(response));
                  return std::shared_ptr<Responder>();
                }});
  }
  SLUICE_ASSIGN(door->listener_, Listener::start(std::move(listen), std::move(routes), threads));
  return door;
}

void MetricsApiDoor::let_in(const FrontProxy& proxy) {
  if (const Status read = identity_->change_authorities(proxy.authorities); !read.ok()) {
    return log::warn("the metrics APIs' callers stay as they are: {}", read.error().message);
  }
  names_ = proxy.names;
  log::info("the metrics APIs answer the front proxy that the cluster names");
}

}  // namespace sluice::router
