#include "engine/thinking.h"

#include <algorithm>

namespace sluice {
namespace {

// The block begins with the answer, but for white space.
constexpr size_t kMaxTokensBefore = 8;

// Whether `mark` stands at the end of `output` and the token behind it.
bool ends_with(std::span<const int32_t> output, int32_t last, std::span<const int32_t> mark) {
  if (mark.empty() || mark.back() != last) return false;
  const auto before = mark.first(mark.size() - 1);
  return before.size() <= output.size() && std::ranges::equal(output.last(before.size()), before);
}

// How much of `mark` stands at the end of `output` already.
size_t begun(std::span<const int32_t> output, std::span<const int32_t> mark) {
  for (size_t length = std::min(mark.size() - 1, output.size()); length > 0; --length) {
    if (std::ranges::equal(output.last(length), mark.first(length))) return length;
  }
  return 0;
}

}  // namespace

int32_t Thinking::next(const ThinkingBudget& budget, std::span<const int32_t> output, int32_t sampled) {
  if (budget.tokens < 0 || budget.end_ids.empty() || state_ == State::kAfter) return sampled;
  if (output.empty() && budget.open) state_ = State::kWithin;
  switch (state_) {
    case State::kBefore:
      if (ends_with(output, sampled, budget.begin_ids))
        state_ = State::kWithin;
      else if (output.size() > kMaxTokensBefore + budget.begin_ids.size())
        state_ = State::kAfter;
      return sampled;
    case State::kWithin:
      if (tokens_ < budget.tokens) {
        ++tokens_;
        if (ends_with(output, sampled, budget.end_ids)) state_ = State::kAfter;
        return sampled;
      }
      state_ = State::kForcing;
      forced_ = tokens_ == 0 ? 0 : begun(output, budget.end_ids);
      [[fallthrough]];
    default: {
      const int32_t forced = budget.end_ids[forced_++];
      if (forced_ == budget.end_ids.size()) state_ = State::kAfter;
      return forced;
    }
  }
}

}  // namespace sluice
