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
#include <utility>
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

struct SafetensorsFile {
  std::vector<StoredTensor> tensors;  // sorted by name
  // Tensors of other types (name, type). Not an error until a model asks for one: folders carry integer
  // buffers too.
  std::vector<std::pair<std::string, std::string>> unread;
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
Result<std::unique_ptr<TensorSource>> open_safetensors(const std::string& directory);

}  // namespace sluice
