#include "server/text/simulated_tokenizer.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "server/text/token_text.h"

namespace sluice {
namespace {

constexpr std::string_view kConsonants = "bdfghjklmnprstvz", kVowels = "aeiou";
constexpr std::array<std::string_view, 3> kSpecial = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"};
constexpr int32_t kSpecialFirst = 256;
constexpr int32_t kWordFirst = 272;
constexpr int32_t kSyllables = static_cast<int32_t>(kConsonants.size() * kVowels.size());
constexpr int32_t kPieceFirst = kWordFirst + kSyllables * kSyllables;
constexpr int32_t kLetters = 27;  // 0: none
constexpr int32_t kVocabulary = kPieceFirst + 2 * kLetters * kLetters * kLetters;
constexpr size_t kMaxReadable = 4096;

static_assert(kSpecial[kSimulatedEnd - kSpecialFirst] == "<|im_end|>");

bool is_small(char c) {
  return c >= 'a' && c <= 'z';
}

// -1: `text` does not begin with a syllable.
int32_t syllable_at(std::string_view text) {
  if (text.size() < 2) return -1;
  const size_t consonant = kConsonants.find(text[0]), vowel = kVowels.find(text[1]);
  if (consonant == std::string_view::npos || vowel == std::string_view::npos) return -1;
  return static_cast<int32_t>(consonant * kVowels.size() + vowel);
}

void append_syllable(int32_t syllable, std::string& out) {
  out += kConsonants[static_cast<size_t>(syllable) / kVowels.size()];
  out += kVowels[static_cast<size_t>(syllable) % kVowels.size()];
}

struct Token {
  int32_t id;
  size_t bytes;
};

Token word_at(std::string_view text) {
  if (text.size() < 5 || text[0] != ' ') return {-1, 0};
  const int32_t first = syllable_at(text.substr(1)), second = syllable_at(text.substr(3));
  if (first < 0 || second < 0) return {-1, 0};
  return {kWordFirst + first * kSyllables + second, 5};
}

Token piece_at(std::string_view text) {
  const size_t space = text[0] == ' ' ? 1 : 0;
  int32_t number = static_cast<int32_t>(space);
  size_t letters = 0;
  for (size_t i = 0; i < 3; ++i) {
    const bool more = letters == i && space + i < text.size() && is_small(text[space + i]);
    number = number * kLetters + (more ? text[space + i] - 'a' + 1 : 0);
    if (more) ++letters;
  }
  if (letters == 0 || space + letters < 2) return {-1, 0};
  return {kPieceFirst + number, space + letters};
}

class SimulatedTokenizer final : public Tokenizer {
 public:
  Result<std::vector<int32_t>> encode(std::string_view given, bool, bool parse_special) const override {
    std::string text;
    Utf8Assembler utf8;
    utf8.push(given, text);
    utf8.flush(text);
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3);
    for (size_t at = 0; at < text.size();) {
      const std::string_view rest = std::string_view(text).substr(at);
      Token token{-1, 0};
      if (parse_special && rest[0] == '<') token = special_at(rest);
      if (token.id < 0) token = word_at(rest);
      if (token.id < 0) token = piece_at(rest);
      if (token.id < 0) token = {static_cast<unsigned char>(rest[0]), 1};
      ids.push_back(token.id);
      at += token.bytes;
    }
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    TokenText decoder(*this, skip_special, /*keep_leading_space=*/true);
    for (const int32_t id : ids) decoder.push(id, text);
    decoder.finish(text);
    return text;
  }

  std::string token_bytes(int32_t id) const override {
    std::string out;
    if (id < 0 || id >= kVocabulary) return out;
    if (id < kSpecialFirst) return {static_cast<char>(id)};
    if (is_special(id)) return std::string(kSpecial[static_cast<size_t>(id - kSpecialFirst)]);
    if (id < kWordFirst) return out;
    if (id < kPieceFirst) {
      out += ' ';
      append_syllable((id - kWordFirst) / kSyllables, out);
      append_syllable((id - kWordFirst) % kSyllables, out);
      return out;
    }
    const int32_t number = id - kPieceFirst;
    if (number / (kLetters * kLetters * kLetters) > 0) out += ' ';
    for (const int32_t letter : {number / (kLetters * kLetters), number / kLetters, number}) {
      if (letter % kLetters > 0) out += static_cast<char>('a' + letter % kLetters - 1);
    }
    return out;
  }

  bool is_special(int32_t id) const override {
    return id >= kSpecialFirst && id < kSpecialFirst + static_cast<int32_t>(kSpecial.size());
  }

  int32_t id_of(std::string_view token) const override {
    const auto special = std::ranges::find(kSpecial, token);
    if (special != kSpecial.end()) return kSpecialFirst + static_cast<int32_t>(special - kSpecial.begin());
    const auto ids = encode(token, false, false);
    return ids.ok() && ids->size() == 1 ? ids->front() : -1;
  }

  int32_t vocabulary() const override { return kVocabulary; }

 private:
  static Token special_at(std::string_view text) {
    for (size_t i = 0; i < kSpecial.size(); ++i) {
      if (text.starts_with(kSpecial[i])) return {kSpecialFirst + static_cast<int32_t>(i), kSpecial[i].size()};
    }
    return {-1, 0};
  }
};

}  // namespace

std::shared_ptr<const Tokenizer> make_simulated_tokenizer() {
  return std::make_shared<SimulatedTokenizer>();
}

std::vector<int32_t> readable_tokens(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokenizer.vocabulary() && ids.size() < kMaxReadable; ++id) {
    if (tokenizer.is_special(id)) continue;
    const std::string text = tokenizer.token_bytes(id);
    if (text.size() >= 4 && text[0] == ' ' && std::all_of(text.begin() + 1, text.end(), is_small))
      ids.push_back(id);
  }
  if (!ids.empty()) return ids;
  ids.resize(static_cast<size_t>(tokenizer.vocabulary()));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

}  // namespace sluice
