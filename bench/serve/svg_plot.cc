#include "bench/serve/svg_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>

namespace sluice::bench {
namespace {

constexpr int kLeft = 52, kRight = 14, kTop = 54, kBottom = 42;
constexpr size_t kColours = 8;
constexpr size_t kMostLabels = 8;

__attribute__((format(printf, 2, 3))) void put(std::string& out, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  out += text;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

class Plot {
 public:
  Plot(const PlotFrame& frame, const std::vector<PlotLine>& lines) : frame_(frame), lines_(lines) {}

  std::string draw() {
    if (!measure()) return "";
    put(out_, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", frame_.width, frame_.height);
    out_ += html_escaped(frame_.title) + "\">\n";
    out_ += "<text x=\"0\" y=\"16\" class=\"title\">" + html_escaped(frame_.title);
    if (!frame_.y_label.empty())
      out_ += "<tspan class=\"unit\"> " + html_escaped(frame_.y_label) + "</tspan>";
    out_ += "</text>\n";
    draw_legend();
    draw_axes();
    if (frame_.compares_with_equal) draw_equal();
    for (const PlotLine& line : lines_) draw_line(line);
    return out_ + "</svg>\n";
  }

 private:
  bool takes(const std::pair<double, double>& point) const {
    return std::isfinite(point.first) && std::isfinite(point.second) && (!frame_.is_log_x || point.first > 0);
  }

  bool measure() {
    for (const PlotLine& line : lines_) {
      for (const auto& point : line.points) {
        if (!takes(point)) continue;
        x_.add(point.first);
        y_.add(point.second);
      }
    }
    if (x_.low > x_.high) return false;
    y_.low = std::min(0.0, y_.low);
    y_.high = frame_.y_is_percent ? 100 : y_.high <= y_.low ? y_.low + 1 : y_.high * 1.06;
    if (frame_.is_log_x) {
      // At least half a decade, or a steep curve would look like nothing.
      if (x_.high / x_.low < 3) {
        x_.low /= 1.7;
        x_.high *= 1.7;
      }
    } else {
      x_.low = std::min(0.0, x_.low);
      if (x_.high <= x_.low) x_.high = x_.low + 1;
    }
    return true;
  }

  double x_of(double value) const {
    const double share = frame_.is_log_x ? std::log(value / x_.low) / std::log(x_.high / x_.low)
                                         : (value - x_.low) / (x_.high - x_.low);
    return kLeft + share * (frame_.width - kLeft - kRight);
  }
  double y_of(double value) const {
    const double share = (value - y_.low) / (y_.high - y_.low);
    return frame_.height - kBottom - share * (frame_.height - kTop - kBottom);
  }

  void put_text(double x, double y, const char* style, const char* anchor, std::string_view text) {
    put(out_, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, style, anchor);
    out_ += html_escaped(text) + "</text>\n";
  }

  void draw_legend() {
    double x = 0;
    size_t labels = 0;
    for (const PlotLine& line : lines_) {
      if (line.label.empty() || ++labels > kMostLabels) continue;
      const double wide = 24 + 6.4 * static_cast<double>(line.label.size());
      if (x + wide > frame_.width) break;
      put(out_, "<line x1=\"%.1f\" y1=\"31\" x2=\"%.1f\" y2=\"31\" class=\"line s%zu%s\"/>\n", x, x + 14,
          line.colour % kColours, line.is_dashed ? " dashed" : "");
      put_text(x + 19, 35, "legend", "start", line.label);
      x += wide + 8;
    }
  }

  void draw_axes() {
    const double bottom = frame_.height - kBottom, right = frame_.width - kRight;
    for (const double tick : linear_ticks(y_.low, y_.high, 5)) {
      const double y = y_of(tick);
      put(out_, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", kLeft, y, right, y);
      put_text(kLeft - 7, y + 3.5, "tick", "end", tick_text(tick) + (frame_.y_is_percent ? "%" : ""));
    }
    const auto ticks = frame_.is_log_x ? log_ticks(x_.low, x_.high) : linear_ticks(x_.low, x_.high, 7);
    for (const double tick : ticks) put_text(x_of(tick), bottom + 16, "tick", "middle", tick_text(tick));
    put(out_, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"axis\"/>\n", kLeft, bottom, right,
        bottom);
    put_text(right, bottom + 33, "label", "end", frame_.x_label);
  }

  void draw_equal() {
    const double end = std::min(x_.high, y_.high);
    put(out_, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"equal\"/>\n", x_of(0), y_of(0),
        x_of(end), y_of(end));
  }

  void draw_line(const PlotLine& line) {
    std::string path;
    bool is_pen_down = false;
    for (const auto& point : line.points) {
      if (!takes(point)) {
        is_pen_down = false;
        continue;
      }
      put(path, "%c%.1f %.1f", is_pen_down ? 'L' : 'M', x_of(point.first), y_of(point.second));
      is_pen_down = true;
    }
    put(out_, "<path class=\"line s%zu%s\" d=\"", line.colour % kColours, line.is_dashed ? " dashed" : "");
    out_ += path + "\"/>\n";
    if (!line.has_dots) return;
    for (const auto& point : line.points) {
      if (!takes(point)) continue;
      put(out_,
          "<circle class=\"dot s%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"><title>%s, %s</title></circle>\n",
          line.colour % kColours, x_of(point.first), y_of(point.second), tick_text(point.first).c_str(),
          tick_text(point.second).c_str());
    }
  }

  const PlotFrame& frame_;
  const std::vector<PlotLine>& lines_;
  Range x_, y_;
  std::string out_;
};

}  // namespace

std::string svg_plot(const PlotFrame& frame, const std::vector<PlotLine>& lines) {
  return Plot(frame, lines).draw();
}

std::vector<double> linear_ticks(double low, double high, int wanted) {
  std::vector<double> ticks;
  if (!(high > low) || wanted < 1) return ticks;
  const double rough = (high - low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
  for (double i = std::ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12); ++i)
    ticks.push_back(i * step + 0.0);  // no -0
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> ticks;
  if (!(low > 0) || !(high > low)) return ticks;
  const bool powers_only = std::log10(high / low) > 3.5;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (powers_only && factor != 1) continue;
      const double tick = power * factor;
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::string tick_text(double value) {
  char text[40];
  const double size = std::abs(value);
  if (size >= 1e6)
    std::snprintf(text, sizeof text, "%.4gM", value / 1e6);
  else if (size >= 1e4)
    std::snprintf(text, sizeof text, "%.4gk", value / 1e3);
  else
    std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace sluice::bench
