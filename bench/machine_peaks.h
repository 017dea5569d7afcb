// The machine's own limits, measured: what the shares in benchmark reports are shares of.
#pragma once

#include <string>

#include "kernels/backend.h"

namespace sluice::bench {

// Reading 96 MB over and over with `threads` threads, GB/s.
double read_gbs(int threads);

// Products of 8-bit integers summed in 32 bits, in registers, GOP/s (two operations a product): 512-bit VNNI
// where there is, else 256-bit multiply-adds.
double int8_dot_gops(int threads);

// "AVX2, 2 threads" -> 2.
int threads_in(const std::string& device_name);

// What the machine can do, measured before.
struct MachinePeaks {
  double bytes_per_s = 0;
  double operations_per_s = 0;  // 0: not known
  std::string operations;       // "bf16 operations": what is counted, two a product
};
// Of the device that it computes on: as it says itself, or measured on the CPU as above.
MachinePeaks peaks_of(Backend& backend);
// "AVX2, 2 threads: 21 GB/s, 300 G 8-bit operations a second".
std::string peaks_line(const std::string& device, const MachinePeaks& peaks);

}  // namespace sluice::bench
