// Plots as SVG text that stands within a page: lines over two axes, colours by the page's style sheet
// (classes s0 to s7), so that light and dark pages share them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::bench {

struct PlotLine {
  std::string label;
  std::vector<std::pair<double, double>> points;  // what is not finite breaks the line
  size_t colour = 0;
  bool is_dashed = false;
  bool has_dots = false;
};

struct PlotFrame {
  std::string title;
  std::string x_label, y_label;
  bool is_log_x = false;
  bool y_is_percent = false;         // 0 to 100
  bool compares_with_equal = false;  // draws y = x, where a line should be
  int width = 460, height = 270;
};

// An empty text where no point is finite.
std::string svg_plot(const PlotFrame& frame, const std::vector<PlotLine>& lines);

// Round steps of 1, 2 or 5 times a power of ten, about `wanted` of them, within [low, high].
std::vector<double> linear_ticks(double low, double high, int wanted);
// 1, 2 and 5 times powers of ten, or powers alone where those are many.
std::vector<double> log_ticks(double low, double high);
// 1500 -> "1.5k"; short, for axes.
std::string tick_text(double value);
std::string html_escaped(std::string_view text);

}  // namespace sluice::bench
