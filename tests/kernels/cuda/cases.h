// What kernels must compute: cases that run a kernel on the device, emulated or real, and compare it with the
// reference. One list for the conformance test, the order test and the mutation test.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace sluice::cuda::testing {

struct Case {
  std::string name;
  std::function<std::string()> run;  // what was wrong; empty: nothing
};

inline void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

// "… is off by 0.2, more than 0.01", or nothing.
std::string judge(const std::string& what, double error, double tolerance);

void add_attention_cases(std::vector<Case>& cases);
void add_fp8_cases(std::vector<Case>& cases);
void add_kv_copy_cases(std::vector<Case>& cases);
void add_matmul_cases(std::vector<Case>& cases);
void add_pointwise_cases(std::vector<Case>& cases);
void add_sampling_cases(std::vector<Case>& cases);

inline std::vector<Case> all_cases() {
  std::vector<Case> cases;
  add_attention_cases(cases);
  add_matmul_cases(cases);
  add_fp8_cases(cases);
  add_pointwise_cases(cases);
  add_sampling_cases(cases);
  add_kv_copy_cases(cases);
  return cases;
}

}  // namespace sluice::cuda::testing
