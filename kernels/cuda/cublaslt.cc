#include "kernels/cuda/cublaslt.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <tuple>

#include "kernels/cuda/runtime.h"

namespace sluice::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA advises for sm_90

// The functions we call, by their names in cublasLt.h.
struct Functions {
#define SLUICE_CUBLASLT(name) decltype(&::name) name = nullptr;
#define SLUICE_CUBLASLT_ALL                                                                        \
  SLUICE_CUBLASLT(cublasLtCreate)                                                                  \
  SLUICE_CUBLASLT(cublasLtDestroy)                                                                 \
  SLUICE_CUBLASLT(cublasLtGetVersion)                                                              \
  SLUICE_CUBLASLT(cublasLtMatmul)                                                                  \
  SLUICE_CUBLASLT(cublasLtMatmulDescCreate)                                                        \
  SLUICE_CUBLASLT(cublasLtMatmulDescDestroy)                                                       \
  SLUICE_CUBLASLT(cublasLtMatmulDescSetAttribute) SLUICE_CUBLASLT(cublasLtMatrixLayoutCreate)      \
      SLUICE_CUBLASLT(cublasLtMatrixLayoutDestroy) SLUICE_CUBLASLT(cublasLtMatmulPreferenceCreate) \
          SLUICE_CUBLASLT(cublasLtMatmulPreferenceDestroy)                                         \
              SLUICE_CUBLASLT(cublasLtMatmulPreferenceSetAttribute)                                \
                  SLUICE_CUBLASLT(cublasLtMatmulAlgoGetHeuristic) SLUICE_CUBLASLT(cublasLtGetStatusString)
  SLUICE_CUBLASLT_ALL
#undef SLUICE_CUBLASLT
};

