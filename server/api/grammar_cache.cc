#include "server/api/grammar_cache.h"

#include "base/log.h"

namespace sluice {
namespace {

class GrammarConstraint final : public TokenConstraint {
 public:
  GrammarConstraint(std::unique_ptr<GrammarMatcher> matcher, std::vector<int32_t> eos_ids)
      : matcher_(std::move(matcher)), eos_ids_(std::move(eos_ids)) {}

  bool fill_mask(std::span<uint32_t> words) noexcept override {
    const Result<bool> accepting = matcher_->fill_mask(words);
    if (!accepting.ok()) {
      log::warn("a grammar gave up: {}", log::safe(accepting.error().message, 300));
      return false;
    }
    for (const int32_t id : eos_ids_) {
      const auto word = static_cast<size_t>(id) / 32;
      if (word >= words.size()) continue;
      const uint32_t bit = 1U << (id % 32);
      words[word] = *accepting ? words[word] | bit : words[word] & ~bit;
    }
    return true;
  }
  bool accept(int32_t token) noexcept override { return matcher_->accept(token).ok(); }

 private:
  const std::unique_ptr<GrammarMatcher> matcher_;
  const std::vector<int32_t> eos_ids_;
};

}  // namespace

std::shared_ptr<const Grammar> GrammarCache::find(const GrammarSource& source) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find({source.kind, source.text});
  if (found == entries_.end()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second.use);
  return found->second.grammar;
}

Result<std::shared_ptr<const Grammar>> GrammarCache::compile(const GrammarSource& source) {
  if (auto known = find(source)) return known;
  auto made =
      Grammar::compile(tokenizer_, eos_ids_.empty() ? -1 : eos_ids_.front(), source.kind, source.text);
  if (!made.ok()) {
    Error error = std::move(made).error();
    error.param = source.param;
    return error;
  }
  std::lock_guard lock(mutex_);
  const auto [entry, added] = entries_.try_emplace({source.kind, source.text});
  if (!added) return entry->second.grammar;  // another request was faster
  by_use_.push_front(&entry->first);
  entry->second = {*made, by_use_.begin()};
  if (entries_.size() > kMaxGrammars) {
    const Key oldest = *by_use_.back();
    by_use_.pop_back();
    entries_.erase(oldest);
  }
  return *made;
}

Result<std::shared_ptr<TokenConstraint>> GrammarCache::constraint(const Grammar& grammar) const {
  SLUICE_ASSIGN(std::unique_ptr<GrammarMatcher> matcher, grammar.matcher());
  return std::shared_ptr<TokenConstraint>(std::make_shared<GrammarConstraint>(std::move(matcher), eos_ids_));
}

}  // namespace sluice
