#include "router/core/text_dictionary.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "router/core/prefix_index.h"
#include "router/core/prompt_chain.h"

namespace sluice::router {

TextDictionary::TextDictionary(uint64_t budget_bytes, uint64_t secret) : table_(budget_bytes, secret) {}

std::optional<TextDictionary::Meaning> TextDictionary::find(uint64_t chunk) {
  const Entry* entry = table_.find(chunk);
  if (entry == nullptr || entry->tokens == 0) return std::nullopt;
  return Meaning{entry->block, entry->tokens};
}

void TextDictionary::find_all(std::span<const uint64_t> chunks, std::span<Meaning> meanings) {
  std::array<Entry*, PrefixIndex::kMaxAsked> found;
  SLUICE_CHECK(chunks.size() <= found.size() && chunks.size() == meanings.size());
  table_.find_all(chunks, found);
  for (size_t i = 0; i < chunks.size(); ++i) {
    const bool known = found[i] != nullptr && found[i]->tokens > 0;
    meanings[i] = known ? Meaning{found[i]->block, found[i]->tokens} : Meaning{};
  }
}

void TextDictionary::touch(uint64_t chunk) {
  if (const Entry* entry = table_.find(chunk); entry != nullptr) table_.touch(entry);
}

void TextDictionary::learn(const Lesson& lesson) {
  SLUICE_CHECK(lesson.block_tokens > 0);
  if (lesson.bytes == 0) return;
  const double block = lesson.block_tokens;
  // The last place where bytes and tokens are known together: the middle of the block in which a chunk ends.
  double known_bytes = 0, known_tokens = 0;
  for (size_t i = 0; i < lesson.chunks.size(); ++i) {
    const auto end = static_cast<double>((i + 1) * kChunkBytes);
    if (end > static_cast<double>(lesson.bytes)) return;
    const auto in_order = [&](uint32_t tokens, uint64_t hash) {
      const size_t blocks = tokens / lesson.block_tokens;
      return blocks > 0 && blocks <= lesson.blocks.size() && lesson.blocks[blocks - 1] == hash;
    };
    Entry* entry = table_.find(lesson.chunks[i]);
    if (entry != nullptr && in_order(entry->tokens, entry->block)) {
      table_.touch(entry);
      known_bytes = end;
      known_tokens = entry->tokens + block / 2;
      continue;
    }
    const double left_bytes = static_cast<double>(lesson.bytes) - known_bytes;
    const double share = left_bytes > 0 ? (end - known_bytes) / left_bytes : 1;
    const double tokens = known_tokens + share * std::max(lesson.prompt_tokens - known_tokens, 0.0);
    auto blocks = static_cast<size_t>(tokens / block);
    // Another prompt went another way from here: what both share ends before.
    if (entry != nullptr) blocks = std::min<size_t>(blocks, entry->tokens / lesson.block_tokens);
    if (entry != nullptr && blocks > 0) --blocks;
    blocks = std::min(blocks, lesson.blocks.size());
    if (entry == nullptr) {
      if (blocks == 0) continue;
      entry = table_.insert(lesson.chunks[i], [](Entry&) {});
    }
    entry->tokens = static_cast<uint32_t>(blocks) * lesson.block_tokens;
    entry->block = blocks == 0 ? 0 : lesson.blocks[blocks - 1];
  }
}

}  // namespace sluice::router
