// Weights as safetensors: one file, or shards listed in an index. Source of the layout:
// https://github.com/huggingface/safetensors#format. Maps the files, copies nothing of size; any thread once
// opened.
//
// The header's length and nesting are bounded before it is parsed; a tensor's offsets must lie within the
// file, be exactly as far apart as its shape and type say, and share no byte with another's. A shard's name
// may not leave the directory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/stored_tensor.h"
#include "models/tensor_source.h"

namespace sluice {

struct SafetensorsLimits {
  static constexpr size_t kMaxHeaderBytes = 100'000'000;  // the format's own
  static constexpr size_t kMaxIndexBytes = 64 << 20;
  static constexpr size_t kMaxShards = 4096;
};

// A tensor of another type than weights are taken in as they lie: what quantised checkpoints are made of, and
// whatever else a folder carries. Its size has not been compared with its shape.
struct PackedTensor {
  std::string name, type;         // the type as the format spells it
  int64_t rows = 0, columns = 0;  // as StoredTensor's; a scalar is 1 x 1
  std::span<const std::byte> bytes;
};

struct SafetensorsFile {
  std::vector<StoredTensor> tensors;  // sorted by name
  std::vector<PackedTensor> packed;
};

// The tensors of a folder, plain and packed.
class SafetensorsTensors : public TensorSource {
 public:
  virtual Result<const StoredTensor*> stored(std::string_view name) const = 0;
  // Null where there is none of that name, or it is a plain one.
  virtual const PackedTensor* find_packed(std::string_view name) const = 0;
  // Of this type (I32 or F8_E4M3) and shape, with all its bytes there; kCorrupt otherwise.
  virtual Result<const PackedTensor*> packed(std::string_view name, std::string_view type, int64_t rows,
                                             int64_t columns) const = 0;
  // Of a tensor's bytes.
  virtual FileBytes file_of(std::span<const std::byte> bytes) const = 0;
};

// One file's bytes; they must outlive the result. `file` names it in messages.
Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> bytes, const std::string& file);

// The shards' file names that an index (model.safetensors.index.json) lists, each once, sorted; and its
// weights' names.
struct SafetensorsIndex {
  std::vector<std::string> shards;
  std::vector<std::pair<std::string, std::string>> shard_of;  // (tensor, shard), sorted
};
Result<SafetensorsIndex> parse_safetensors_index(std::string_view text, const std::string& file);

// model.safetensors of the directory, else what model.safetensors.index.json lists. kNotFound when there is
// neither.
Result<std::unique_ptr<SafetensorsTensors>> open_safetensors(const std::string& directory);

}  // namespace sluice
