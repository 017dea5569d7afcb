// Opens what a model is made of: a GGUF file or a Hugging Face directory, told apart by what is there.
// Every byte is treated as hostile. Maps the weights, copies nothing of size.
#pragma once

#include <memory>
#include <string>

#include "models/model_config.h"
#include "models/tensor_source.h"

namespace sluice {

struct ModelFiles {
  ModelConfig config;
  std::unique_ptr<TensorSource> tensors;
  TokenizerSource tokenizer;
  GenerationDefaults generation;
  std::string path;
  std::string quantised_by;  // "awq", "gptq", "compressed-tensors", "fp8", "gguf"; empty: by nothing
};

// `path`: a .gguf file, or a directory with config.json and safetensors (one file or sharded with an index).
Result<ModelFiles> open_model_files(const std::string& path);

// GGUF v2 and v3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
Result<ModelFiles> open_gguf(const std::string& path);

// Hugging Face directory layout: config.json, model.safetensors or model.safetensors.index.json,
// tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json.
Result<ModelFiles> open_hugging_face_directory(const std::string& path);

}  // namespace sluice
