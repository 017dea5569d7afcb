// The GGUF container, v2 and v3, little-endian: metadata and the table of tensors, as views into the file's
// bytes. Knows nothing of models; models/gguf_model.h gives the keys their meaning. Source of the layout:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
//
// Nothing is believed: counts are bounded by the bytes that are left before anything is allocated, every
// product and sum is checked, a tensor lies within the file, aligned, and shares no byte with another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/stored_tensor.h"

namespace sluice {

struct GgufLimits {
  static constexpr uint64_t kMaxTensors = 1 << 16;
  static constexpr uint64_t kMaxKeys = 1 << 16;
  static constexpr uint64_t kMaxNameBytes = 256;   // of a tensor; the format's own bound is 64
  static constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own
  static constexpr uint32_t kMaxAlignment = 1 << 20;
};

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// A scalar (count 1) or an array of scalars or strings, still encoded.
struct GgufValue {
  std::string_view key;
  GgufType type = GgufType::kU8;  // an array's is that of its elements
  bool is_array = false;
  uint64_t count = 0;
  std::span<const std::byte> bytes;
};

class GgufFile {
 public:
  // `bytes` must outlive the result. `file` names it in messages. kCorrupt, or kUnsupported for what is valid
  // but not read here: v1, big-endian files, tensor types that no kernel knows.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string file);

  const std::string& file() const { return file_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // sorted by name
  std::vector<StoredTensor> take_tensors() { return std::move(tensors_); }
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Absent: nullopt. kCorrupt, naming the key, when the value is of another kind or out of the type's range.
  Result<std::optional<int64_t>> integer(std::string_view key) const;
  Result<std::optional<double>> number(std::string_view key) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string_view>> text(std::string_view key) const;
  // Absent: empty.
  Result<std::vector<std::string>> texts(std::string_view key) const;
  Result<std::vector<float>> floats(std::string_view key) const;
  Result<std::vector<int32_t>> integers(std::string_view key) const;

 private:
  const GgufValue* find(std::string_view key) const;
  Error wrong_kind(std::string_view key, const char* wanted) const;

  std::string file_;
  std::vector<GgufValue> values_;  // sorted by key
  std::vector<StoredTensor> tensors_;
};

}  // namespace sluice
