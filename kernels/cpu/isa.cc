#include "kernels/cpu/isa.h"

#include <cpuid.h>

#include <cstdint>

namespace sluice::cpu {
namespace {

struct Isa {
  const char* name;
  const KernelTable* (*kernels)();
  bool runs;
};

// AVX-VNNI has no name in GCC 12's __builtin_cpu_supports: CPUID leaf 7, subleaf 1, EAX bit 4 (Intel SDM,
// volume 2A).
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && ((a >> 4) & 1) != 0;
}

// __builtin_cpu_supports also asks whether the system saves the registers.
std::vector<Isa> all_isas() {
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  const bool bf16 = vnni && __builtin_cpu_supports("avx512bf16");
  return {{"avx2", avx2_kernels, avx2},
          {"avx2_vnni", avx2_vnni_kernels, avx2 && has_avx_vnni()},
          {"avx512", avx512_kernels, avx512},
          {"avx512_vnni", avx512_vnni_kernels, vnni},
          {"avx512_bf16", avx512_bf16_kernels, bf16}};
}

}  // namespace

std::vector<std::string> runnable_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : all_isas()) {
    if (isa.runs) names.emplace_back(isa.name);
  }
  return names;
}

Result<const KernelTable*> choose_kernels(const std::string& isa) {
  const auto isas = all_isas();
  const Isa* best = nullptr;
  std::string possible;
  for (const Isa& candidate : isas) {
    if (!candidate.runs) continue;
    if (isa == candidate.name) return candidate.kernels();
    best = &candidate;
    possible += (possible.empty() ? "" : ", ") + std::string(candidate.name);
  }
  if (best == nullptr) {
    return Error{ErrorCode::kUnsupported,
                 "This processor has no AVX2 with FMA and F16C, which the CPU backend needs.", "isa"};
  }
  if (isa == "auto" || isa.empty()) return best->kernels();
  return Error{
      ErrorCode::kUnsupported,
      "This machine cannot run the instruction set '" + isa + "'; possible are auto, " + possible + ".",
      "isa"};
}

}  // namespace sluice::cpu
