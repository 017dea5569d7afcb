#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <future>
#include <map>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/fp8_products.h"
#include "kernels/cuda/gpu_types.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/nccl_collective.h"
#include "kernels/cuda/peaks.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/step_graphs.h"
#include "kernels/cuda/step_sampler.h"
#include "kernels/cuda/step_stage.h"

namespace sluice::cuda {
namespace {

constexpr int kOldestMajor = 8;  // Ampere: bf16, asynchronous copies
// Quantised weights meet up to so many tokens as they are, sixteen at a time; for more it is cheaper to write
// them out in bf16 first (4.5 bytes a weight against 0.5 for each sixteen tokens), unless they are very
// large.
constexpr int kQuantisedTokens = 128;
// E4M3 weights likewise, where the library does not multiply them.
constexpr int kFp8Tokens = 128;
constexpr int64_t kMostDequantised = int64_t{128} << 20;  // weights

Rows rows_of(TensorView x) {
  SLUICE_CHECK(x.dtype == DType::kBF16);
  return {x.row<bf16>(0), x.row_stride, static_cast<int>(x.rows), static_cast<int>(x.columns)};
}

class DeviceBuffer final : public Buffer {
 public:
  explicit DeviceBuffer(DeviceMemory memory) : memory_(std::move(memory)) {}
  std::byte* data() override { return memory_.get(); }
  size_t size() const override { return memory_.bytes(); }

 private:
  DeviceMemory memory_;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(CudaBackendOptions options, DeviceProperties device, std::unique_ptr<DenseLibrary> library)
      : options_(options),
        device_(std::move(device)),
        library_(std::move(library)),
        stream_(make_stream()),
        upload_(stream_),
        stage_(moves_, stream_),
        sampler_(moves_, stream_),
        graphs_(moves_, stream_),
        plan_arrays_(moves_),
        fp8_products_(moves_),
        ordered_(moves_),
        sums_(moves_),
        dequantised_(moves_),
        split_sums_(moves_),
        split_peaks_(moves_),
        counters_(moves_) {}
  ~CudaBackend() override {
    here();
    cuda::synchronize(stream_);
    leave();
    destroy_stream(stream_);
  }

  // Returns when all ranks have called it.
  Status join_by_nccl(const NcclId& id, DeviceRank rank) {
    here();
    SLUICE_ASSIGN(auto group, make_nccl_collective(id, rank, stream_, moves_));
    join(std::move(group));
    return {};
  }

  DeviceFacts facts() const override {
    here();
    const std::string products = library_ != nullptr ? library_->name() : "without cuBLASLt";
    return {"cuda", device_.name + ", " + products, device_.memory_bytes, free_memory()};
  }
  DType activation_dtype() const override { return DType::kBF16; }
  KvOrder kv_order() const override { return KvOrder::kRows; }
  std::vector<DType> kv_types() const override { return {DType::kBF16, DType::kF16, DType::kF8}; }
  int steps_in_flight() const override { return static_cast<int>(StepSampler::kInFlight); }
  DevicePeaks measure_peaks() override {
    here();
    return cuda::measure_peaks(library_.get(), stream_);
  }
  int max_logprobs() const override { return kMaxTopLogprobs; }

  // ---- load time ----

  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override {
    here();
    SLUICE_ASSIGN(DeviceMemory memory, DeviceMemory::allocate(std::max<size_t>(bytes, 64)));
    fill_with_zeros(memory.get(), memory.bytes(), stream_);
    return std::unique_ptr<Buffer>(std::make_unique<DeviceBuffer>(std::move(memory)));
  }
  void copy_to_device(std::byte* to, const void* from, size_t bytes) override {
    here();
    cuda::copy_to_device(to, from, bytes, stream_);
    cuda::synchronize(stream_);
  }
  void copy_to_host(void* to, const std::byte* from, size_t bytes) override {
    cuda::copy_to_host(to, from, bytes, stream_);
    cuda::synchronize(stream_);
  }
  Result<std::unique_ptr<Weight>> load_weight(std::span<const HostWeight> parts) override {
    here();
    return load_device_weight(parts, upload_);
  }

  // ---- a step ----

  const StepBatch& stage(const StepBatch& batch) override {
    here();
    upload_.release();  // everything is loaded
    host_ = batch;
    planned_ = false;
    return stage_.stage(batch, 0, sampler_.latest_ids());
  }

