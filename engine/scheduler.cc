#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"

namespace sluice {
namespace {

// How many waiting sequences that do not fit are looked at in one step before the scheduler stops looking:
// bounds a step's cost when a long queue waits for memory.
constexpr int kMaxMisfitsPerStep = 8;

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options),
      pool_(options.block_count),
      cache_(options.block_count, options.block_tokens, options.hash) {
  SLUICE_CHECK_LE(options.max_running, options.budget_tokens);
  running_.reserve(static_cast<size_t>(options.max_running));
  plan_.items.reserve(static_cast<size_t>(options.max_running));
}

void Scheduler::add(Sequence& s) {
  SLUICE_CHECK(s.state == Sequence::State::kNew);
  SLUICE_CHECK_LT(0, s.length());
  SLUICE_CHECK_LE(blocks_for(s.prompt_length + s.request.sampling.max_tokens - 1), pool_.block_count());
  s.rank = {.level = 0, .order = s.id};
  if (options_.by_priority) {
    s.rank.level = s.request.priority;
    if (options_.priority_aging_ms > 0) {
      // Everyone ages alike, so the order of (priority - waited / aging) is that of (priority * aging +
      // arrival).
      const auto arrival =
          std::chrono::duration_cast<std::chrono::milliseconds>(s.request.arrival.time_since_epoch()).count();
      s.rank.level = s.rank.level * options_.priority_aging_ms + arrival;
    }
  }
  s.state = Sequence::State::kWaiting;
  s.chain = PrefixCache::start(s.request.cache_salt);
  waiting_.insert(&s);
  counts_.waiting_prompt_tokens += s.prompt_length;
  if (estimates_waiting_) estimate(s);
  if (s.request.deadline != Clock::time_point::max()) deadlines_.insert(&s);
}

void Scheduler::remove(Sequence& s) {
  SLUICE_CHECK(!plan_open_);
  if (s.state == Sequence::State::kWaiting) {
    SLUICE_CHECK_EQ(waiting_.erase(&s), 1U);
    if (!s.admitted) {
      counts_.waiting_prompt_tokens -= s.prompt_length;
      counts_.waiting_uncached_tokens -= s.uncached_estimate;
    }
  } else {
    SLUICE_CHECK(s.state == Sequence::State::kRunning);
    const auto at = std::ranges::lower_bound(running_, s.rank, {}, [](const Sequence* r) { return r->rank; });
    SLUICE_CHECK(at != running_.end() && *at == &s);
    running_.erase(at);
    release_blocks(s);
  }
  if (s.request.deadline != Clock::time_point::max()) deadlines_.erase(&s);
  s.state = Sequence::State::kEnded;
}

void Scheduler::token_known(Sequence& s, bool as_chosen) {
  SLUICE_CHECK(!plan_open_ && s.pending > 0);
  --s.pending;
  if (!as_chosen && s.pending > 0) {
    // Whoever is in the newest step's plan was not preempted since.
    SLUICE_CHECK(s.state == Sequence::State::kRunning);
    --s.pending;
    --s.computed;
  }
  make_findable(s);
  join_holders();
}

void Scheduler::expired(Clock::time_point now, std::vector<Sequence*>& out) const {
  out.clear();
  for (Sequence* s : deadlines_) {
    if (s->request.deadline > now) break;
    out.push_back(s);
  }
}

const Plan& Scheduler::plan(int prefill_limit) {
  SLUICE_CHECK(!plan_open_);
  plan_open_ = true;
  plan_.items.clear();
  plan_.tokens = plan_.prefill_tokens = plan_.decode_sequences = 0;
  extra_rows_ = 0;

  const bool enough_blocks = plan_decodes();
  int prefill_left = options_.budget_tokens - plan_.tokens;
  if (plan_.decode_sequences > 0) prefill_left = std::min(prefill_left, prefill_limit);
  plan_prefills(prefill_left);
  // After a preemption memory is short: whoever came in now would be the next victim.
  if (enough_blocks) admit_waiting(prefill_left);

  // Work without a plan would be a silent hang: rather stop and be restarted.
  SLUICE_CHECK(!plan_.empty() || !has_work() || awaits_tokens());
  return plan_;
}

bool Scheduler::awaits_tokens() const {
  const auto awaits = [](const Sequence* s) { return s->pending > 0; };
  return std::ranges::any_of(running_, awaits) || std::ranges::any_of(waiting_, awaits);
}

void Scheduler::complete() {
  SLUICE_CHECK(plan_open_);
  plan_open_ = false;
  join_holders();
}

void Scheduler::join_holders() {
  // Two sequences computed the same block side by side: the later one joins the findable one and frees its
  // own. Only now, so that no two tokens of a step are stored in one slot.
  for (const Duplicate& d : duplicates_) {
    int32_t& block = d.sequence->blocks[static_cast<size_t>(d.index)];
    pool_.release(block);
    block = d.holder;
    ++d.sequence->blocks_version;
  }
  duplicates_.clear();
}

// By rank, so that whoever is preempted (the last in rank) has no place in this plan yet.
bool Scheduler::plan_decodes() {
  const size_t before = running_.size();
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    if (s.uncomputed() != 1 || s.will_end() || !grow_for_decode(s)) continue;
    schedule(s, 1);
    ++plan_.decode_sequences;
  }
  return running_.size() == before;
}

