// The Kubernetes metrics APIs custom.metrics.k8s.io (v1beta1, v1beta2) and external.metrics.k8s.io (v1beta1),
// as an aggregated API server answers them: discovery documents and metric values, from numbers in memory. So
// a HorizontalPodAutoscaler reads them with neither Prometheus nor adapter. Pure; any thread.
//
// Wire contract: k8s.io/metrics, k8s.io/custom-metrics-apiserver, k8s.io/kube-aggregator (discovery).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/scaling/label_selector.h"

namespace sluice {

struct MetricSeries {
  std::string metric;  // [a-z0-9_]+
  Labels labels;
  double value = 0;
};

struct MetricsQuestion {
  std::string_view path;  // percent-decoded, from /apis on
  // Of the query, percent-decoded.
  std::string_view label_selector;
  std::string_view metric_label_selector;
  std::string_view accept;  // the header's value
  int64_t unix_time = 0;    // of the values
};

struct MetricsApiAnswer {
  int status = 200;  // others come with a metav1.Status
  std::string content_type = "application/json";
  std::string body;
};

// `ns`: the one namespace that is answered for; empty: any. An object's metric is its model's: which object
// is described (a Service, a Deployment, of whatever name) is the asker's choice, the series is chosen by
// metricLabelSelector, and must be one.
MetricsApiAnswer answer_metrics_api(const MetricsQuestion& question, std::span<const MetricSeries> series,
                                    std::string_view ns = {});

// As resource.Quantity: "7", "1500m"; never an exponent.
std::string quantity(double value);

}  // namespace sluice
