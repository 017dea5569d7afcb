// The C ABI of the Rust crate in rust/: tokenizers, minijinja and llguidance behind opaque handles. Only
// server/text includes it. Tokenizer and template handles never change and serve any number of threads; a
// matcher serves one at a time. Every call that can fail returns a SluiceTextStatus; when it is not 0,
// `message` holds a sentence to be freed with sluice_text_free_buffer and the result is untouched. No call
// unwinds into the caller.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum SluiceTextStatus {
  kSluiceTextOk = 0,
  kSluiceTextCorrupt = 1,
  kSluiceTextUnsupported = 2,
  kSluiceTextInvalidArgument = 3,
  kSluiceTextInternal = 4,
};

// The caller's bytes, read during the call only. Where text is meant, invalid UTF-8 counts as U+FFFD.
typedef struct {
  const uint8_t* bytes;
  size_t size;
} SluiceTextView;

typedef struct {
  uint8_t* bytes;
  size_t size, capacity;
} SluiceTextBuffer;

typedef struct {
  uint32_t* ids;
  size_t size, capacity;
} SluiceTextIds;

typedef struct SluiceTextTokenizer SluiceTextTokenizer;
typedef struct SluiceTextTemplate SluiceTextTemplate;
typedef struct SluiceTextMatcher SluiceTextMatcher;

void sluice_text_free_buffer(SluiceTextBuffer buffer);
void sluice_text_free_ids(SluiceTextIds ids);

// ---- tokenizer ----

// A GGUF's vocabulary (tokenizer.ggml.*). types and scores may be absent (count 0), else one per token.
typedef struct {
  SluiceTextView model, pre;
  SluiceTextView bos_token, eos_token;
  const SluiceTextView* tokens;
  size_t token_count;
  const int32_t* types;
  size_t type_count;
  const float* scores;
  size_t score_count;
  const SluiceTextView* merges;
  size_t merge_count;
  bool add_bos, add_eos, add_space_prefix;
} SluiceTextVocabulary;

int sluice_text_tokenizer_from_json(SluiceTextView json, SluiceTextTokenizer** out,
                                    SluiceTextBuffer* message);
int sluice_text_tokenizer_from_vocabulary(const SluiceTextVocabulary* vocabulary, SluiceTextTokenizer** out,
                                          SluiceTextBuffer* message);
void sluice_text_tokenizer_free(SluiceTextTokenizer* tokenizer);
int sluice_text_encode(const SluiceTextTokenizer* tokenizer, SluiceTextView text, bool add_special,
                       bool parse_special, SluiceTextIds* out, SluiceTextBuffer* message);
int64_t sluice_text_id_of(const SluiceTextTokenizer* tokenizer, SluiceTextView token);  // -1: no such token
enum SluiceTextTokenFlags {
  kSluiceTextSpecial = 1,
  kSluiceTextFallbackByte = 2,  // one byte; in a malformed sequence each becomes its own U+FFFD
};

// All tokens' bytes end to end: token i has [offsets[i], offsets[i + 1]). Lives as long as the tokenizer.
typedef struct {
  size_t token_count;
  const uint32_t* offsets;
  const uint8_t* bytes;
  const uint8_t* flags;
  uint32_t strip_leading_spaces;    // at most so many spaces are dropped from the beginning of a decoded text
  bool drop_spaces_of_first_token;  // all spaces of the first token are
} SluiceTextTable;

SluiceTextTable sluice_text_table(const SluiceTextTokenizer* tokenizer);

// ---- chat template ----

// An empty token means that the model has none.
int sluice_text_template_compile(SluiceTextView source, SluiceTextView bos_token, SluiceTextView eos_token,
                                 SluiceTextView unk_token, SluiceTextView pad_token, SluiceTextTemplate** out,
                                 SluiceTextBuffer* message);
void sluice_text_template_free(SluiceTextTemplate* chat_template);
// `variables`: a JSON object with messages, tools, documents, add_generation_prompt, continue_final_message,
// …
int sluice_text_template_render(const SluiceTextTemplate* chat_template, SluiceTextView variables,
                                SluiceTextBuffer* out, SluiceTextBuffer* message);
// Renders and encodes: what the template writes may be special tokens, what stands in `variables` may not.
int sluice_text_encode_conversation(const SluiceTextTemplate* chat_template,
                                    const SluiceTextTokenizer* tokenizer, SluiceTextView variables,
                                    SluiceTextIds* out, SluiceTextBuffer* message);

// ---- grammar ----

// kind: "json_schema", "regex" or "lark". The tokenizer must outlive the matcher. `eos` ends an answer; the
// first call for a tokenizer decides it for all.
int sluice_text_matcher_new(const SluiceTextTokenizer* tokenizer, uint32_t eos, SluiceTextView kind,
                            SluiceTextView grammar, SluiceTextMatcher** out, SluiceTextBuffer* message);
// An independent matcher in the same state: far cheaper than compiling the grammar again.
int sluice_text_matcher_clone(const SluiceTextMatcher* matcher, SluiceTextMatcher** out,
                              SluiceTextBuffer* message);
void sluice_text_matcher_free(SluiceTextMatcher* matcher);
// Bit t of words: token t may come next. `accepting`: the answer may end here.
int sluice_text_matcher_mask(SluiceTextMatcher* matcher, uint32_t* words, size_t word_count, bool* accepting,
                             SluiceTextBuffer* message);
int sluice_text_matcher_consume(SluiceTextMatcher* matcher, uint32_t token, bool* finished,
                                SluiceTextBuffer* message);

#ifdef __cplusplus
}
#endif
