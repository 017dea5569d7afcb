#include "server/scaling/label_selector.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr size_t kMaxBytes = 4096;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  bool take(std::string_view word) {
    skip_space();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  // `in` and `notin` stand alone.
  bool take_word(std::string_view word) {
    const size_t before = at_;
    if (take(word) && (at_ == text_.size() || text_[at_] == ' ' || text_[at_] == '(')) return true;
    at_ = before;
    return false;
  }
  std::string name() {
    skip_space();
    const size_t from = at_;
    while (at_ < text_.size() && std::string_view(" ,=!()").find(text_[at_]) == std::string_view::npos) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }
  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string label_form(std::string_view value) {
  std::string form;
  for (const char c : value.substr(0, 63)) form += is_plain(c) || c == '-' || c == '_' || c == '.' ? c : '-';
  while (!form.empty() && !is_plain(form.back())) form.pop_back();
  form.erase(0, static_cast<size_t>(std::ranges::find_if(form, is_plain) - form.begin()));
  return form;
}

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  const auto wrong = [&] {
    return invalid_argument("labelSelector", "The label selector '" + std::string(text.substr(0, 200)) +
                                                 "' cannot be read; as an example: model=llama.");
  };
  if (text.size() > kMaxBytes) return wrong();
  LabelSelector selector;
  Reader reader(text);
  while (!reader.at_end()) {
    Requirement requirement;
    requirement.negated = reader.take("!");
    requirement.key = reader.name();
    if (requirement.key.empty()) return wrong();
    if (!requirement.negated) {
      const bool is_set = reader.take_word("in") || (requirement.negated = reader.take_word("notin"));
      if (is_set) {
        if (!reader.take("(")) return wrong();
        do {
          requirement.values.push_back(reader.name());
        } while (reader.take(","));
        if (!reader.take(")")) return wrong();
      } else if (reader.take("==") || reader.take("=")) {
        requirement.values.push_back(reader.name());
      } else if (reader.take("!=")) {
        requirement.negated = true;
        requirement.values.push_back(reader.name());
      }
    }
    selector.requirements_.push_back(std::move(requirement));
    if (reader.at_end()) break;
    if (!reader.take(",") || reader.at_end()) return wrong();
  }
  return selector;
}

bool LabelSelector::matches(const Labels& labels) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& requirement) {
    const auto at = labels.find(requirement.key);
    bool holds = at != labels.end();
    if (holds && !requirement.values.empty()) {
      holds = std::ranges::any_of(requirement.values, [&](const std::string& value) {
        return value == at->second || value == label_form(at->second);
      });
    }
    return holds != requirement.negated;
  });
}

}  // namespace sluice