void Scheduler::plan_prefills(int& prefill_left) {
  for (Sequence* s : running_) {
    if (prefill_left == 0) return;
    if (s->uncomputed() <= 1 && s->pending > 0) continue;  // decodes in this plan, or will end
    const int32_t count = within_rows(*s, std::min(s->uncomputed(), prefill_left));
    prefill_left -= count;
    plan_.prefill_tokens += count;
    schedule(*s, count);
  }
}

void Scheduler::admit_waiting(int& prefill_left) {
  Sequence* blocked_head = nullptr;
  int misfits = 0;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (prefill_left == 0 || static_cast<int>(running_.size()) + extra_rows_ >= options_.max_running) return;
    Sequence& s = **next;
    if (s.pending > 0 || !try_admit(s)) {
      if (blocked_head == nullptr) blocked_head = &s;
      if (blocked_head->bypassed >= options_.max_head_bypass || ++misfits >= kMaxMisfitsPerStep) return;
      ++next;
      continue;
    }
    next = waiting_.erase(next);
    running_.insert(std::ranges::upper_bound(running_, s.rank, {}, [](const Sequence* r) { return r->rank; }),
                    &s);
    const int32_t count = within_rows(s, std::min(s.uncomputed(), prefill_left));
    prefill_left -= count;
    plan_.prefill_tokens += count;
    schedule(s, count);
    if (blocked_head != nullptr && ++blocked_head->bypassed >= options_.max_head_bypass) return;
  }
}

// All or nothing: blocks for every known token are taken at once, so that a prompt that was let in is never
// thrown out for its own sake, and two long prompts never starve each other half-way.
bool Scheduler::try_admit(Sequence& s) {
  // Each running sequence may need one more block soon; without that reserve the newcomer would be preempted
  // at once.
  const int64_t headroom = pool_.free_count() - static_cast<int64_t>(running_.size());
  if (headroom <= s.refused_headroom) return false;  // nothing was freed since: spare the hashing

  PrefixChain chain = PrefixCache::start(s.request.cache_salt);
  find_prefix(s, chain);
  int64_t from_free_list = blocks_for(s.length()) - static_cast<int64_t>(found_.size());
  for (const int32_t block : found_) from_free_list += pool_.references(block) == 0 ? 1 : 0;
  if (from_free_list > headroom) {
    s.refused_headroom = headroom;
    return false;
  }

  for (const int32_t block : found_) pool_.share(block);
  s.blocks.assign(found_.begin(), found_.end());
  while (static_cast<int32_t>(s.blocks.size()) < blocks_for(s.length())) s.blocks.push_back(take_block());
  ++s.blocks_version;
  s.chain = chain;
  s.computed = static_cast<int32_t>(found_.size()) * options_.block_tokens;
  s.state = Sequence::State::kRunning;
  s.refused_headroom = -1;
  s.bypassed = 0;
  if (!s.admitted) count_admission(s);
  return true;
}

bool Scheduler::reads_prefixes(const Sequence& s) const {
  return options_.prefix_caching && s.request.pooling != Pooling::kMean && s.unscored() == 0;
}

// The last token is always computed anew: its logits are what the step is for.
void Scheduler::find_prefix(const Sequence& s, PrefixChain& chain) {
  found_.clear();
  if (!reads_prefixes(s)) return;
  const int32_t whole_blocks = (s.length() - 1) / options_.block_tokens;
  for (int32_t i = 0; i < whole_blocks; ++i) {
    const int32_t block = cache_.find(chain, block_tokens(s, i));
    if (block == PrefixCache::kNone) return;
    found_.push_back(block);
  }
}

void Scheduler::estimate(Sequence& s) {
  PrefixChain chain = PrefixCache::start(s.request.cache_salt);
  const int32_t most = reads_prefixes(s) ? (s.length() - 1) / options_.block_tokens : 0;
  int32_t found = 0;
  while (found < most && cache_.find(chain, block_tokens(s, found)) != PrefixCache::kNone) ++found;
  s.uncached_estimate = s.length() - found * options_.block_tokens;
  counts_.waiting_uncached_tokens += s.uncached_estimate;
}

void Scheduler::estimate_waiting() {
  if (std::exchange(estimates_waiting_, true)) return;
  for (Sequence* s : waiting_) {
    if (!s->admitted) estimate(*s);
  }
}