  void run(const StepBatch& batch, int most_sequences, const Forward& forward) override {
    const int64_t rows = options_.graphs && shape_.head_size > 0 && decodes_only(batch)
                             ? padded_rows(batch.sequences(), most_sequences)
                             : 0;
    if (rows == 0) return forward(stage(batch));
    here();
    host_ = batch;
    const StepBatch& staged = stage_.stage(batch, rows, sampler_.latest_ids());
    plan(rows);
    graphs_.run({rows, staged.block_table_stride}, [&] { forward(staged); });
  }

  void embed(const Weight& table, std::span<const int32_t> token_ids, TensorView out) override {
    const auto& parts = static_cast<const DeviceWeight&>(table).parts();
    SLUICE_CHECK_EQ(parts.size(), size_t{1});
    SLUICE_CHECK(static_cast<const DeviceWeight&>(table).input_order() == nullptr);
    std::visit([&](const auto& matrix) { cuda::embed(matrix, token_ids.data(), rows_of(out), stream_); },
               parts[0].matrix);
  }

  void rms_norm(TensorView x, const float* scale, float eps, TensorView out) override {
    cuda::rms_norm(rows_of(x), scale, eps, rows_of(out), stream_);
  }
  void add_rms_norm(TensorView residual, TensorView delta, const float* scale, float eps,
                    TensorView out) override {
    cuda::add_rms_norm(rows_of(residual), rows_of(delta), scale, eps, rows_of(out), stream_);
  }
  void head_norm(TensorView x, int heads, int head_size, const float* scale, float eps) override {
    cuda::head_norm(rows_of(x), heads, head_size, scale, eps, stream_);
  }

  void matmul(const Weight& w, TensorView x, const float* bias, TensorView out) override {
    SLUICE_CHECK_EQ(x.columns, w.columns());
    SLUICE_CHECK_EQ(out.columns, w.rows());
    if (x.rows == 0) return;
    const auto& weight = static_cast<const DeviceWeight&>(w);
    Rows tokens = rows_of(x);
    if (weight.input_order() != nullptr) {
      const Rows ordered{
          ordered_.of<bf16>(static_cast<size_t>(tokens.rows) * static_cast<size_t>(tokens.columns), stream_),
          tokens.columns, tokens.rows, tokens.columns};
      reorder(tokens, weight.input_order(), ordered, stream_);
      tokens = ordered;
    }
    for (const DeviceWeight::Part& part : weight.parts()) {
      MatmulOut to{.stride = out.row_stride, .bias = bias == nullptr ? nullptr : bias + part.first_output};
      if (out.dtype == DType::kF32)
        to.rows_f32 = out.row<float>(0) + part.first_output;
      else
        to.rows = rows_of(out).values + part.first_output;
      std::visit([&](const auto& matrix) { multiply(matrix, tokens, to); }, part.matrix);
    }
  }

  void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                   float attention_factor, TensorView out) override {
    cuda::rope_angles(positions.data(), static_cast<int>(positions.size()), on_device(inverse_frequencies),
                      static_cast<int>(inverse_frequencies.size()), attention_factor, out.f32(), stream_);
  }
  void rope_store_kv(const StepBatch& batch, const AttentionShape& shape, RopeStyle style, TensorView angles,
                     TensorView qkv, const KvView& cache) override {
    cuda::rope_store_kv(rows_of(qkv), shape, style, angles.f32(), batch.slots.data(), paged(cache), stream_);
  }

  void attention(const StepBatch& batch, const AttentionShape& shape, TensorView qkv, const KvView& cache,
                 TensorView out) override {
    if (!planned_) {
      shape_ = shape;
      plan(0);
    }
    SLUICE_CHECK(shape == shape_);
    const Rows q = rows_of(qkv), to = rows_of(out);
    const AttentionArrays arrays{.qkv = q.values,
                                 .qkv_stride = q.stride,
                                 .out = to.values,
                                 .out_stride = to.stride,
                                 .block_table = batch.block_table.data(),
                                 .block_table_stride = batch.block_table_stride,
                                 .cache = paged(cache)};
    if (decode_.blocks > 0) attention_decode(arrays, shape, decode_, room_, stream_);
    if (prefill_.blocks > 0) attention_prefill(arrays, shape, prefill_, stream_);
  }

  void gated_activation(Activation kind, TensorView gate_up, TensorView out) override {
    cuda::gated_activation(kind, rows_of(gate_up), rows_of(out), stream_);
  }
  void gather_rows(TensorView x, std::span<const int32_t> rows, TensorView out) override {
    if (out.dtype == DType::kF32)
      gather_rows_f32(rows_of(x), rows.data(), static_cast<int>(rows.size()), out.f32(), stream_);
    else
      cuda::gather_rows(rows_of(x), rows.data(), rows_of(out), stream_);
  }

