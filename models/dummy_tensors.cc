#include "models/dummy_tensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <random>

#include "kernels/dtype.h"
#include "kernels/quant_blocks.h"
#include "models/hugging_face.h"
#include "models/mapped_file.h"

namespace sluice {
namespace {

constexpr size_t kRun = size_t{32} << 20;     // bytes of random values
constexpr float kDeviation = 0.02F;           // as models are initialised
constexpr float kF8Scale = kDeviation / 130;  // of values of random bits
constexpr size_t kMaxConfigBytes = size_t{1} << 20;

void write_f16(std::byte* to, float value) {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(to, &bits, sizeof bits);
}

// A block of random bits with a scale that makes weights of the usual size.
void scale_block(WeightFormat format, std::byte* block) {
  switch (format) {
    case WeightFormat::kQ4_0:
      return write_f16(block, kDeviation / 5);
    case WeightFormat::kQ8_0:
      return write_f16(block, kDeviation / 74);
    case WeightFormat::kQ4_K:  // scales of 6 bits, minima likewise
      write_f16(block, kDeviation / 5 / 32);
      return write_f16(block + 2, kDeviation * 1.5F / 32);
    case WeightFormat::kI4_32:
    case WeightFormat::kI4_64: {
      const float scale = kDeviation / 5;
      std::memcpy(block, &scale, sizeof scale);
      block[kI4ZeroAt] &= std::byte{15};
      return;
    }
    case WeightFormat::kF8:
      for (int i = 0; i < facts_of(format).block_bytes; ++i)
        if ((block[i] & std::byte{0x7f}) == std::byte{0x7f}) block[i] ^= std::byte{1};  // a number
      return;
    case WeightFormat::kQ6_K:  // scales of 8 bits
      return write_f16(block + facts_of(format).block_bytes - 2, kDeviation / 19 / 74);
    default:
      return;
  }
}

Status fill(WeightFormat format, std::byte* bytes, size_t count) {
  std::mt19937_64 random(1);
  const auto uniform = [&] {  // of that deviation
    return (static_cast<float>(random() >> 40U) / static_cast<float>(1 << 23) - 1.0F) * kDeviation * 1.732F;
  };
  switch (format) {
    case WeightFormat::kF32:
      for (size_t i = 0; i + 4 <= count; i += 4) {
        const float value = uniform();
        std::memcpy(bytes + i, &value, 4);
      }
      return {};
    case WeightFormat::kBF16:
    case WeightFormat::kF16:
      for (size_t i = 0; i + 2 <= count; i += 2) {
        const uint16_t bits = format == WeightFormat::kF16 ? f32_to_f16(uniform()) : f32_to_bf16(uniform());
        std::memcpy(bytes + i, &bits, 2);
      }
      return {};
    case WeightFormat::kQ4_0:
    case WeightFormat::kQ8_0:
    case WeightFormat::kQ4_K:
    case WeightFormat::kQ6_K:
    case WeightFormat::kI4_32:
    case WeightFormat::kI4_64:
    case WeightFormat::kF8:
      break;
    default:
      return Error{ErrorCode::kUnsupported, "There are no random weights in " +
                                                std::string(facts_of(format).name) +
                                                "; take F32, F16, BF16, F8, I4_32, I4_64, Q4_0, Q8_0, Q4_K "
                                                "or Q6_K."};
  }
  for (size_t i = 0; i + 8 <= count; i += 8) {
    const uint64_t bits = random();
    std::memcpy(bytes + i, &bits, 8);
  }
  const auto block = static_cast<size_t>(facts_of(format).block_bytes);
  for (size_t i = 0; i + block <= count; i += block) scale_block(format, bytes + i);
  return {};
}

// The same pages of memory one behind the other, as far as anybody asks; where it begins never changes.
class RepeatedRun {
 public:
  RepeatedRun() = default;
  RepeatedRun(const RepeatedRun&) = delete;
  RepeatedRun& operator=(const RepeatedRun&) = delete;
  ~RepeatedRun() {
    if (bytes_ != nullptr) munmap(bytes_, kMost);
    if (file_ >= 0) close(file_);
  }

