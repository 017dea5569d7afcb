// Tokenizer over the Rust handle and its table of token bytes.
#include "server/text/tokenizer.h"

#include "server/text/ffi_call.h"
#include "server/text/token_text.h"

namespace sluice {
namespace {

std::vector<SluiceTextView> views(const std::vector<std::string>& texts) {
  std::vector<SluiceTextView> out;
  out.reserve(texts.size());
  for (const auto& text : texts) out.push_back(text::view(text));
  return out;
}

class RustTokenizer final : public Tokenizer {
 public:
  explicit RustTokenizer(text::TokenizerHandle handle)
      : handle_(std::move(handle)), table_(sluice_text_table(handle_.get())) {}

  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special,
                                      bool parse_special) const override {
    SLUICE_ASSIGN(const SluiceTextIds ids, text::call<SluiceTextIds>([&](auto* out, auto* message) {
                    return sluice_text_encode(handle_.get(), text::view(text), add_special, parse_special,
                                              out, message);
                  }));
    return text::take(ids);
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    TokenText decoder(*this, skip_special, /*keep_leading_space=*/false);
    for (const int32_t id : ids) decoder.push(id, text);
    decoder.finish(text);
    return text;
  }

  std::string token_bytes(int32_t id) const override {
    if (!known(id)) return {};
    const auto* bytes = reinterpret_cast<const char*>(table_.bytes);
    return {bytes + table_.offsets[id], bytes + table_.offsets[id + 1]};
  }

  bool is_special(int32_t id) const override { return has_flag(id, kSluiceTextSpecial); }
  bool is_fallback_byte(int32_t id) const override { return has_flag(id, kSluiceTextFallbackByte); }

  int32_t id_of(std::string_view token) const override {
    return static_cast<int32_t>(sluice_text_id_of(handle_.get(), text::view(token)));
  }

  int32_t vocabulary() const override { return static_cast<int32_t>(table_.token_count); }

  Decoding decoding() const override {
    return {static_cast<int>(table_.strip_leading_spaces), table_.drop_spaces_of_first_token};
  }

  const SluiceTextTokenizer* native() const override { return handle_.get(); }

 private:
  bool known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < table_.token_count; }
  bool has_flag(int32_t id, int flag) const { return known(id) && (table_.flags[id] & flag) != 0; }

  const text::TokenizerHandle handle_;
  const SluiceTextTable table_;  // points into handle_
};

Result<SluiceTextTokenizer*> from_vocabulary(const GgufVocabulary& vocabulary,
                                             const TokenizerSource& source) {
  const auto tokens = views(vocabulary.tokens);
  const auto merges = views(vocabulary.merges);
  SluiceTextVocabulary contents{};
  contents.model = text::view(vocabulary.model);
  contents.pre = text::view(vocabulary.pre);
  contents.bos_token = text::view(source.bos_token);
  contents.eos_token = text::view(source.eos_token);
  contents.tokens = tokens.data();
  contents.token_count = tokens.size();
  contents.types = vocabulary.types.data();
  contents.type_count = vocabulary.types.size();
  contents.scores = vocabulary.scores.data();
  contents.score_count = vocabulary.scores.size();
  contents.merges = merges.data();
  contents.merge_count = merges.size();
  contents.add_bos = vocabulary.add_bos;
  contents.add_eos = vocabulary.add_eos;
  contents.add_space_prefix = vocabulary.add_space_prefix;
  return text::call<SluiceTextTokenizer*>([&](auto* out, auto* message) {
    return sluice_text_tokenizer_from_vocabulary(&contents, out, message);
  });
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const TokenizerSource& source) {
  auto made = source.vocabulary
                  ? from_vocabulary(*source.vocabulary, source)
                  : text::call<SluiceTextTokenizer*>([&](auto* out, auto* message) {
                      return sluice_text_tokenizer_from_json(text::view(source.tokenizer_json), out, message);
                    });
  SLUICE_ASSIGN(SluiceTextTokenizer* const handle, std::move(made));
  return std::shared_ptr<const Tokenizer>(std::make_shared<RustTokenizer>(text::TokenizerHandle(handle)));
}

}  // namespace sluice
