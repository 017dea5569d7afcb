// Detokenizer: whole characters from token_text, stop strings by one Knuth-Morris-Pratt automaton each, so
// that a token costs its own bytes and the answer never depends on how the text was cut into tokens.
#include <algorithm>
#include <utility>

#include "server/text/token_text.h"
#include "server/text/tokenizer.h"

namespace sluice {
namespace {

class StopString {
 public:
  explicit StopString(std::string text) : text_(std::move(text)), border_(text_.size() + 1, 0) {
    size_t border = 0;
    for (size_t i = 1; i < text_.size(); ++i) {
      while (border > 0 && text_[i] != text_[border]) border = border_[border];
      if (text_[i] == text_[border]) ++border;
      border_[i + 1] = border;
    }
  }

  // How much of the stop string now stands at the end of the text.
  size_t push(char byte) {
    if (matched_ == text_.size()) matched_ = border_[matched_];
    while (matched_ > 0 && text_[matched_] != byte) matched_ = border_[matched_];
    if (text_[matched_] == byte) ++matched_;
    return matched_;
  }

  const std::string& text() const { return text_; }

 private:
  const std::string text_;
  std::vector<size_t> border_;  // of each prefix: its longest proper prefix that is also its suffix
  size_t matched_ = 0;
};

class StreamingDetokenizer final : public Detokenizer {
 public:
  StreamingDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, Options options)
      : tokenizer_(std::move(tokenizer)),
        include_stop_(options.include_stop),
        text_(*tokenizer_, options.skip_special, options.continues_text, std::move(options.shown)) {
    for (auto& stop : options.stop) {
      if (!stop.empty()) stops_.emplace_back(std::move(stop));
    }
  }

  std::string push(int32_t token) override {
    if (stopped_) return {};
    fresh_.clear();
    text_.push(token, fresh_);
    return release(fresh_);
  }

  std::string finish() override {
    if (stopped_) return {};
    fresh_.clear();
    text_.finish(fresh_);
    std::string out = release(fresh_);
    if (!stopped_) out += std::exchange(held_, {});
    return out;
  }

  bool stopped() const override { return stopped_; }
  const std::string& stop_string() const override { return stop_string_; }

 private:
  // The stop string that ends first wins; of two that end together the longer.
  std::string release(const std::string& fresh) {
    if (stops_.empty()) return fresh;
    size_t may_begin = held_.size();  // bytes at the end of held_ that a stop string may begin with
    for (const char byte : fresh) {
      held_.push_back(byte);
      may_begin = 0;
      const std::string* met = nullptr;
      for (auto& stop : stops_) {
        const size_t matched = stop.push(byte);
        may_begin = std::max(may_begin, matched);
        if (matched == stop.text().size() && (met == nullptr || matched > met->size())) met = &stop.text();
      }
      if (met != nullptr) return stop_at(*met);
    }
    std::string out = held_.substr(0, held_.size() - may_begin);
    held_.erase(0, out.size());
    return out;
  }

  std::string stop_at(const std::string& stop) {
    stopped_ = true;
    stop_string_ = stop;
    if (!include_stop_) held_.resize(held_.size() - stop.size());
    return std::exchange(held_, {});
  }

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const bool include_stop_;
  TokenText text_;
  std::vector<StopString> stops_;
  std::string held_;  // not sent: may be the beginning of a stop string
  std::string fresh_;
  bool stopped_ = false;
  std::string stop_string_;
};

}  // namespace

std::unique_ptr<Detokenizer> Detokenizer::make(std::shared_ptr<const Tokenizer> tokenizer, Options options) {
  return std::make_unique<StreamingDetokenizer>(std::move(tokenizer), std::move(options));
}

}  // namespace sluice
