// What the CPU backend's operations reach on this machine, at the shapes of SmolLM2-135M (30 layers, E 576, H
// 9, K 3, D 64, F 1536, V 49152; Q4_1 body, Q8_0 head), as rates and as shares of the machine's own peaks,
// measured in the same run.
//   kernel_bench --benchmark_filter=step
// SLUICE options are Google Benchmark's; two of ours come first: [threads] [isa].
#include <benchmark/benchmark.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "bench/machine_peaks.h"
#include "kernels/cpu/cpu_backend.h"

namespace sluice {
namespace {

constexpr int kLayers = 30, kWidth = 576, kHeads = 9, kKvHeads = 3, kHeadSize = 64, kMlp = 1536,
              kVocabulary = 49152;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kHeadSize;
constexpr double kBodyMacs = kLayers * (1.0 * kWidth * kQkv + 1.0 * kWidth * kWidth + 3.0 * kWidth * kMlp);

struct Peaks {
  double read_gbs, dot_gops;
};

class SmolModel {
 public:
  SmolModel(Backend& backend, DType cache_type, int64_t cache_tokens) : backend_(backend) {
    const auto qkv = bytes_of_weight(WeightFormat::kQ4_1, kQkv, kWidth),
               o = bytes_of_weight(WeightFormat::kQ4_1, kWidth, kWidth),
               gate_up = bytes_of_weight(WeightFormat::kQ4_1, 2 * kMlp, kWidth),
               down = bytes_of_weight(WeightFormat::kQ4_1, kWidth, kMlp),
               head = bytes_of_weight(WeightFormat::kQ8_0, kVocabulary, kWidth);
    const auto started = std::chrono::steady_clock::now();
    for (int l = 0; l < kLayers; ++l) {
      layers_.push_back({load(WeightFormat::kQ4_1, kQkv, kWidth, qkv),
                         load(WeightFormat::kQ4_1, kWidth, kWidth, o),
                         load(WeightFormat::kQ4_1, 2 * kMlp, kWidth, gate_up),
                         load(WeightFormat::kQ4_1, kWidth, kMlp, down)});
    }
    head_ = load(WeightFormat::kQ8_0, kVocabulary, kWidth, head);
    pack_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    const KvLayout layout{16, kKvHeads, kHeadSize, cache_type};
    const int64_t blocks = cache_tokens / 16 + 1;
    const size_t bytes = layout.block_bytes() * static_cast<size_t>(blocks);
    for (int l = 0; l < kLayers; ++l) {
      buffers_.push_back(backend.allocate(bytes * 2).value());
      caches_.push_back({layout, buffers_.back()->data(), buffers_.back()->data() + bytes, blocks});
      std::memset(buffers_.back()->data(), 1, bytes * 2);
    }
  }

  double pack_seconds() const { return pack_seconds_; }
  double body_bytes() const {
    double bytes = 0;
    for (const auto& l : layers_) {
      bytes += static_cast<double>(l.qkv->bytes() + l.o->bytes() + l.gate_up->bytes() + l.down->bytes());
    }
    return bytes;
  }
  double head_bytes() const { return static_cast<double>(head_->bytes()); }

  // Every sequence of `sequences` adds `added` tokens after `stored` ones; blocks lie one sequence after
  // another.
  void begin(int sequences, int stored, int added) {
    const int64_t stride = (stored + added + 15) / 16;
    table_.resize(static_cast<size_t>(sequences * stride));
    std::iota(table_.begin(), table_.end(), 0);
    positions_.clear(), slots_.clear(), starts_.assign(1, 0), lengths_.clear(), sample_rows_.clear();
    for (int s = 0; s < sequences; ++s) {
      for (int i = stored; i < stored + added; ++i) {
        positions_.push_back(i);
        slots_.push_back((s * stride + i / 16) * 16 + i % 16);
      }
      starts_.push_back(static_cast<int32_t>(positions_.size()));
      lengths_.push_back(stored + added);
      sample_rows_.push_back(static_cast<int32_t>(positions_.size()) - 1);
    }
    batch_ = {positions_, positions_, slots_, starts_, lengths_, table_, stride, sample_rows_};
    const auto rows = static_cast<int64_t>(positions_.size());
    const auto shape = [&](std::vector<float>& v, int64_t r, int64_t c) {
      v.resize(static_cast<size_t>(r * c), 0.01F);
      return TensorView::of(v.data(), DType::kF32, r, c);
    };
    residual = shape(memory_[0], rows, kWidth), x = shape(memory_[1], rows, kWidth),
    qkv = shape(memory_[2], rows, kQkv);
    mixed = shape(memory_[3], rows, kWidth), gate_up = shape(memory_[4], rows, 2 * kMlp),
    inner = shape(memory_[5], rows, kMlp);
    last = shape(memory_[6], sequences, kWidth), logits = shape(memory_[7], sequences, kVocabulary);
    angles = shape(memory_[8], rows, kHeadSize);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& v : memory_[0]) v = normal(random);
    for (float& v : memory_[1]) v = normal(random);
    for (float& v : memory_[2]) v = normal(random);
    for (float& v : memory_[5]) v = normal(random);
  }