Scheduler::PromptBlocks Scheduler::prompt_blocks(const Sequence& s) const {
  const int32_t count = s.length() / options_.block_tokens;
  if (!options_.prefix_caching || count == 0) return {};
  SLUICE_CHECK_LE(s.chain.depth, count);
  uint64_t hash = s.chain.hash;  // behind what the cache knows already
  for (int32_t i = s.chain.depth; i < count; ++i) hash = options_.hash(hash, block_tokens(s, i));
  return {count, hash};
}

void Scheduler::count_admission(Sequence& s) {
  s.admitted = true;
  s.cached_tokens = s.computed;
  const int32_t cached = std::min(s.cached_tokens, s.prompt_length);
  counts_.waiting_prompt_tokens -= s.prompt_length;
  counts_.waiting_uncached_tokens -= s.uncached_estimate;
  counts_.prompt_tokens += static_cast<uint64_t>(s.prompt_length);
  counts_.prompt_tokens_cached += static_cast<uint64_t>(cached);
  if (!options_.prefix_caching) return;
  counts_.prefix_cache_queries += static_cast<uint64_t>(s.prompt_length);
  counts_.prefix_cache_hits += static_cast<uint64_t>(cached);
}

// As many of the next `count` tokens as there are rows of logits for; at least one: its own row is kept free.
int32_t Scheduler::within_rows(const Sequence& s, int32_t count) const {
  if (s.unscored() == 0) return count;
  const int32_t begin = std::max(s.computed, s.scored);
  const int32_t scored = std::min(s.computed + count, s.prompt_length - 1) - begin;
  const int32_t rows = 1 + options_.max_running - static_cast<int32_t>(running_.size()) - extra_rows_;
  const int32_t samples = count == s.uncomputed() ? 1 : 0;
  return scored + samples <= rows ? count : begin - s.computed + rows;
}

void Scheduler::schedule(Sequence& s, int32_t count) {
  PlanItem item{.sequence = &s, .first = s.computed, .count = count, .samples = count == s.uncomputed()};
  if (s.unscored() > 0) {
    item.scored_first = std::max(s.computed, s.scored);
    item.scored = std::max(0, std::min(s.computed + count, s.prompt_length - 1) - item.scored_first);
    s.scored += item.scored;
    extra_rows_ += std::max(0, item.scored + (item.samples ? 1 : 0) - 1);
  }
  plan_.items.push_back(item);
  plan_.tokens += count;
  s.computed += count;
  if (item.samples) ++s.pending;
  make_findable(s);
}

void Scheduler::make_findable(Sequence& s) {
  if (!options_.prefix_caching) return;
  const int32_t known = std::min(s.computed, s.length());
  while ((s.chain.depth + 1) * options_.block_tokens <= known) {
    const int32_t index = s.chain.depth;
    const int32_t block = s.blocks[static_cast<size_t>(index)];
    const auto added = cache_.add(s.chain, block_tokens(s, index), block);
    if (added.displaced != PrefixCache::kNone) pool_.set_cached(added.displaced, false);
    if (added.holder == block) {
      pool_.set_cached(block, true);
    } else {
      pool_.share(added.holder);
      duplicates_.push_back({&s, index, added.holder});
    }
  }
}

// False: `s` itself was the last in rank and is preempted.
bool Scheduler::grow_for_decode(Sequence& s) {
  while (static_cast<int32_t>(s.blocks.size()) < blocks_for(s.length() + s.pending)) {
    if (pool_.free_count() > 0) {
      s.blocks.push_back(take_block());
      continue;
    }
    const bool itself = running_.back() == &s;
    preempt_last();
    if (itself) return false;
  }
  return true;
}

void Scheduler::preempt_last() {
  Sequence& victim = *running_.back();
  SLUICE_CHECK_LT(1U, running_.size());  // alone it fits: Engine::submit has checked
  running_.pop_back();
  release_blocks(victim);
  victim.computed = 0;
  victim.chain = PrefixCache::start(victim.request.cache_salt);
  victim.state = Sequence::State::kWaiting;
  ++victim.preemptions;
  ++counts_.preemptions;
  waiting_.insert(&victim);
}

int32_t Scheduler::take_block() {
  const int32_t block = pool_.acquire();
  if (pool_.cached(block)) {
    cache_.forget(block);
    pool_.set_cached(block, false);
  }
  return block;
}

void Scheduler::release_blocks(Sequence& s) {
  for (auto block = s.blocks.rbegin(); block != s.blocks.rend(); ++block) pool_.release(*block);
  s.blocks.clear();
  ++s.blocks_version;
}

std::span<const int32_t> Scheduler::block_tokens(const Sequence& s, int32_t block_index) const {
  const auto size = static_cast<size_t>(options_.block_tokens);
  return std::span(s.tokens).subspan(static_cast<size_t>(block_index) * size, size);
}

}  // namespace sluice
