#include "bench/router_sim_replica.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "router/core/rate_learner.h"

namespace sluice::router_sim {

using router::kNever;

void SimReplica::tell(KvEvent event) {
  event.epoch = epoch_;
  event.sequence = ++sequence_;
  events_.push_back(event);
}

void SimReplica::submit(RequestId request, Attempt attempt, const SimPrompt& prompt, Seconds now) {
  waiting_.push_back({.request = request, .attempt = attempt, .prompt = prompt});
  if (end_ == kNever) return begin_step(now);
  if (steps_ > 1) {  // of many equal steps, only the one in progress is finished first
    const double done = std::max(std::ceil((now - start_) / length_), 1.0);
    steps_ = std::min(steps_, static_cast<uint64_t>(done));
    end_ = start_ + length_ * static_cast<double>(steps_);
  }
}

void SimReplica::cancel(RequestId request, Attempt attempt, Seconds now) {
  const auto is_it = [&](const Running& r) { return r.request == request && r.attempt == attempt; };
  if (const auto at = std::ranges::find_if(waiting_, is_it); at != waiting_.end()) {
    waiting_.erase(at);
    return;
  }
  const auto at = std::ranges::find_if(running_, is_it);
  if (at == running_.end()) return;
  std::erase_if(chunks_, [&](const auto& chunk) { return chunk.first == &*at; });
  if (at->decoding) --decoding_;
  release(*at);
  running_.erase(at);
  if (steps_ > 1) {
    const double done = std::max(std::ceil((now - start_) / length_), 1.0);
    steps_ = std::min(steps_, static_cast<uint64_t>(done));
    end_ = start_ + length_ * static_cast<double>(steps_);
  }
}

void SimReplica::make_room(uint64_t blocks) {
  const uint64_t used = reserved_ + cache_.size();
  for (uint64_t over = used + blocks > capacity() ? used + blocks - capacity() : 0; over > 0; --over) {
    SLUICE_CHECK(!idle_.empty());
    const uint64_t hash = idle_.front();
    idle_.pop_front();
    cache_.erase(hash);
    tell({.kind = KvEvent::Kind::kEvicted, .hash = hash});
  }
}

void SimReplica::admit(Seconds) {
  while (!waiting_.empty() && running_.size() < model_.max_running) {
    Running next = waiting_.front();
    const auto& blocks = *next.prompt.blocks;
    uint32_t held = 0, pinned_already = 0;
    while (held < blocks.size() && (held + 1) * uint64_t{model_.block_tokens} < next.prompt.prompt_tokens) {
      const auto at = cache_.find(blocks[held]);
      if (at == cache_.end()) break;
      pinned_already += at->second.pins > 0 ? 1 : 0;
      ++held;
    }
    const uint64_t total = (next.prompt.prompt_tokens + next.prompt.output_tokens + model_.block_tokens - 1) /
                           model_.block_tokens;
    const uint64_t fresh = total - held;
    // Held blocks that are idle now will be pinned and are no more room.
    if (free_blocks() < fresh + (held - pinned_already)) {
      if (!running_.empty()) return;
      // Alone and still too big for the cache: it runs with what there is.
      held = 0;
    }
    for (uint32_t i = 0; i < held; ++i) {
      Block& block = cache_[blocks[i]];
      if (block.pins++ == 0) idle_.erase(block.idle);
    }
    next.reserved_blocks = std::min(total - held, capacity() - (cache_.size() - idle_.size()) - reserved_);
    make_room(next.reserved_blocks);
    reserved_ += next.reserved_blocks;
    next.cached_blocks = next.pinned_blocks = held;
    next.computed_tokens = held * model_.block_tokens;
    next.left_tokens = next.prompt.prompt_tokens - next.computed_tokens;
    admitted_tokens_ += next.prompt.prompt_tokens;
    cached_tokens_ += next.computed_tokens;
    tell({.kind = KvEvent::Kind::kAdmitted,
          .hash = blocks.empty() ? 0 : blocks.back(),
          .request = next.request,
          .prompt_tokens = next.prompt.prompt_tokens,
          .cached_tokens = next.computed_tokens});
    waiting_.pop_front();
    running_.push_back(std::move(next));
    if (running_.size() - decoding_ >= 8) break;  // enough to fill any chunk
  }
}

void SimReplica::begin_step(Seconds now) {
  admit(now);
  chunks_.clear();
  start_ = now;
  end_ = kNever;
  steps_ = 0;
  if (running_.empty()) return;
  uint32_t budget =
      model_.chunk_tokens - static_cast<uint32_t>(std::min<size_t>(decoding_, model_.chunk_tokens / 2));
  router::PrefillWork work;
  if (decoding_ < running_.size()) {
    for (Running& running : running_) {
      if (running.decoding || budget == 0) continue;
      const uint32_t chunk = std::min(running.left_tokens, budget);
      work += router::PrefillWork::of(chunk, running.computed_tokens);
      budget -= chunk;
      chunks_.emplace_back(&running, chunk);
    }
  }
  length_ = model_.step_seconds + model_.step_per_running * static_cast<double>(running_.size()) +
            work.tokens / model_.prefill_tokens_per_second + model_.attention_seconds * work.attention;
  length_ *= slowdown_;
  steps_ = 1;
  if (chunks_.empty() && waiting_.empty()) {
    uint64_t first = ~uint64_t{0};
    for (const Running& running : running_) first = std::min(first, running.finish_step);
    steps_ = std::max<uint64_t>(first - step_, 1);
  }
  end_ = start_ + length_ * static_cast<double>(steps_);
}

void SimReplica::pin_computed(Running& running) {
  const auto& blocks = *running.prompt.blocks;
  while (running.pinned_blocks < blocks.size() &&
         (running.pinned_blocks + 1) * uint64_t{model_.block_tokens} <= running.computed_tokens) {
    const uint64_t hash = blocks[running.pinned_blocks];
    const uint64_t parent = running.pinned_blocks == 0 ? 0 : blocks[running.pinned_blocks - 1];
    const auto [at, is_new] = cache_.try_emplace(hash);
    if (is_new) {
      at->second.parent = parent;
      tell({.kind = KvEvent::Kind::kStored, .hash = hash, .parent = parent});
    } else if (at->second.pins == 0) {
      idle_.erase(at->second.idle);
    }
    ++at->second.pins;
    ++running.pinned_blocks;
    if (running.reserved_blocks > 0) {
      --running.reserved_blocks;  // the block that was reserved is now the cache's, or was there twice
      --reserved_;
    }
  }
}

void SimReplica::release(Running& running) {
  reserved_ -= running.reserved_blocks;
  const auto& blocks = *running.prompt.blocks;
  for (uint32_t i = running.pinned_blocks; i-- > 0;) {  // the deepest is the first to go
    const auto at = cache_.find(blocks[i]);
    if (--at->second.pins == 0) at->second.idle = idle_.insert(idle_.end(), blocks[i]);
  }
}

void SimReplica::step_end(StepOutcome& outcome) {
  const Seconds now = end_;
  busy_seconds_ += end_ - start_;
  step_ += steps_;
  for (const auto& [running, chunk] : chunks_) {
    running->left_tokens -= chunk;
    running->computed_tokens += chunk;
    pin_computed(*running);
    if (running->left_tokens > 0) continue;
    running->decoding = true;
    ++decoding_;
    running->finish_step = step_ + running->prompt.output_tokens - 1;
    tell({.kind = KvEvent::Kind::kPrefilled, .request = running->request});
    outcome.first_tokens.push_back({running->request, running->attempt, 1});
  }
  for (auto at = running_.begin(); at != running_.end();) {
    if (!at->decoding || at->finish_step > step_) {
      ++at;
      continue;
    }
    outcome.finished.push_back({at->request, at->attempt, at->prompt.output_tokens});
    tell({.kind = KvEvent::Kind::kFinished, .request = at->request});
    --decoding_;
    release(*at);
    at = running_.erase(at);
  }
  begin_step(now);
  outcome.events.insert(outcome.events.end(), events_.begin(), events_.end());
  events_.clear();
}

std::vector<KvEvent> SimReplica::snapshot() const {
  // What is told already but not yet fetched comes behind the snapshot, and is old then: so it is as of now.
  std::vector<KvEvent> lines = {
      {.kind = KvEvent::Kind::kSnapshotBegin, .epoch = epoch_, .sequence = sequence_}};
  for (const auto& [hash, block] : cache_) {
    lines.push_back({.kind = KvEvent::Kind::kHeld, .epoch = epoch_, .hash = hash, .parent = block.parent});
  }
  lines.push_back({.kind = KvEvent::Kind::kSnapshotEnd, .epoch = epoch_, .sequence = sequence_ + 1});
  return lines;
}

KvEvent SimReplica::load() const {
  uint64_t left = 0;
  for (const Running& r : waiting_) {
    const auto& blocks = *r.prompt.blocks;
    uint32_t held = 0;
    while (held < blocks.size() && cache_.contains(blocks[held])) ++held;
    left +=
        std::max(r.prompt.prompt_tokens - std::min(held * model_.block_tokens, r.prompt.prompt_tokens), 1U);
  }
  for (const Running& r : running_) left += r.left_tokens;
  return {.kind = KvEvent::Kind::kLoad,
          .epoch = epoch_,
          .running = static_cast<uint32_t>(running_.size()),
          .waiting = static_cast<uint32_t>(waiting_.size()),
          .prefill_tokens = left,
          .kv_usage = 1 - static_cast<double>(free_blocks()) /
                              static_cast<double>(std::max<uint64_t>(capacity(), 1))};
}

std::vector<std::pair<RequestId, Attempt>> SimReplica::all() const {
  std::vector<std::pair<RequestId, Attempt>> all;
  for (const Running& r : waiting_) all.emplace_back(r.request, r.attempt);
  for (const Running& r : running_) all.emplace_back(r.request, r.attempt);
  return all;
}

}  // namespace sluice::router_sim