// Null when a function is missing; then `missing` names it.
bool load(void* library, Functions& functions, std::string& missing) {
#define SLUICE_CUBLASLT(name)                                                         \
  functions.name = reinterpret_cast<decltype(functions.name)>(dlsym(library, #name)); \
  if (functions.name == nullptr) missing = #name;
  SLUICE_CUBLASLT_ALL
#undef SLUICE_CUBLASLT
  return missing.empty();
}

class CublasLt final : public DenseLibrary {
 public:
  CublasLt(const Functions& functions, cublasLtHandle_t handle, void* workspace)
      : f_(functions), handle_(handle), workspace_(workspace) {}
  ~CublasLt() override {
    for (auto& [shape, plan] : plans_) {
      f_.cublasLtMatmulDescDestroy(plan.operation);
      for (cublasLtMatrixLayout_t layout : {plan.weight, plan.tokens, plan.out})
        f_.cublasLtMatrixLayoutDestroy(layout);
    }
    f_.cublasLtDestroy(handle_);
    free_device_memory(workspace_);
  }

  void multiply(const DenseMatrix& w, Rows x, const MatmulOut& out, Stream stream) override {
    const bool to_f32 = out.rows_f32 != nullptr;
    const Plan& plan = plan_of({w.outputs, w.inputs, x.rows, x.stride, out.stride, to_f32, Numbers::kBf16});
    check(plan.possible ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm");
    run(plan, w.values, x.values, out, stream);
  }

  // With scales of rows and tokens where this GPU's library has them (of sm_90 it has), else without.
  Fp8Done multiply(const Fp8Matrix& w, const Fp8Rows& x, const MatmulOut& out, Stream stream) override {
    const bool to_f32 = out.rows_f32 != nullptr;
    for (const Numbers numbers : {Numbers::kScaledFp8, Numbers::kFp8}) {
      const Plan& plan = plan_of({w.outputs, w.inputs, x.rows, x.columns, out.stride, to_f32, numbers});
      if (!plan.possible) continue;
      if (numbers == Numbers::kScaledFp8) {
        set(plan, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, w.scales);
        set(plan, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, x.scales);
      }
      run(plan, w.values, x.values, out, stream);
      return numbers == Numbers::kScaledFp8 ? Fp8Done::kScaled : Fp8Done::kProducts;
    }
    return Fp8Done::kNot;
  }

  std::string name() const override {
    const size_t version = f_.cublasLtGetVersion();
    return "cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100);
  }

 private:
  enum class Numbers : uint8_t { kBf16, kFp8, kScaledFp8 };
  // outputs, inputs, tokens, strides of tokens and results, to f32
  using Shape = std::tuple<int, int, int, int64_t, int64_t, bool, Numbers>;
  struct Plan {
    bool possible = false;
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t weight = nullptr, tokens = nullptr, out = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };

  void check(cublasStatus_t status, const char* what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    std::fprintf(stderr, "cuBLASLt failed at %s: %s\n", what, f_.cublasLtGetStatusString(status));
    std::fflush(stderr);
    std::abort();
  }

  void run(const Plan& plan, const void* weight, const void* tokens, const MatmulOut& out, Stream stream) {
    const float one = 1, zero = 0;
    void* const to = out.rows_f32 != nullptr ? static_cast<void*>(out.rows_f32) : out.rows;
    check(f_.cublasLtMatmul(handle_, plan.operation, &one, weight, plan.weight, tokens, plan.tokens, &zero,
                            to, plan.out, to, plan.out, &plan.algorithm, workspace_, kWorkspaceBytes, stream),
          "a product");
  }

  template <class T>
  cublasStatus_t try_set(const Plan& plan, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return f_.cublasLtMatmulDescSetAttribute(plan.operation, attribute, &value, sizeof value);
  }
  template <class T>
  void set(const Plan& plan, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(try_set(plan, attribute, value), "an attribute");
  }

  // False: this library does not know such scales.
  bool ask_for_scales(const Plan& plan) {
    const int32_t by_rows = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const float* const somewhere = static_cast<const float*>(workspace_);  // before the heuristics are asked
    return try_set(plan, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, by_rows) == CUBLAS_STATUS_SUCCESS &&
           try_set(plan, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, by_rows) == CUBLAS_STATUS_SUCCESS &&
           try_set(plan, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, somewhere) == CUBLAS_STATUS_SUCCESS &&
           try_set(plan, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, somewhere) == CUBLAS_STATUS_SUCCESS;
  }

  // In cuBLASLt's columns: out [outputs, tokens] = weight^T [inputs, outputs] tokens [inputs, tokens].
  const Plan& plan_of(const Shape& shape) {
    const auto found = plans_.find(shape);
    if (found != plans_.end()) return found->second;
    const auto& [outputs, inputs, tokens, token_stride, out_stride, to_f32, numbers] = shape;
    const cudaDataType_t type = numbers == Numbers::kBf16 ? CUDA_R_16BF : CUDA_R_8F_E4M3;
    Plan plan;
    check(f_.cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "an operation");
    set(plan, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    plan.possible = numbers != Numbers::kScaledFp8 || ask_for_scales(plan);
    // Sums of E4M3 products are kept in fewer bits between the steps of the matrix units, as everywhere.
    if (numbers != Numbers::kBf16) set(plan, CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
    check(f_.cublasLtMatrixLayoutCreate(&plan.weight, type, inputs, outputs, inputs), "a layout");
    check(f_.cublasLtMatrixLayoutCreate(&plan.tokens, type, inputs, tokens, token_stride), "a layout");
    check(f_.cublasLtMatrixLayoutCreate(&plan.out, to_f32 ? CUDA_R_32F : CUDA_R_16BF, outputs, tokens,
                                        out_stride),
          "a layout");
    cublasLtMatmulPreference_t preference = nullptr;
    check(f_.cublasLtMatmulPreferenceCreate(&preference), "a preference");
    check(f_.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &kWorkspaceBytes, sizeof kWorkspaceBytes),
          "a preference");
    cublasLtMatmulHeuristicResult_t best{};
    int count = 0;
    const cublasStatus_t found_one =
        plan.possible ? f_.cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.weight, plan.tokens,
                                                          plan.out, plan.out, preference, 1, &best, &count)
                      : CUBLAS_STATUS_NOT_SUPPORTED;
    f_.cublasLtMatmulPreferenceDestroy(preference);
    plan.possible = found_one == CUBLAS_STATUS_SUCCESS && count > 0;
    plan.algorithm = best.algo;
    return plans_.emplace(shape, plan).first->second;
  }

  const Functions f_;
  const cublasLtHandle_t handle_;
  void* const workspace_;
  std::map<Shape, Plan> plans_;
};

Error unavailable(std::string message) {
  return {ErrorCode::kUnavailable, std::move(message), ""};
}

}  // namespace

Result<std::unique_ptr<DenseLibrary>> open_cublaslt() {
  // The library itself is never closed: it leaves threads and handlers behind.
  void* library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
  const char* reason = library == nullptr ? dlerror() : nullptr;
  if (library == nullptr) {
    return unavailable(
        std::string("cuBLASLt 13 is not there (") + (reason == nullptr ? "?" : reason) +
        "). It comes with the CUDA toolkit and with PyTorch; put its folder into LD_LIBRARY_PATH.");
  }
  Functions functions;
  std::string missing;
  if (!load(library, functions, missing)) {
    return unavailable("libcublasLt.so.13 has no " + missing + "; it is not cuBLASLt 13.");
  }
  cublasLtHandle_t handle = nullptr;
  if (const cublasStatus_t status = functions.cublasLtCreate(&handle); status != CUBLAS_STATUS_SUCCESS) {
    return unavailable(std::string("cuBLASLt cannot be used: ") + functions.cublasLtGetStatusString(status) +
                       ".");
  }
  SLUICE_ASSIGN(void* const workspace, allocate_device_memory(kWorkspaceBytes));
  return std::unique_ptr<DenseLibrary>(std::make_unique<CublasLt>(functions, handle, workspace));
}

}  // namespace sluice::cuda
