#include "engine/rank_group.h"

#include <algorithm>
#include <exception>
#include <future>
#include <limits>
#include <utility>

#include "base/check.h"
#include "engine/device_runner.h"
#include "engine/sentence.h"

namespace sluice {

Result<std::vector<std::unique_ptr<Model>>> load_models(const ModelConfig& config,
                                                        const TensorSource& tensors,
                                                        const std::vector<std::unique_ptr<Backend>>& backends,
                                                        const LoadModelOptions& options) {
  LoadModelOptions silent = options;
  silent.on_progress = nullptr;
  std::vector<std::future<Result<std::unique_ptr<Model>>>> others;
  for (size_t r = 1; r < backends.size(); ++r) {
    others.push_back(
        std::async(std::launch::async, [&, r] { return load_model(config, tensors, *backends[r], silent); }));
  }
  std::vector<Result<std::unique_ptr<Model>>> loaded;
  loaded.push_back(load_model(config, tensors, *backends[0], options));
  for (auto& other : others) loaded.push_back(other.get());
  std::vector<std::unique_ptr<Model>> models;
  for (auto& model : loaded) {
    if (!model.ok()) return std::move(model).error();
    models.push_back(std::move(model).value());
  }
  return models;
}

Result<std::unique_ptr<ModelRunner>> make_runner(const EngineOptions& options,
                                                 const std::vector<int32_t>& eos_ids,
                                                 std::vector<std::unique_ptr<Backend>> backends,
                                                 std::vector<std::unique_ptr<Model>> models) {
  SLUICE_CHECK_EQ(backends.size(), models.size());
  if (backends.size() == 1)
    return DeviceRunner::make(options, eos_ids, std::move(backends[0]), std::move(models[0]));
  int64_t block_count = std::numeric_limits<int64_t>::max();
  for (size_t r = 0; r < backends.size(); ++r) {
    SLUICE_ASSIGN(const KvCacheSize size, DeviceRunner::cache_size(options, *backends[r], *models[r]));
    block_count = std::min(block_count, size.block_count);
  }
  std::vector<std::unique_ptr<ModelRunner>> ranks;
  for (size_t r = 0; r < backends.size(); ++r) {
    SLUICE_ASSIGN(auto rank, DeviceRunner::make(options, eos_ids, std::move(backends[r]),
                                                std::move(models[r]), block_count));
    ranks.push_back(std::move(rank));
  }
  return std::unique_ptr<ModelRunner>(std::make_unique<RankGroup>(std::move(ranks)));
}

RankGroup::RankGroup(std::vector<std::unique_ptr<ModelRunner>> ranks, std::chrono::nanoseconds limit)
    : ranks_(std::move(ranks)), limit_(limit), facts_(ranks_.at(0)->facts()), done_(ranks_.size()) {
  facts_.device = sentence(ranks_.size(), " ranks of ", facts_.device);
  for (size_t r = 1; r < ranks_.size(); ++r) {
    SLUICE_CHECK_EQ(ranks_[r]->facts().block_count, facts_.block_count);
    SLUICE_CHECK_EQ(ranks_[r]->facts().steps_in_flight, facts_.steps_in_flight);
    followers_.emplace_back([this, r] { follow(r); });
  }
}

RankGroup::~RankGroup() {
  tell({});
  for (std::thread& follower : followers_) follower.join();
}

void RankGroup::launch(const StepBatch& batch) {
  tell({.verb = Verb::kLaunch, .batch = &batch});
  ranks_[0]->launch(batch);
}

void RankGroup::sample(std::span<const SamplingRow> rows) {
  tell({.verb = Verb::kSample, .rows = rows});
  ranks_[0]->sample(rows);
}

std::span<const SampledToken> RankGroup::collect() {
  tell({.verb = Verb::kCollect});
  const auto tokens = ranks_[0]->collect();
  wait_for_followers();  // who read the step's arrays, which may change from here on
  return tokens;
}

void RankGroup::tell(const Order& order) {
  const uint64_t number = told_.orders.load(std::memory_order_relaxed);
  for (size_t r = 1; r < done_.size(); ++r)
    SLUICE_CHECK_LT(number - done_[r].orders.load(std::memory_order_acquire), uint64_t{kOrders});
  orders_[number % kOrders] = order;
  told_.orders.store(number + 1, std::memory_order_release);
  orders_bell_.ring();
}

void RankGroup::wait_for_followers() {
  const uint64_t told = told_.orders.load(std::memory_order_relaxed);
  size_t late = 1;
  const bool all = done_bell_.wait(limit_, [&] {
    while (late < done_.size() && done_[late].orders.load(std::memory_order_acquire) >= told) ++late;
    return late == done_.size();
  });
  if (all) return;
  stop_process(sentence("Rank ", late, " of ", ranks_.size(), " has not ended a step that rank 0 ended ",
                        std::chrono::duration_cast<std::chrono::seconds>(limit_).count(), " s ago."));
}

void RankGroup::follow(size_t rank) {
  for (uint64_t next = 0;; ++next) {
    const auto told = [&] { return told_.orders.load(std::memory_order_acquire) > next; };
    while (!orders_bell_.wait(std::chrono::hours(1), told)) continue;
    const Order& order = orders_[next % kOrders];
    if (order.verb == Verb::kEnd) return;
    try {
      obey(*ranks_[rank], order);
    } catch (const std::exception& e) {
      stop_process(sentence("Rank ", rank, " of ", ranks_.size(), " failed: ", e.what(), "."));
    }
    done_[rank].orders.store(next + 1, std::memory_order_release);
    done_bell_.ring();
  }
}

void RankGroup::obey(ModelRunner& runner, const Order& order) {
  switch (order.verb) {
    case Verb::kLaunch:
      return runner.launch(*order.batch);
    case Verb::kSample:
      return runner.sample(order.rows);
    case Verb::kCollect:
      (void)runner.collect();
      return;
    case Verb::kEnd:
      return;
  }
}

}  // namespace sluice