  void all_matmuls() {
    for (auto& l : layers_) {
      backend_.matmul(*l.qkv, x, nullptr, qkv);
      backend_.matmul(*l.o, x, nullptr, mixed);
      backend_.matmul(*l.gate_up, x, nullptr, gate_up);
      backend_.matmul(*l.down, inner, nullptr, mixed);
    }
  }
  void all_attention() {
    for (int l = 0; l < kLayers; ++l)
      backend_.attention(batch_, shape_, qkv, caches_[static_cast<size_t>(l)], mixed);
  }
  void head() { backend_.matmul(*head_, last, nullptr, logits); }
  void one_matmul(int which, int layer) {
    auto& l = layers_[static_cast<size_t>(layer)];
    switch (which) {
      case 0:
        return backend_.matmul(*l.qkv, x, nullptr, qkv);
      case 1:
        return backend_.matmul(*l.o, x, nullptr, mixed);
      case 2:
        return backend_.matmul(*l.gate_up, x, nullptr, gate_up);
      default:
        return backend_.matmul(*l.down, inner, nullptr, mixed);
    }
  }

  void step() {
    const std::vector<float>& ones = ones_;
    backend_.embed(*head_, batch_.token_ids, residual);
    backend_.rope_angles(batch_.positions, frequencies_, 1, angles);
    backend_.rms_norm(residual, ones.data(), 1e-5F, x);
    for (int n = 0; n < kLayers; ++n) {
      auto& l = layers_[static_cast<size_t>(n)];
      const KvView& cache = caches_[static_cast<size_t>(n)];
      backend_.matmul(*l.qkv, x, nullptr, qkv);
      backend_.rope_store_kv(batch_, shape_, RopeStyle::kInterleaved, angles, qkv, cache);
      backend_.attention(batch_, shape_, qkv, cache, mixed);
      backend_.matmul(*l.o, mixed, nullptr, x);
      backend_.add_rms_norm(residual, x, ones.data(), 1e-5F, mixed);
      backend_.matmul(*l.gate_up, mixed, nullptr, gate_up);
      backend_.gated_activation(Activation::kSilu, gate_up, inner);
      backend_.matmul(*l.down, inner, nullptr, mixed);
      backend_.add_rms_norm(residual, mixed, ones.data(), 1e-5F, x);
    }
    backend_.gather_rows(x, batch_.sample_rows, last);
    head();
    rows_.assign(sample_rows_.size(), {.temperature = 0});
    tokens_.resize(sample_rows_.size());
    backend_.sample(logits, rows_, tokens_);
  }

  TensorView residual, x, qkv, mixed, gate_up, inner, last, logits, angles;

 private:
  struct Layer {
    std::unique_ptr<Weight> qkv, o, gate_up, down;
  };
  static std::vector<std::byte> bytes_of_weight(WeightFormat format, int64_t rows, int64_t columns) {
    HostWeight w{nullptr, format, rows, columns};
    std::vector<std::byte> bytes(w.row_bytes() * static_cast<size_t>(rows));
    std::mt19937_64 random(7);
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const uint64_t r = random();
      std::memcpy(bytes.data() + i, &r, 8);
    }
    const auto facts = facts_of(format);
    for (size_t b = 0; b < bytes.size(); b += static_cast<size_t>(facts.block_bytes)) {
      const uint16_t scale = f32_to_f16(0.005F), minimum = f32_to_f16(-0.04F);
      std::memcpy(bytes.data() + b, &scale, 2);
      if (format == WeightFormat::kQ4_1) std::memcpy(bytes.data() + b + 2, &minimum, 2);
    }
    return bytes;
  }
  std::unique_ptr<Weight> load(WeightFormat format, int64_t rows, int64_t columns,
                               const std::vector<std::byte>& bytes) {
    const HostWeight w{bytes.data(), format, rows, columns};
    return backend_.load_weight({&w, 1}).value();
  }

  Backend& backend_;
  const AttentionShape shape_{kHeads, kKvHeads, kHeadSize, 0.125F, 0};
  std::vector<Layer> layers_;
  std::unique_ptr<Weight> head_;
  double pack_seconds_ = 0;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<KvView> caches_;
  std::vector<int32_t> table_, positions_, starts_, lengths_, sample_rows_;
  std::vector<int64_t> slots_;
  StepBatch batch_;
  std::vector<float> memory_[9];
  std::vector<float> ones_ = std::vector<float>(kMlp, 1.0F);
  std::vector<float> frequencies_ = std::vector<float>(kHeadSize / 2, 0.1F);
  std::vector<SamplingRow> rows_;
  std::vector<SampledToken> tokens_;
};

