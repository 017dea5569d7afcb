#include "deploy/up/machine_share.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

namespace sluice::up {
namespace {

constexpr double kGpuMemory = 0.9;  // of a GPU for all its replicas together: the server's own default

// CPUs of one core have the same list of siblings.
int cores_of(const cpu_set_t& allowed) {
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::max(static_cast<int>(cores.size()), 1);
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

}  // namespace

Machine look_around(const char* visible_devices) {
  Machine machine;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) machine.cores = cores_of(allowed);
  if (visible_devices != nullptr) {
    machine.gpus = split(visible_devices);
    return machine;
  }
  for (int gpu = 0;; ++gpu) {
    std::error_code error;
    if (!std::filesystem::exists("/dev/nvidia" + std::to_string(gpu), error)) return machine;
    machine.gpus.push_back(std::to_string(gpu));
  }
}

Share share_of(const Machine& machine, int number, int most) {
  Share share{.threads = std::max(machine.cores / std::max(most, 1), 1)};
  const int gpus = static_cast<int>(machine.gpus.size());
  if (gpus == 0) return share;
  share.gpu = machine.gpus[static_cast<size_t>((number - 1) % gpus)];
  const int together = (most + gpus - 1) / gpus;
  if (together > 1) share.gpu_memory_utilization = std::floor(100 * kGpuMemory / together) / 100;
  return share;
}

}  // namespace sluice::up