  Status make(WeightFormat format) {
    // Whole pages of whole blocks.
    const size_t unit = kPage * static_cast<size_t>(facts_of(format).block_bytes);
    run_ = std::max<size_t>(1, kRun / unit) * unit;
    file_ = memfd_create("sluice-dummy-weights", MFD_CLOEXEC);
    if (file_ < 0 || ftruncate(file_, static_cast<off_t>(run_)) != 0) return no_memory();
    void* const room = mmap(nullptr, kMost, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return no_memory();
    bytes_ = static_cast<std::byte*>(room);
    SLUICE_TRY(extend(run_));
    return fill(format, bytes_, run_);
  }
  Result<const std::byte*> at_least(size_t bytes) {
    std::lock_guard lock(mutex_);
    SLUICE_TRY(extend(bytes));
    return bytes_;
  }

 private:
  static constexpr size_t kPage = 4096, kMost = size_t{64} << 30;

  Status extend(size_t bytes) {
    if (bytes > kMost - run_) return Error{ErrorCode::kUnsupported, "A matrix is too large to be made up."};
    for (; mapped_ < bytes; mapped_ += run_) {
      if (mmap(bytes_ + mapped_, run_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_, 0) ==
          MAP_FAILED)
        return no_memory();
    }
    return {};
  }
  static Error no_memory() {
    return {ErrorCode::kOutOfMemory,
            std::string("No memory for random weights: ") + std::strerror(errno) + ".", ""};
  }

  std::mutex mutex_;
  int file_ = -1;
  std::byte* bytes_ = nullptr;
  size_t run_ = 0, mapped_ = 0;
};

class DummyTensors final : public TensorSource {
 public:
  explicit DummyTensors(WeightFormat format) : format_(format) {}
  Status make() { return run_.make(format_); }

  bool has(std::string_view) const override { return false; }  // nothing that a model may do without
  Result<HostWeight> matrix(std::string_view name, int64_t rows, int64_t columns) const override {
    const int block = facts_of(format_).block_weights;
    if (columns % block != 0) {
      return Error{ErrorCode::kUnsupported,
                   "'" + std::string(name) + "' has rows of " + std::to_string(columns) + " weights, which " +
                       std::string(facts_of(format_).name) + " cannot hold: it takes " +
                       std::to_string(block) + " at a time."};
    }
    HostWeight weight{.format = format_, .rows = rows, .columns = columns};
    weight.scales = {.values = &kF8Scale, .rows = rows, .columns = columns};
    SLUICE_ASSIGN(weight.bytes, run_.at_least(weight.row_bytes() * static_cast<size_t>(rows)));
    return weight;
  }
  Result<std::vector<float>> vector(std::string_view name, int64_t length) const override {
    const bool is_scale = name.find("norm") != std::string_view::npos;
    return std::vector<float>(static_cast<size_t>(length), is_scale ? 1.0F : 0.0F);
  }
  size_t total_bytes() const override { return 0; }  // not known before they are asked for

 private:
  const WeightFormat format_;
  mutable RepeatedRun run_;
};

}  // namespace

Result<std::unique_ptr<TensorSource>> make_dummy_tensors(WeightFormat format) {
  auto tensors = std::make_unique<DummyTensors>(format);
  SLUICE_TRY(tensors->make());
  return std::unique_ptr<TensorSource>(std::move(tensors));
}

Result<ModelFiles> open_dummy_model(const std::string& path, WeightFormat format) {
  std::filesystem::path config(path);
  if (std::error_code error; std::filesystem::is_directory(config, error)) config /= "config.json";
  auto text = read_small_file(config.string(), kMaxConfigBytes);
  if (!text.ok() && text.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kNotFound, "'" + config.string() + "' cannot be read: random weights need a " +
                                           "Hugging Face config.json to tell their shapes."};
  }
  if (!text.ok()) return text.error();
  ModelFiles files;
  files.path = config.string();
  SLUICE_ASSIGN(files.config, parse_hugging_face_config(*text, config.string()));
  SLUICE_ASSIGN(files.tensors, make_dummy_tensors(format));
  return files;
}

}  // namespace sluice
