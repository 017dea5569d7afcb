// Gives a GGUF's keys and tensors their meaning: the model's configuration, its tokenizer, and its tensors by
// their Hugging Face names. Source of the keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and
// https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "models/gguf.h"
#include "models/model_config.h"
#include "models/model_files.h"

namespace sluice {

// As open_gguf, from bytes in memory, which must outlive the result. `name` stands for the path.
Result<ModelFiles> read_gguf(std::span<const std::byte> bytes, const std::string& name);

// "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight"; nullopt when GGUF has no such tensor.
std::optional<std::string> gguf_tensor_name(std::string_view hugging_face_name);

// The parts of read_gguf. Values are checked against the file, not yet against each other.
Result<ModelConfig> gguf_config(const GgufFile& file);
Result<TokenizerSource> gguf_tokenizer(const GgufFile& file);

}  // namespace sluice
