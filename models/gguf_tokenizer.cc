// The tokenizer part of models/gguf_model.h: vocabulary, special tokens, chat template.
#include <algorithm>
#include <array>

#include "base/log.h"
#include "models/gguf_model.h"

namespace sluice {
namespace {

constexpr int32_t kControlToken = 3;

// Control tokens that end an answer whatever the file's own keys say: a GGUF carries one or two ids, where
// the model's generation_config.json lists them all. Same idea as in llama.cpp's llama-vocab.cpp.
constexpr std::array<std::string_view, 6> kEndTexts = {"<|im_end|>", "<|eot_id|>",    "<|eom_id|>",
                                                       "<|end|>",    "<end_of_turn>", "<|endoftext|>"};

Error corrupt(const GgufFile& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file.file() + "' " + what};
}

// -1 when absent.
Result<int32_t> token_id(const GgufFile& file, std::string_view key, size_t token_count) {
  SLUICE_ASSIGN(const auto id, file.integer(key));
  // Some converters write "none" as all ones.
  if (!id || *id == -1 || *id == static_cast<int64_t>(UINT32_MAX)) return -1;
  if (*id < 0 || *id >= static_cast<int64_t>(token_count)) {
    return corrupt(file, "has " + std::string(key) + " = " + std::to_string(*id) + " among " +
                             std::to_string(token_count) + " tokens.");
  }
  return static_cast<int32_t>(*id);
}

Status read_special_tokens(const GgufFile& file, const GgufVocabulary& vocabulary, TokenizerSource& source) {
  const auto& tokens = vocabulary.tokens;
  const auto text_of = [&](int32_t id) { return id >= 0 ? tokens[static_cast<size_t>(id)] : std::string(); };
  SLUICE_ASSIGN(source.bos_id, token_id(file, "tokenizer.ggml.bos_token_id", tokens.size()));
  SLUICE_ASSIGN(const int32_t eos, token_id(file, "tokenizer.ggml.eos_token_id", tokens.size()));
  SLUICE_ASSIGN(const int32_t eot, token_id(file, "tokenizer.ggml.eot_token_id", tokens.size()));
  SLUICE_ASSIGN(const int32_t eom, token_id(file, "tokenizer.ggml.eom_token_id", tokens.size()));
  SLUICE_ASSIGN(const int32_t unknown, token_id(file, "tokenizer.ggml.unknown_token_id", tokens.size()));
  SLUICE_ASSIGN(const int32_t padding, token_id(file, "tokenizer.ggml.padding_token_id", tokens.size()));
  source.bos_token = text_of(source.bos_id);
  source.eos_token = text_of(eos);
  source.unk_token = text_of(unknown);
  source.pad_token = text_of(padding);

  for (const int32_t id : {eos, eot, eom}) {
    if (id >= 0) source.eos_ids.push_back(id);
  }
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    if (vocabulary.types[id] != kControlToken) continue;
    if (std::find(kEndTexts.begin(), kEndTexts.end(), tokens[id]) == kEndTexts.end()) continue;
    source.eos_ids.push_back(static_cast<int32_t>(id));
  }
  std::sort(source.eos_ids.begin(), source.eos_ids.end());
  source.eos_ids.erase(std::unique(source.eos_ids.begin(), source.eos_ids.end()), source.eos_ids.end());
  return {};
}

// Arrays that run beside the tokens are as long as they, or absent.
Status check_lengths(const GgufFile& file, const GgufVocabulary& vocabulary) {
  const size_t count = vocabulary.tokens.size();
  for (const auto& [name, size] :
       {std::pair{"token_type", vocabulary.types.size()}, std::pair{"scores", vocabulary.scores.size()}}) {
    if (size == 0 || size == count) continue;
    return corrupt(file, "has " + std::to_string(size) + " values of tokenizer.ggml." + name + " for " +
                             std::to_string(count) + " tokens.");
  }
  return {};
}

}  // namespace

Result<TokenizerSource> gguf_tokenizer(const GgufFile& file) {
  TokenizerSource source;
  SLUICE_ASSIGN(const auto chat_template, file.text("tokenizer.chat_template"));
  source.chat_template = chat_template.value_or("");
  SLUICE_ASSIGN(const auto model, file.text("tokenizer.ggml.model"));
  if (!model) return source;

  GgufVocabulary& vocabulary = source.vocabulary.emplace();
  vocabulary.model = *model;
  SLUICE_ASSIGN(const auto pre, file.text("tokenizer.ggml.pre"));
  vocabulary.pre = pre.value_or("");
  SLUICE_ASSIGN(vocabulary.tokens, file.texts("tokenizer.ggml.tokens"));
  SLUICE_ASSIGN(vocabulary.types, file.integers("tokenizer.ggml.token_type"));
  SLUICE_ASSIGN(vocabulary.scores, file.floats("tokenizer.ggml.scores"));
  SLUICE_ASSIGN(vocabulary.merges, file.texts("tokenizer.ggml.merges"));
  if (vocabulary.tokens.empty()) return corrupt(file, "names a tokenizer, but has no tokenizer.ggml.tokens.");
  SLUICE_TRY(check_lengths(file, vocabulary));

  // Defaults where the file is silent: those of the tokenizers that it names.
  const bool sentence_piece = vocabulary.model == "llama";
  const bool llama3 =
      vocabulary.pre == "llama-bpe" || vocabulary.pre == "llama3" || vocabulary.pre == "llama-v3";
  SLUICE_ASSIGN(const auto add_bos, file.boolean("tokenizer.ggml.add_bos_token"));
  SLUICE_ASSIGN(const auto add_eos, file.boolean("tokenizer.ggml.add_eos_token"));
  SLUICE_ASSIGN(const auto add_space, file.boolean("tokenizer.ggml.add_space_prefix"));
  vocabulary.add_bos = add_bos.value_or(sentence_piece || llama3);
  vocabulary.add_eos = add_eos.value_or(false);
  vocabulary.add_space_prefix = add_space.value_or(sentence_piece);

  SLUICE_TRY(read_special_tokens(file, vocabulary, source));
  return source;
}

}  // namespace sluice
