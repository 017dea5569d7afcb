// How busy the machine was between two moments, by the kernel's own count (/proc/stat). Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::bench {

struct CpuCount {
  uint64_t busy = 0, total = 0;  // ticks since boot, over all cores
};

std::optional<CpuCount> parse_cpu_count(std::string_view proc_stat);
std::optional<CpuCount> read_cpu_count();  // none where there is no /proc
// From 0 to 1; NaN when nothing is known.
double busy_share(const std::optional<CpuCount>& before, const std::optional<CpuCount>& after);

}  // namespace sluice::bench
