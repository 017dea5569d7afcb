// What a replay of autoscaling found, for eyes and for programs: a table, JSON, and a page that draws the
// replicas over the time without anything from elsewhere. Pure.
#pragma once

#include <string>
#include <vector>

#include "bench/autoscale_sim.h"

namespace sluice::autoscale {

struct Row {
  std::string signal, formula, source;
  double target_scale = 1;
  bool is_fixed = false;
  AutoscaleReport report;
};

struct ScenarioReport {
  std::string name;
  std::string about;
  std::vector<Row> rows;
};

std::string table_of(const ScenarioReport& scenario);

// Of a signal whose target was varied: the best share of requests within the SLO that it reached with no more
// than so many replica-hours, between two points of its frontier by their line. -1: none of its points is as
// cheap.
double slo_within(const std::vector<Row>& rows, const std::string& signal, double replica_hours);
// At the replica-hours of each of our signal's points, what every other reaches with as many.
std::string comparison_of(const ScenarioReport& scenario, const std::string& ours);

std::string json_of(const std::vector<ScenarioReport>& scenarios, const std::string& command);
std::string html_of(const std::vector<ScenarioReport>& scenarios, const std::string& command);

}  // namespace sluice::autoscale
