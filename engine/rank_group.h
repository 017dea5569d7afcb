// The runner of a model that several devices compute together: one runner for each rank, driven as one. Rank
// 0 runs on the engine's thread, each other rank on a thread of its own that follows the same orders; they
// meet in the operations of kernels/collective.h. All see the same step's arrays. Rank 0's tokens are the
// answer; the others sample only where their own next step needs the tokens (engine/device_runner.h).
//
// A rank that throws, or that is far behind the others, ends the process with a sentence: within
// Collective::kLimit and what one step takes.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/bell.h"
#include "engine/model_runner.h"
#include "engine/options.h"
#include "kernels/backend.h"
#include "models/model.h"

namespace sluice {

// Each backend's part of the model, loaded side by side. Progress is rank 0's.
Result<std::vector<std::unique_ptr<Model>>> load_models(const ModelConfig& config,
                                                        const TensorSource& tensors,
                                                        const std::vector<std::unique_ptr<Backend>>& backends,
                                                        const LoadModelOptions& options);

// A DeviceRunner, or for several ranks a group of them whose caches have equally many blocks: as many as fit
// where the least do. `models[r]` was loaded for `backends[r]`, of rank r.
Result<std::unique_ptr<ModelRunner>> make_runner(const EngineOptions& options,
                                                 const std::vector<int32_t>& eos_ids,
                                                 std::vector<std::unique_ptr<Backend>> backends,
                                                 std::vector<std::unique_ptr<Model>> models);

class RankGroup final : public ModelRunner {
 public:
  // Rank 0 first. `limit`: how much later than rank 0 the others may end a step.
  explicit RankGroup(std::vector<std::unique_ptr<ModelRunner>> ranks,
                     std::chrono::nanoseconds limit = Collective::kLimit);
  ~RankGroup() override;

  const RunnerFacts& facts() const override { return facts_; }
  void launch(const StepBatch& batch) override;
  void sample(std::span<const SamplingRow> rows) override;
  std::span<const SampledToken> collect() override;
  std::span<const float> hidden() const override { return ranks_[0]->hidden(); }

 private:
  enum class Verb : uint8_t { kLaunch, kSample, kCollect, kEnd };
  struct Order {
    Verb verb = Verb::kEnd;
    const StepBatch* batch = nullptr;
    std::span<const SamplingRow> rows;
  };
  // More than there can be between two collects.
  static constexpr size_t kOrders = 16;
  struct alignas(64) Count {
    std::atomic<uint64_t> orders{0};
  };

  void tell(const Order& order);
  void follow(size_t rank);
  void obey(ModelRunner& runner, const Order& order);
  void wait_for_followers();

  std::vector<std::unique_ptr<ModelRunner>> ranks_;
  const std::chrono::nanoseconds limit_;
  RunnerFacts facts_;
  std::array<Order, kOrders> orders_;  // a ring; written by the engine's thread alone
  Count told_;
  std::vector<Count> done_;  // of each rank
  Bell orders_bell_, done_bell_;
  std::vector<std::thread> followers_;
};

}  // namespace sluice
