#include "server/scaling/metrics_api.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kExternal = "external.metrics.k8s.io";
constexpr std::string_view kCustom = "custom.metrics.k8s.io";

// What Object metrics may be asked of; the HPA finds the resource of an object's kind by itself.
struct Resource {
  std::string_view name;  // with its group
  std::string_view kind;
  std::string_view api_version;
};
constexpr Resource kResources[] = {
    {"services", "Service", "v1"},
    {"deployments.apps", "Deployment", "apps/v1"},
    {"statefulsets.apps", "StatefulSet", "apps/v1"},
    {"inferencepools.inference.networking.k8s.io", "InferencePool", "inference.networking.k8s.io/v1"},
    {"leaderworkersets.leaderworkerset.x-k8s.io", "LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1"},
};

std::vector<std::string_view> versions_of(std::string_view group) {
  if (group == kExternal) return {"v1beta1"};
  if (group == kCustom) return {"v1beta2", "v1beta1"};  // the preferred one first
  return {};
}

MetricsApiAnswer json(const Json& body) {
  return {.body = body.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

MetricsApiAnswer refuse(int status, std::string_view reason, const std::string& message) {
  MetricsApiAnswer answer = json({{"kind", "Status"},
                                  {"apiVersion", "v1"},
                                  {"metadata", Json::object()},
                                  {"status", "Failure"},
                                  {"message", message},
                                  {"reason", reason},
                                  {"code", status}});
  answer.status = status;
  return answer;
}

std::vector<std::string_view> pieces_of(std::string_view path) {
  std::vector<std::string_view> pieces;
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) pieces.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return pieces;
}

std::set<std::string> metrics_of(std::span<const MetricSeries> series) {
  std::set<std::string> names;
  for (const MetricSeries& each : series) names.insert(each.metric);
  return names;
}

std::string rfc3339(int64_t unix_time) {
  const std::time_t time = unix_time;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

// --- discovery ---

std::string path_of(std::string_view group, std::string_view version) {
  return std::string(group) + "/" + std::string(version);
}

Json group_document(std::string_view group) {
  Json versions = Json::array();
  for (const std::string_view version : versions_of(group)) {
    versions.push_back({{"groupVersion", path_of(group, version)}, {"version", version}});
  }
  return {{"kind", "APIGroup"},
          {"apiVersion", "v1"},
          {"name", group},
          {"versions", versions},
          {"preferredVersion", versions[0]}};
}

struct Listed {
  std::string name;
  std::string kind;
};
std::vector<Listed> resources_of(std::string_view group, std::span<const MetricSeries> series) {
  std::vector<Listed> listed;
  for (const std::string& metric : metrics_of(series)) {
    if (group == kExternal) {
      listed.push_back({metric, "ExternalMetricValueList"});
      continue;
    }
    for (const Resource& resource : kResources) {
      listed.push_back({std::string(resource.name) + "/" + metric, "MetricValueList"});
    }
  }
  return listed;
}

Json resource_list(std::string_view group, std::string_view version, std::span<const MetricSeries> series) {
  Json resources = Json::array();
  for (const Listed& each : resources_of(group, series)) {
    resources.push_back({{"name", each.name},
                         {"singularName", ""},
                         {"namespaced", true},
                         {"kind", each.kind},
                         {"verbs", {"get"}}});
  }
  return {{"kind", "APIResourceList"},
          {"apiVersion", "v1"},
          {"groupVersion", path_of(group, version)},
          {"resources", resources}};
}

// Everything at once (Accept: …;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList).
MetricsApiAnswer aggregated(std::span<const MetricSeries> series) {
  Json items = Json::array();
  for (const std::string_view group : {kCustom, kExternal}) {
    Json versions = Json::array();
    for (const std::string_view version : versions_of(group)) {
      Json resources = Json::array();
      for (const Listed& each : resources_of(group, series)) {
        resources.push_back({{"resource", each.name},
                             {"responseKind", {{"group", group}, {"version", version}, {"kind", each.kind}}},
                             {"scope", "Namespaced"},
                             {"singularResource", ""},
                             {"verbs", {"get"}}});
      }
      versions.push_back({{"version", version}, {"resources", resources}, {"freshness", "Current"}});
    }
    items.push_back(
        {{"metadata", {{"name", group}, {"creationTimestamp", nullptr}}}, {"versions", versions}});
  }
  MetricsApiAnswer answer = json({{"kind", "APIGroupDiscoveryList"},
                                  {"apiVersion", "apidiscovery.k8s.io/v2"},
                                  {"metadata", Json::object()},
                                  {"items", items}});
  answer.content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  return answer;
}

// --- values ---

Result<std::vector<const MetricSeries*>> chosen(std::string_view metric, std::string_view selector,
                                                std::span<const MetricSeries> series) {
  auto parsed = LabelSelector::parse(selector);
  if (!parsed.ok()) return parsed.error();
  std::vector<const MetricSeries*> found;
  bool known = false;
  for (const MetricSeries& each : series) {
    if (each.metric != metric) continue;
    known = true;
    if (parsed->matches(each.labels)) found.push_back(&each);
  }
  if (known) return found;
  std::string names;
  for (const std::string& name : metrics_of(series)) names += (names.empty() ? "" : ", ") + name;
  return Error{ErrorCode::kNotFound,
               "There is no metric '" + std::string(metric.substr(0, 200)) + "'; there are " + names + "."};
}

MetricsApiAnswer refuse(const Error& error) {
  return error.code == ErrorCode::kNotFound ? refuse(404, "NotFound", error.message)
                                            : refuse(400, "BadRequest", error.message);
}

MetricsApiAnswer external_values(std::string_view metric, const MetricsQuestion& question,
                                 std::span<const MetricSeries> series) {
  const auto found = chosen(metric, question.label_selector, series);
  if (!found.ok()) return refuse(found.error());
  Json items = Json::array();
  for (const MetricSeries* each : *found) {
    items.push_back({{"metricName", each->metric},
                     {"metricLabels", each->labels},
                     {"timestamp", rfc3339(question.unix_time)},
                     {"value", quantity(each->value)}});
  }
  return json({{"kind", "ExternalMetricValueList"},
               {"apiVersion", path_of(kExternal, "v1beta1")},
               {"metadata", Json::object()},
               {"items", items}});
}

MetricsApiAnswer object_value(std::string_view version, std::string_view ns, std::string_view resource,
                              std::string_view name, std::string_view metric, const MetricsQuestion& question,
                              std::span<const MetricSeries> series) {
  const auto at = std::ranges::find(kResources, resource, &Resource::name);
  if (at == std::end(kResources)) {
    return refuse(404, "NotFound",
                  "Metrics are told of services, deployments.apps, statefulsets.apps, "
                  "inferencepools and leaderworkersets, not of '" +
                      std::string(resource.substr(0, 200)) + "'.");
  }
  const auto found = chosen(metric, question.metric_label_selector, series);
  if (!found.ok()) return refuse(found.error());
  if (name == "*") {
    return refuse(404, "NotFound", "Metrics are told of one object; name it in place of '*'.");
  }
  if (found->size() != 1) {
    return refuse(404, "NotFound",
                  "The metric '" + std::string(metric.substr(0, 200)) + "' has " +
                      std::to_string(found->size()) +
                      " series of this selector and one is needed; choose it by a selector such as model=" +
                      (series.empty() ? "NAME" : label_form(series.front().labels.begin()->second)) + ".");
  }
  const MetricSeries& one = *found->front();
  Json item = {{"describedObject",
                {{"kind", at->kind}, {"namespace", ns}, {"name", name}, {"apiVersion", at->api_version}}}};
  Json selector = {{"matchLabels", one.labels}};
  if (version == "v1beta2")
    item["metric"] = {{"name", one.metric}, {"selector", selector}};
  else
    item["metricName"] = one.metric;
  item["timestamp"] = rfc3339(question.unix_time);
  item["value"] = quantity(one.value);
  if (version == "v1beta1") item["selector"] = selector;
  return json({{"kind", "MetricValueList"},
               {"apiVersion", path_of(kCustom, version)},
               {"metadata", Json::object()},
               {"items", Json::array({item})}});
}

}  // namespace

std::string quantity(double value) {
  if (!(value > 0)) return "0";  // demand, depths and ages are not negative
  const double milli = std::ceil(std::min(value, 1e12) * 1000 - 1e-6);
  const auto whole = static_cast<int64_t>(milli);
  if (whole % 1000 == 0) return std::to_string(whole / 1000);
  return std::to_string(whole) + "m";
}

MetricsApiAnswer answer_metrics_api(const MetricsQuestion& question, std::span<const MetricSeries> series,
                                    std::string_view ns) {
  const auto pieces = pieces_of(question.path);
  const auto unknown = [] {
    return refuse(404, "NotFound", "The server could not find the requested resource.");
  };
  if (pieces.empty() || pieces[0] != "apis") return unknown();
  if (pieces.size() == 1) {
    if (question.accept.find("as=APIGroupDiscoveryList") != std::string_view::npos &&
        question.accept.find("v=v2;") != std::string_view::npos) {
      return aggregated(series);
    }
    return json({{"kind", "APIGroupList"},
                 {"apiVersion", "v1"},
                 {"groups", {group_document(kCustom), group_document(kExternal)}}});
  }
  const std::string_view group = pieces[1];
  const auto versions = versions_of(group);
  if (versions.empty()) return unknown();
  if (pieces.size() == 2) return json(group_document(group));
  const std::string_view version = pieces[2];
  if (std::ranges::find(versions, version) == versions.end()) return unknown();
  if (pieces.size() == 3) return json(resource_list(group, version, series));
  if (pieces.size() < 6 || pieces[3] != "namespaces") return unknown();
  if (!ns.empty() && pieces[4] != ns) {
    return refuse(404, "NotFound", "Metrics are told of the namespace '" + std::string(ns) + "' alone.");
  }
  if (group == kExternal && pieces.size() == 6) return external_values(pieces[5], question, series);
  if (group == kCustom && pieces.size() == 8) {
    return object_value(version, pieces[4], pieces[5], pieces[6], pieces[7], question, series);
  }
  return unknown();
}

}  // namespace sluice
