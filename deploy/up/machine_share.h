// How one machine is divided among replicas that do not know of one another. Pure but for look_around.
#pragma once

#include <string>
#include <vector>

namespace sluice::up {

struct Machine {
  int cores = 1;                  // physical ones that this process may use
  std::vector<std::string> gpus;  // as CUDA_VISIBLE_DEVICES names them
};

// `visible_devices`: CUDA_VISIBLE_DEVICES, null where it is not set.
Machine look_around(const char* visible_devices);

struct Share {
  int threads = 1;                    // of its CPU backend
  std::string gpu;                    // its own; empty: there is none, or all see all
  double gpu_memory_utilization = 0;  // 0: the server's default
};

// What the replica of that number (from 1) gets where at most `most` run. Each has the cores of a machine
// that is full: were they given to whoever runs, a replica more would bring nothing.
Share share_of(const Machine& machine, int number, int most);

}  // namespace sluice::up
