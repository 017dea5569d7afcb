#include "engine/mask_crew.h"

#include <algorithm>

namespace sluice {
namespace {

void fill(Sequence& s, const std::vector<int32_t>& eos) {
  TokenConstraint& constraint = *s.request.constraint;
  bool ok = !s.constraint_failed;
  const auto output = s.output();
  for (; ok && s.accepted < s.generated(); ++s.accepted)
    ok = constraint.accept(output[static_cast<size_t>(s.accepted)]);
  ok = ok && constraint.fill_mask(s.allowed_mask);
  for (size_t i = 0; ok && i < s.allowed_always.size(); ++i) s.allowed_mask[i] &= s.allowed_always[i];
  ok = ok && std::ranges::any_of(s.allowed_mask, [](uint32_t word) { return word != 0; });
  if (ok) return;
  s.constraint_failed = true;
  std::ranges::fill(s.allowed_mask, 0U);
  for (const int32_t id : eos) s.allowed_mask[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
  if (eos.empty()) s.allowed_mask[0] = 1;
}

}  // namespace

MaskCrew::~MaskCrew() {
  wait();
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void MaskCrew::start(const std::vector<Sequence*>& sequences, const std::vector<int32_t>& eos) {
  if (sequences.empty()) return;
  if (threads_.empty()) {
    const unsigned count = std::clamp(std::thread::hardware_concurrency() / 4, 1U, 4U);
    for (unsigned i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
  }
  sequences_ = sequences;
  eos_ = &eos;
  {
    std::lock_guard lock(mutex_);
    next_ = 0;
    left_ = sequences_.size();
    ++round_;
  }
  arrived_.notify_all();
}

void MaskCrew::wait() {
  if (sequences_.empty()) return;
  while (take_one()) {
  }
  std::unique_lock lock(mutex_);
  done_changed_.wait(lock, [this] { return left_ == 0 && busy_ == 0; });
  sequences_.clear();
}

bool MaskCrew::take_one() {
  const size_t index = next_.fetch_add(1);
  if (index >= sequences_.size()) return false;
  fill(*sequences_[index], *eos_);
  --left_;
  return true;
}

void MaskCrew::work() {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [&] { return closed_ || (round_ != seen && left_ > 0); });
    if (closed_) return;
    seen = round_;
    ++busy_;
    lock.unlock();
    while (take_one()) {
    }
    lock.lock();
    --busy_;
    done_changed_.notify_all();
  }
}

}  // namespace sluice
