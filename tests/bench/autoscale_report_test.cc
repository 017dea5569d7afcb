#include "bench/autoscale_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::autoscale {
namespace {

using testing::HasSubstr;
using testing::Not;

Row row(const std::string& signal, double hours, double slo, double scale = 1) {
  Row row{.signal = signal, .target_scale = scale};
  row.report.replica_hours = hours;
  row.report.slo = slo;
  row.report.moments = {{0, 1, 1, 1, 1}, {10, 2, 1, 2, 2}, {20, 2, 2, 2, 2}};
  return row;
}

TEST(AutoscaleReport, equal_hours_lie_on_the_line_between_points_that_are_worth_it) {
  const std::vector<Row> rows = {row("a", 4, 0.9, 1), row("a", 2, 0.5, 2), row("a", 3, 0.4, 3),
                                 row("b", 1, 0.99)};
  EXPECT_EQ(slo_within(rows, "a", 1.9), -1);
  EXPECT_EQ(slo_within(rows, "a", 2), 0.5);
  EXPECT_NEAR(slo_within(rows, "a", 3), 0.7, 1e-9);  // of 2 and 4; what costs 3 is worse
  EXPECT_EQ(slo_within(rows, "a", 4), 0.9);
  EXPECT_EQ(slo_within(rows, "a", 40), 0.9);
}

TEST(AutoscaleReport, tells_all_in_each_form) {
  const ScenarioReport scenario{.name = "step <&", .about = "x", .rows = {row("sluice", 2, 0.5)}};
  EXPECT_THAT(table_of(scenario), HasSubstr("sluice"));
  EXPECT_THAT(comparison_of(scenario, "sluice"), HasSubstr("50.00"));
  const auto json = nlohmann::json::parse(json_of({scenario}, "command"));
  EXPECT_EQ(json["scenarios"][0]["rows"][0]["slo_attainment"], 0.5);
  EXPECT_EQ(json["scenarios"][0]["rows"][0]["replica_hours"], 2);
  const std::string page = html_of({scenario}, "a < b");
  EXPECT_THAT(page, HasSubstr("<path class='ready' d='M0.0 80.0H450.0V80.0H900.0V2.0'/>"));
  EXPECT_THAT(page, HasSubstr("a &lt; b"));
  EXPECT_THAT(page, Not(HasSubstr("http")));  // nothing from elsewhere
}

}  // namespace
}  // namespace sluice::autoscale
