// The machine's own limits, measured: what the shares in benchmark reports are shares of.
#pragma once

#include <string>

namespace sluice::bench {

// Reading 96 MB over and over with `threads` threads, GB/s.
double read_gbs(int threads);

// Products of 8-bit integers summed in 32 bits, in registers, GOP/s (two operations a product): 512-bit VNNI
// where there is, else 256-bit multiply-adds.
double int8_dot_gops(int threads);

// "AVX2, 2 threads" -> 2.
int threads_in(const std::string& device_name);

}  // namespace sluice::bench
