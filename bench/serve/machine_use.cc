#include "bench/serve/machine_use.h"

#include <charconv>
#include <fstream>
#include <limits>
#include <string>

namespace sluice::bench {

// "cpu  user nice system idle iowait irq softirq steal guest guest_nice" (proc(5)); guest is within user.
std::optional<CpuCount> parse_cpu_count(std::string_view text) {
  constexpr int kFields = 8, kIdle = 3, kWait = 4;
  if (!text.starts_with("cpu ")) return std::nullopt;
  text = text.substr(4, text.find('\n') - 4);
  CpuCount count;
  for (int field = 0; field < kFields; ++field) {
    const size_t begin = text.find_first_not_of(' ');
    if (begin == std::string_view::npos) return std::nullopt;
    text.remove_prefix(begin);
    uint64_t ticks = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ticks);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    count.total += ticks;
    if (field != kIdle && field != kWait) count.busy += ticks;
  }
  return count;
}

std::optional<CpuCount> read_cpu_count() {
  std::ifstream file("/proc/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return parse_cpu_count(line);
}

double busy_share(const std::optional<CpuCount>& before, const std::optional<CpuCount>& after) {
  if (!before || !after || after->total <= before->total || after->busy < before->busy)
    return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(after->busy - before->busy) / static_cast<double>(after->total - before->total);
}

}  // namespace sluice::bench
