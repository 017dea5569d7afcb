// Decides what each step computes and which sequence holds which KV block. Pure: no clock, no device, no I/O;
// time and measurements come in as arguments, so that a seeded simulation can run it for any number of steps.
// Owns the waiting and running lists, the block pool and the prefix cache; not the sequences. Engine thread
// only.
//
// One token budget per step, no phases: running sequences that decode (one token each), then running ones
// with prompt left, then waiting ones. Rank decides the order everywhere. A decode without a free block
// preempts the last in rank: it gives up its blocks, keeps its tokens and returns to its place in the queue;
// its tokens are recomputed later, from the prefix cache where they are still there. Since the first in rank
// is never preempted and whatever was submitted fits alone, some sequence always advances and every sequence
// is at some time the first.
//
// A step yields at most max_running rows of logits: one for each sequence that goes on, the rest for prompt
// tokens that are to be scored.
//
// A block is findable by others as soon as the step that computes it is planned: a step stores all its keys
// and values before it reads any, and steps run in order. So of equal prompts that arrive together only one
// is computed. For the same reason blocks may be given away while a launched step still reads them.
//
// A sequence with a pending token (Sequence::pending) decodes on with it, unless it will end; one that was
// preempted waits until its token is known.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "engine/block_pool.h"
#include "engine/prefix_cache.h"
#include "engine/sequence.h"

namespace sluice {

struct SchedulerOptions {
  int64_t block_count = 0;  // N
  int block_tokens = 16;    // B
  int max_running = 64;
  int budget_tokens = 512;  // >= max_running, so that every decode has its place
  int max_head_bypass = 64;
  bool prefix_caching = true;
  bool by_priority = false;
  int priority_aging_ms = 0;  // > 0: so much longer waiting is worth one level of priority
  BlockHash hash = block_hash;
};

// One sequence's part of a step: tokens [first, first + count).
struct PlanItem {
  Sequence* sequence = nullptr;
  int32_t first = 0;
  int32_t count = 0;
  bool samples = false;                  // its last known token is among them: the step yields its next one
  int32_t scored_first = 0, scored = 0;  // prompt tokens whose successor's log probability the step yields
};

struct Plan {
  std::vector<PlanItem> items;
  int tokens = 0;
  int prefill_tokens = 0;
  int decode_sequences = 0;
  bool empty() const { return items.empty(); }
};

struct SchedulerCounts {
  int64_t waiting_prompt_tokens = 0;  // of sequences never admitted yet
  int64_t waiting_uncached_tokens =
      0;                       // those not in the cache when they came; not counted before estimate_waiting
  uint64_t prompt_tokens = 0;  // of admitted ones
  uint64_t prompt_tokens_cached = 0;
  uint64_t prefix_cache_queries = 0;
  uint64_t prefix_cache_hits = 0;
  uint64_t preemptions = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // A new sequence joins the queue. It must fit the pool alone at its greatest length.
  void add(Sequence& sequence);
  // Takes a waiting or running sequence out, whatever the reason, and releases its blocks. Not while a plan
  // is open.
  void remove(Sequence& sequence);
  // A pending token of it has become known. `as_chosen` false: it is another than the device chose; what a
  // step in flight has computed with that one is void, and will be computed anew. Not while a plan is open.
  void token_known(Sequence& sequence, bool as_chosen = true);
  // The sequences whose deadline has come, into `out`; they stay until removed.
  void expired(Clock::time_point now, std::vector<Sequence*>& out) const;

  // Opens the next step: advances `computed` of the sequences in it. `prefill_limit` bounds the prompt tokens
  // beside decodes (StepPacer); without decodes the budget alone does. Empty only when there is no sequence,
  // or none that could go on before its pending token is known. Valid until complete().
  const Plan& plan(int prefill_limit);
  // The planned step runs before whatever is planned next.
  void complete();

  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  const std::vector<Sequence*>& running() const { return running_; }  // by rank
  int64_t waiting_count() const { return static_cast<int64_t>(waiting_.size()); }
  const SchedulerCounts& counts() const { return counts_; }
  const BlockPool& pool() const { return pool_; }
  const PrefixCache& cache() const { return cache_; }
  PrefixCache& cache() { return cache_; }

  // Counts waiting_uncached_tokens from now on: a look into the cache for each sequence that comes.
  void estimate_waiting();
  // How many whole blocks the known tokens have, and the hash of the last; {0, 0} without prefix caching.
  // After the sequence's first admission, and before a token of its answer is computed.
  struct PromptBlocks {
    int32_t count = 0;
    uint64_t hash = 0;
  };
  PromptBlocks prompt_blocks(const Sequence& sequence) const;

 private:
  struct ByRank {
    bool operator()(const Sequence* a, const Sequence* b) const { return a->rank < b->rank; }
  };
  struct ByDeadline {
    bool operator()(const Sequence* a, const Sequence* b) const {
      if (a->request.deadline != b->request.deadline) return a->request.deadline < b->request.deadline;
      return a->id < b->id;
    }
  };
  struct Duplicate {  // a block whose content another block already holds
    Sequence* sequence;
    int32_t index;
    int32_t holder;
  };

  bool plan_decodes();  // false: something was preempted
  void plan_prefills(int& prefill_left);
  void admit_waiting(int& prefill_left);
  bool try_admit(Sequence& sequence);
  void find_prefix(const Sequence& sequence, PrefixChain& chain);
  bool reads_prefixes(const Sequence& sequence) const;
  void estimate(Sequence& sequence);
  void count_admission(Sequence& sequence);
  void schedule(Sequence& sequence, int32_t count);
  int32_t within_rows(const Sequence& sequence, int32_t count) const;
  void make_findable(Sequence& sequence);
  void join_holders();
  bool awaits_tokens() const;
  bool grow_for_decode(Sequence& sequence);
  void preempt_last();
  int32_t take_block();
  void release_blocks(Sequence& sequence);
  int32_t blocks_for(int32_t tokens) const {
    return (tokens + options_.block_tokens - 1) / options_.block_tokens;
  }
  std::span<const int32_t> block_tokens(const Sequence& sequence, int32_t block_index) const;

  const SchedulerOptions options_;
  BlockPool pool_;
  PrefixCache cache_;
  std::set<Sequence*, ByRank> waiting_;
  std::vector<Sequence*> running_;  // by rank
  std::set<Sequence*, ByDeadline> deadlines_;
  Plan plan_;
  bool plan_open_ = false;
  int extra_rows_ = 0;  // of logits, beyond the one that each running sequence may need
  std::vector<Duplicate> duplicates_;
  std::vector<int32_t> found_;  // the prefix blocks of the sequence being admitted
  SchedulerCounts counts_;
  bool estimates_waiting_ = false;
};

}  // namespace sluice