  void sample(TensorView logits, std::span<const SamplingRow> rows, std::span<SampledToken> out) override {
    sampler_.sample(logits, rows, out);
  }
  void finish_sample() override {
    if (rank().count > 1 && !sampler_.done_within(Collective::kLimit)) {
      stop_process("GPU " + std::to_string(options_.device) + " has not ended its step within " +
                   std::to_string(Collective::kLimit.count()) + " s: a rank or its link is lost.");
    }
    sampler_.finish();
  }

  void synchronize() override { cuda::synchronize(stream_); }

 private:
  // A backend's calls come from several threads in its life, a thread's calls go to several backends.
  void here() const { SLUICE_CHECK(use_device(options_.device).ok()); }

  static PagedCache paged(const KvView& cache) {
    SLUICE_CHECK(cache.layout.order == KvOrder::kRows);
    return {cache.keys,
            cache.values,
            cache.layout.dtype,
            cache.layout.block_tokens,
            cache.layout.kv_heads,
            cache.layout.head_size,
            static_cast<int64_t>(cache.layout.page_bytes())};
  }

  void multiply(const QuantisedMatrix& w, Rows x, const MatmulOut& out) {
    const bool few = x.rows <= kQuantisedTokens || options_.deterministic ||
                     int64_t{w.outputs} * w.inputs > kMostDequantised;
    if (few) {
      float* const sums =
          sums_.of<float>(static_cast<size_t>(x.rows) * static_cast<size_t>(w.inputs / 16), stream_);
      return matmul_skinny(w, x, sums, out, stream_);
    }
    bf16* const dense =
        dequantised_.of<bf16>(static_cast<size_t>(w.outputs) * static_cast<size_t>(w.inputs), stream_);
    dequantise(w, dense, stream_);
    multiply(DenseMatrix{dense, w.outputs, w.inputs}, x, out);
  }

  void multiply(const Fp8Matrix& w, Rows x, const MatmulOut& out) {
    const bool large = int64_t{w.outputs} * w.inputs > kMostDequantised;
    if (x.rows <= kSkinnyTokens || options_.deterministic) return matmul_skinny(w, x, out, stream_);
    if (library_ != nullptr && fp8_products_.multiply(*library_, w, x, out, stream_)) return;
    if (x.rows <= kFp8Tokens || large) return matmul_skinny(w, x, out, stream_);
    bf16* const dense =
        dequantised_.of<bf16>(static_cast<size_t>(w.outputs) * static_cast<size_t>(w.inputs), stream_);
    dequantise(w, dense, stream_);
    multiply(DenseMatrix{dense, w.outputs, w.inputs}, x, out);
  }

  void multiply(const DenseMatrix& w, Rows x, const MatmulOut& out) {
    if (x.rows <= kSkinnyTokens || options_.deterministic) return matmul_skinny(w, x, out, stream_);
    if (library_ == nullptr) return matmul_tiled(w, x, out, stream_);
    library_->multiply(w, x, out, stream_);
    if (out.bias != nullptr) add_bias(out, x.rows, w.outputs, stream_);
  }

  // A model's constants come with every step; they are sent once.
  const float* on_device(std::span<const float> constants) {
    const auto found = constants_.find(constants.data());
    if (found != constants_.end()) return found->second.as<const float>();
    auto memory = DeviceMemory::allocate(constants.size_bytes());
    SLUICE_CHECK(memory.ok());
    cuda::copy_to_device(memory->get(), constants.data(), constants.size_bytes(), stream_);
    cuda::synchronize(stream_);
    return constants_.emplace(constants.data(), std::move(memory).value()).first->second.as<const float>();
  }

