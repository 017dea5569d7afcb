// Reads a Hugging Face model directory's text files: configuration, tokenizer, chat template, generation
// defaults. The fields are those of transformers' own configuration classes
// (https://huggingface.co/docs/transformers/main_classes/configuration); the weights are
// models/safetensors.h's.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "models/model_config.h"
#include "models/model_files.h"

namespace sluice {

// The text of config.json. kUnsupported, with the known list, for an architecture or a rope scaling
// that is not served; kCorrupt for values that cannot be. `file` names it in messages.
// `tied_embedding` is as the file says.
Result<ModelConfig> parse_hugging_face_config(std::string_view text, const std::string& file);

// The texts of a directory's small files; empty: absent.
struct HuggingFaceTexts {
  std::string config, generation_config, tokenizer_config, special_tokens_map, chat_template;
};
// Adds what these say to `files`, whose config is already read: special tokens, chat template, ids that end
// an answer, generation defaults. `directory` is for messages.
Status read_hugging_face_texts(const HuggingFaceTexts& texts, const std::string& directory,
                               ModelFiles& files);

}  // namespace sluice
