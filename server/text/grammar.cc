#include "server/text/grammar.h"

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "server/text/ffi_call.h"

namespace sluice {
namespace {

class RustMatcher final : public GrammarMatcher {
 public:
  RustMatcher(std::shared_ptr<const Tokenizer> tokenizer, text::MatcherHandle handle)
      : tokenizer_(std::move(tokenizer)), handle_(std::move(handle)) {}

  Result<bool> fill_mask(std::span<uint32_t> words) override {
    return text::call<bool>([&](auto* accepting, auto* message) {
      return sluice_text_matcher_mask(handle_.get(), words.data(), words.size(), accepting, message);
    });
  }

  Status accept(int32_t token) override {
    const Result<bool> finished = text::call<bool>([&](auto* out, auto* message) {
      return sluice_text_matcher_consume(handle_.get(), static_cast<uint32_t>(token), out, message);
    });
    return finished.ok() ? Status() : Status(finished.error());
  }

 private:
  const std::shared_ptr<const Tokenizer> tokenizer_;  // outlives the handle
  const text::MatcherHandle handle_;
};

class RustGrammar final : public Grammar {
 public:
  RustGrammar(std::shared_ptr<const Tokenizer> tokenizer, text::MatcherHandle start)
      : tokenizer_(std::move(tokenizer)), start_(std::move(start)) {}

  Status try_out(size_t words) {
    std::vector<uint32_t> mask(words);
    const Result<bool> accepting = text::call<bool>([&](auto* out, auto* message) {
      return sluice_text_matcher_mask(start_.get(), mask.data(), mask.size(), out, message);
    });
    const bool nothing = std::ranges::all_of(mask, [](uint32_t word) { return word == 0; });
    if (accepting.ok() && !nothing) return {};
    return invalid_argument(
        "", accepting.ok()
                ? "The grammar matches no text."
                : "The grammar matches no text, or is too much work to follow: " + accepting.error().message);
  }

  Result<std::unique_ptr<GrammarMatcher>> matcher() const override {
    std::lock_guard lock(mutex_);
    SLUICE_ASSIGN(SluiceTextMatcher* const made,
                  text::call<SluiceTextMatcher*>([&](auto* out, auto* message) {
                    return sluice_text_matcher_clone(start_.get(), out, message);
                  }));
    return std::unique_ptr<GrammarMatcher>(
        std::make_unique<RustMatcher>(tokenizer_, text::MatcherHandle(made)));
  }

 private:
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const text::MatcherHandle start_;  // before the first token
  mutable std::mutex mutex_;
};

}  // namespace

Result<std::shared_ptr<const Grammar>> Grammar::compile(std::shared_ptr<const Tokenizer> tokenizer,
                                                        int32_t end, std::string_view kind,
                                                        std::string_view source) {
  if (tokenizer->native() == nullptr || end < 0) {
    return Error{ErrorCode::kUnsupported, "This model's tokenizer cannot constrain answers to a grammar."};
  }
  const std::string kind_text(kind);
  SLUICE_ASSIGN(SluiceTextMatcher* const made, text::call<SluiceTextMatcher*>([&](auto* out, auto* message) {
                  return sluice_text_matcher_new(tokenizer->native(), static_cast<uint32_t>(end),
                                                 text::view(kind_text), text::view(source), out, message);
                }));
  text::MatcherHandle start(made);
  const size_t words = (static_cast<size_t>(tokenizer->vocabulary()) + 31) / 32;
  auto grammar = std::make_shared<RustGrammar>(std::move(tokenizer), std::move(start));
  // A first mask tells a grammar that no text matches or whose start is too much work; and what it computes
  // on the way is there for all matchers to come.
  SLUICE_TRY(grammar->try_out(words));
  return std::shared_ptr<const Grammar>(std::move(grammar));
}

}  // namespace sluice