  // Who attends to what, once a step for all layers. `rows` > 0: of a step that is to be recorded, whose
  // memory and grids are those of the longest contexts.
  void plan(int64_t rows) {
    planned_ = true;
    const PlanOptions options{device_.multiprocessors, options_.deterministic};
    plan_attention(host_.query_start, host_.context_lengths, shape_, options, plan_);
    const auto decodes = static_cast<int32_t>(plan_.decode.size());
    const auto prefills = static_cast<int32_t>(plan_.prefill.size());
    int64_t most_decodes = decodes, most_prefills = prefills, partial_rows = plan_.partial_rows;
    if (rows > 0) {
      const int count = static_cast<int>(rows);
      const PlanLimits limits = plan_limits(count, count, shape_, options);
      most_decodes = limits.decode_works;
      most_prefills = options_.deterministic ? limits.prefill_works : 0;
      partial_rows = limits.partial_rows;
      SLUICE_CHECK(decodes <= most_decodes && prefills <= most_prefills &&
                   plan_.partial_rows <= partial_rows);
    }
    const int32_t counts[] = {decodes, prefills};
    StepArrays& a = plan_arrays_;
    a.begin(StepArrays::room_for<int32_t>(2) +
                StepArrays::room_for<DecodeWork>(static_cast<size_t>(most_decodes)) +
                StepArrays::room_for<PrefillWork>(static_cast<size_t>(most_prefills)),
            stream_);
    const int32_t* const on_device_counts = a.add(std::span<const int32_t>(counts));
    const auto send = [&](const auto& works, int64_t most) {
      auto* const to =
          a.reserve<typename std::decay_t<decltype(works)>::value_type>(static_cast<size_t>(most));
      std::ranges::copy(works, to);
      return a.on_device(to);
    };
    decode_ = {send(plan_.decode, most_decodes), on_device_counts, static_cast<int>(most_decodes)};
    prefill_ = {send(plan_.prefill, most_prefills), on_device_counts + 1, static_cast<int>(most_prefills)};
    a.send(stream_);

    const auto splits = static_cast<size_t>(partial_rows);
    room_.sums = split_sums_.of<float>(splits * static_cast<size_t>(shape_.head_size), stream_);
    room_.peaks = split_peaks_.of<float>(splits * 2, stream_);
    const size_t sequences = std::max(host_.context_lengths.size(), static_cast<size_t>(rows));
    const size_t counters = sequences * static_cast<size_t>(shape_.kv_heads) * sizeof(int32_t);
    const bool fresh = counters > counters_.bytes();
    room_.counters = counters_.of<int32_t>(counters / sizeof(int32_t), stream_);
    // Zero before every launch, and left so by it.
    if (fresh) fill_with_zeros(room_.counters, counters_.bytes(), stream_);
  }

  const CudaBackendOptions options_;
  const DeviceProperties device_;
  const std::unique_ptr<DenseLibrary> library_;  // null: our own kernels multiply
  const Stream stream_;
  WeightUpload upload_;

  MemoryMoves moves_;
  StepStage stage_;
  StepSampler sampler_;
  StepGraphs graphs_;
  StepBatch host_;        // the step's arrays as they came
  AttentionShape shape_;  // of all layers; head_size 0 before the first step
  StepArrays plan_arrays_;
  AttentionPlan plan_;
  bool planned_ = false;
  DecodeList decode_;
  PrefillList prefill_;
  DecodeRoom room_;
  Fp8Products fp8_products_;
  Scratch ordered_, sums_, dequantised_, split_sums_, split_peaks_, counters_;
  std::map<const float*, DeviceMemory> constants_;
};

Error unavailable(std::string message) {
  return {ErrorCode::kUnavailable, std::move(message), "device"};
}

}  // namespace

Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaBackendOptions& options) {
  std::string why;
  const std::vector<DeviceProperties> devices = find_devices(why);
  if (devices.empty())
    return unavailable("There is no NVIDIA GPU to use" + (why.empty() ? "." : ": " + why + "."));
  if (options.device < 0 || options.device >= static_cast<int>(devices.size())) {
    return unavailable("There is no GPU " + std::to_string(options.device) + "; there are " +
                       std::to_string(devices.size()) + ", counted from 0.");
  }
  const DeviceProperties& device = devices[static_cast<size_t>(options.device)];
  if (device.major < kOldestMajor) {
    return Error{ErrorCode::kUnsupported,
                 device.name + " has compute capability " + std::to_string(device.major) + "." +
                     std::to_string(device.minor) +
                     "; GPUs from 8.0 (Ampere) on are served. Use --device cpu.",
                 "device"};
  }
  SLUICE_TRY(use_device(options.device));
  auto library = options.deterministic ? Result<std::unique_ptr<DenseLibrary>>(nullptr) : open_cublaslt();
  return std::unique_ptr<Backend>(
      std::make_unique<CudaBackend>(options, device, library.ok() ? std::move(library).value() : nullptr));
}

Status join_by_nccl(std::span<const std::unique_ptr<Backend>> backends) {
  SLUICE_ASSIGN(const NcclId id, make_nccl_id());
  std::vector<std::future<Status>> joined;
  const auto count = static_cast<int>(backends.size());
  for (int r = 0; r < count; ++r) {
    auto& backend = static_cast<CudaBackend&>(*backends[static_cast<size_t>(r)]);
    joined.push_back(std::async(std::launch::async, [&backend, &id, r, count] {
      return backend.join_by_nccl(id, {r, count});
    }));
  }
  Status first;
  for (auto& one : joined) {
    if (Status status = one.get(); first.ok() && !status.ok()) first = std::move(status);
  }
  return first;
}

}  // namespace sluice::cuda