void report(benchmark::State& state, const Peaks& peaks, double bytes, double ops) {
  using Rate = benchmark::Counter;
  const auto per_second = [](double v) { return Rate(v, Rate::kIsIterationInvariantRate); };
  if (bytes > 0) {
    state.counters["GB/s"] = per_second(bytes / 1e9);
    state.counters["of_read_peak"] = per_second(bytes / 1e9 / peaks.read_gbs);
  }
  if (ops > 0) {
    state.counters["GOP/s"] = per_second(ops / 1e9);
    state.counters["of_dot_peak"] = per_second(ops / 1e9 / peaks.dot_gops);
  }
}

int run(int argc, char** argv) {
  int threads = 0;
  std::string isa = "auto";
  if (argc > 1 && argv[1][0] != '-') {
    threads = std::atoi(argv[1]);
    --argc, ++argv;
  }
  if (argc > 1 && argv[1][0] != '-') {
    isa = argv[1];
    --argc, ++argv;
  }
  auto made = make_cpu_backend(threads, isa);
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", made.error().message.c_str());
    return 2;
  }
  Backend& backend = **made;
  const int used = bench::threads_in(backend.facts().name);
  const Peaks peaks{bench::read_gbs(used), bench::int8_dot_gops(used)};
  static SmolModel model(backend, DType::kBF16, 64 * 1280);
  static SmolModel model_int8(backend, DType::kI8, 64 * 1280);
  std::printf(
      "%s; read peak %.1f GB/s over 96 MB, int8 dot peak %.0f GOP/s; packing the model took %.0f and %.0f "
      "ms\n",
      backend.facts().name.c_str(), peaks.read_gbs, peaks.dot_gops, model.pack_seconds() * 1e3,
      model_int8.pack_seconds() * 1e3);

  const auto add = [&](const std::string& name, auto body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMicrosecond);
  };
  for (const int rows : {1, 4, 16, 64, 512}) {
    add("matmul_body/" + std::to_string(rows), [&, rows](benchmark::State& state) {
      model.begin(1, 0, rows);
      for (auto _ : state) model.all_matmuls();
      report(state, peaks, rows <= 4 ? model.body_bytes() : 0, 2 * kBodyMacs * rows);
    });
    add("matmul_head/" + std::to_string(rows), [&, rows](benchmark::State& state) {
      model.begin(rows, 0, 1);
      for (auto _ : state) model.head();
      report(state, peaks, rows <= 4 ? model.head_bytes() : 0, 2.0 * kWidth * kVocabulary * rows);
    });
  }
  static const char* const kNames[] = {"qkv", "o", "gate_up", "down"};
  for (int which = 0; which < 4; ++which) {
    for (const int rows : {1, 16, 512}) {
      add(std::string("matmul_") + kNames[which] + "/" + std::to_string(rows),
          [&, rows, which](benchmark::State& state) {
            model.begin(1, 0, rows);
            int layer = 0;
            for (auto _ : state) model.one_matmul(which, layer = (layer + 1) % kLayers);
            const double macs = which == 0   ? kQkv * kWidth
                                : which == 1 ? kWidth * kWidth
                                : which == 2 ? 2 * kMlp * kWidth
                                             : kMlp * kWidth;
            report(state, peaks, rows == 1 ? macs * 0.625 : 0, 2 * macs * rows);
          });
    }
  }
  const struct {
    int sequences, stored, added;
  } loads[] = {{1, 128, 1},  {1, 1024, 1}, {16, 128, 1}, {16, 1024, 1},
               {64, 256, 1}, {1, 0, 128},  {1, 0, 512},  {1, 512, 512}};
  for (const auto& l : loads) {
    const std::string name =
        std::to_string(l.sequences) + "x" + std::to_string(l.added) + "_after_" + std::to_string(l.stored);
    for (SmolModel* m : {&model, &model_int8}) {
      const std::string cache = m == &model ? "/bf16" : "/int8";
      add("attention/" + name + cache, [&, l, m](benchmark::State& state) {
        m->begin(l.sequences, l.stored, l.added);
        for (auto _ : state) m->all_attention();
        double pairs = 0;
        for (int i = 0; i < l.added; ++i) pairs += l.stored + i + 1;
        const double bytes =
            2.0 * kLayers * kKvHeads * kHeadSize * (m == &model ? 2 : 1) * (l.stored + l.added) * l.sequences;
        report(state, peaks, l.added == 1 ? bytes : 0,
               4.0 * kLayers * kHeads * kHeadSize * pairs * l.sequences);
      });
      add("step/" + name + cache, [&, l, m](benchmark::State& state) {
        m->begin(l.sequences, l.stored, l.added);
        for (auto _ : state) m->step();
        state.counters["tokens/s"] =
            benchmark::Counter(l.sequences * l.added, benchmark::Counter::kIsIterationInvariantRate);
      });
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::run(argc, argv);
}
