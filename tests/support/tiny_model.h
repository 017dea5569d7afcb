// Models small enough for a test, with random weights and a byte-level vocabulary, as files of either kind.
// The same shape and seed give the same weights in both, so that F32, F16 and BF16 models answer alike from a
// GGUF and a directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "models/model_config.h"

namespace sluice {

struct TinyShape {
  std::string architecture = "llama";  // llama, qwen2, qwen3
  int layers = 2;
  int width = 64;
  int query_heads = 4;
  int kv_heads = 2;
  int head_size = 16;
  int mlp_width = 128;
  int context_length = 512;
  bool tied_embedding = false;
  uint64_t seed = 1;
  // Of the matrices; vectors are F32. Directories: F32, F16 or BF16. The K formats (rows of 256) hold random
  // blocks, since nothing here writes them from numbers.
  WeightFormat format = WeightFormat::kF32;
};

// Ids 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|> (the end of an answer), then the 256 bytes in GPT-2's
// alphabet, then what the merges make, then unused ones up to kTinyVocabulary.
inline constexpr int kTinyVocabulary = 320;
struct TinyVocabulary {
  std::vector<std::string> tokens;  // kTinyVocabulary
  std::vector<std::string> merges;  // "a b"
  std::vector<int32_t> types;       // as GGUF has them
};
TinyVocabulary tiny_vocabulary();
// ChatML, as TokenizerSource has it.
std::string tiny_chat_template();

// The GGUF file's bytes; writes them to `path`.
std::string tiny_gguf(const TinyShape& shape);
void write_tiny_gguf(const TinyShape& shape, const std::string& path);
// config.json, tokenizer.json, tokenizer_config.json, generation_config.json and safetensors in `shards`
// files.
void write_tiny_directory(const TinyShape& shape, const std::string& folder, int shards = 1);

// One file of safetensors: name, type as the format spells it, shape, bytes.
struct SafetensorsEntry {
  std::string name, type;
  std::vector<uint64_t> shape;
  std::string bytes;
};
std::string safetensors_file(const std::vector<SafetensorsEntry>& entries);

}  // namespace sluice
