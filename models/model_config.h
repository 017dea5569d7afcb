// What a model file says about the model, in one form whatever the file's format. Values only; checked by
// whoever reads the file (`check` below), so that everything above may trust them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"

namespace sluice {

enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3, kYarn };

struct RopeConfig {
  RopeStyle style = RopeStyle::kHalf;
  float theta = 10000.0F;
  RopeScaling scaling = RopeScaling::kNone;
  float factor = 1.0F;
  float low_frequency_factor = 1.0F;    // llama3
  float high_frequency_factor = 4.0F;   // llama3
  float beta_fast = 32.0F;              // yarn
  float beta_slow = 1.0F;               // yarn
  float attention_factor = 0.0F;        // yarn; 0: computed from the factor
  int original_context = 0;             // llama3, yarn
  std::vector<float> frequency_divisors;  // GGUF rope_freqs.weight [D/2]: in place of the scaling formula
};

struct ModelConfig {
  std::string architecture;  // "llama" (Llama, Mistral, SmolLM2), "qwen2", "qwen3"
  std::string name;          // the file's own name for itself, may be empty
  int layers = 0;            // L
  int width = 0;             // E
  int query_heads = 0;       // H
  int kv_heads = 0;          // K
  int head_size = 0;         // D
  int mlp_width = 0;         // F
  int vocabulary = 0;        // V: rows of the embedding
  int context_length = 0;    // the longest sequence the model was made for
  float norm_eps = 1e-5F;
  RopeConfig rope;
  bool tied_embedding = false;
  int sliding_window = 0;    // 0: none
  Activation activation = Activation::kSilu;

  AttentionShape attention_shape() const;
};

// An Error naming the field when a value is out of its bounds or two of them contradict each other.
Status check(const ModelConfig& config);

// A GGUF's embedded vocabulary, or the bytes of a tokenizer.json: the text floor builds the same tokenizer
// from either.
struct GgufVocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2" (byte-level BPE), "llama" (SentencePiece)
  std::string pre;    // tokenizer.ggml.pre
  std::vector<std::string> tokens;
  std::vector<int32_t> types;   // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<float> scores;
  std::vector<std::string> merges;
  bool add_bos = false, add_eos = false, add_space_prefix = true;
};

struct TokenizerSource {
  std::string tokenizer_json;                 // Hugging Face directories
  std::optional<GgufVocabulary> vocabulary;   // GGUF
  std::string chat_template;                  // Jinja source; empty when the model has none
  std::string bos_token, eos_token, unk_token, pad_token;  // as text; templates use them
  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;               // all ids that end an answer (generation_config too)
};

// The model's own sampling defaults (generation_config.json); absent: OpenAI's.
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  std::optional<int> max_tokens;  // of an answer whose request names none; absent: the rest of the context
};

}  // namespace sluice
