#include "kernels/shared_memory_collective.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/bell.h"

namespace sluice {
namespace {

// What the ranks share.
class Meeting {
 public:
  Meeting(int ranks, std::chrono::nanoseconds limit) : limit_(limit), seats_(static_cast<size_t>(ranks)) {}

  int ranks() const { return static_cast<int>(seats_.size()); }
  // What a rank brings; others may look between this meeting and the next.
  void bring(int rank, const TensorView& x) { seats_[static_cast<size_t>(rank)].view = x; }
  const TensorView& of(int rank) const { return seats_[static_cast<size_t>(rank)].view; }

  // Until all have come as often as this rank.
  Status meet(int rank) {
    Seat& mine = seats_[static_cast<size_t>(rank)];
    const uint64_t turn = mine.turns.load(std::memory_order_relaxed) + 1;
    mine.turns.store(turn, std::memory_order_release);
    bell_.ring();
    const bool ended = bell_.wait(limit_, [&] {
      return broken_.load(std::memory_order_acquire) || std::ranges::all_of(seats_, [&](const Seat& seat) {
               return seat.turns.load(std::memory_order_acquire) >= turn;
             });
    });
    if (ended && !broken_.load(std::memory_order_acquire)) return {};
    if (!ended) abort("rank " + missing(turn) + " did not come within " + seconds() + " s");
    return Error{ErrorCode::kUnavailable, "The ranks cannot go on: " + reason() + "."};
  }

  // The first reason stays.
  void abort(const std::string& reason) {
    {
      std::lock_guard lock(mutex_);
      if (reason_.empty()) reason_ = reason;
    }
    broken_.store(true, std::memory_order_release);
    bell_.ring();
  }

 private:
  struct alignas(64) Seat {
    std::atomic<uint64_t> turns{0};
    TensorView view;
  };

  std::string reason() {
    std::lock_guard lock(mutex_);
    return reason_;
  }
  std::string missing(uint64_t turn) const {
    std::string names;
    for (size_t r = 0; r < seats_.size(); ++r) {
      if (seats_[r].turns.load(std::memory_order_acquire) < turn)
        names += (names.empty() ? "" : ", ") + std::to_string(r);
    }
    return names;
  }
  std::string seconds() const {
    return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit_).count());
  }

  const std::chrono::nanoseconds limit_;
  Bell bell_;
  std::atomic<bool> broken_{false};
  std::mutex mutex_;
  std::string reason_;
  std::vector<Seat> seats_;
};

class SharedMemoryCollective final : public Collective {
 public:
  SharedMemoryCollective(std::shared_ptr<Meeting> meeting, int rank)
      : meeting_(std::move(meeting)), rank_(rank) {}

  DeviceRank rank() const override { return {rank_, meeting_->ranks()}; }

  // Each rank sums its share of the columns for all and writes it into everybody's rows.
  Status all_reduce(TensorView x) override {
    SLUICE_CHECK(x.dtype == DType::kF32);
    SLUICE_TRY(come_with(x));
    const int ranks = meeting_->ranks();
    for (int r = 0; r < ranks; ++r) {
      SLUICE_CHECK_EQ(meeting_->of(r).rows, x.rows);
      SLUICE_CHECK_EQ(meeting_->of(r).columns, x.columns);
    }
    const int64_t lines = (x.columns + kLine - 1) / kLine;
    const int64_t first = std::min(x.columns, lines * rank_ / ranks * kLine);
    const int64_t last = std::min(x.columns, lines * (rank_ + 1) / ranks * kLine);
    for (int64_t t = 0; t < x.rows && first < last; ++t) sum_row(t, first, last - first);
    return meeting_->meet(rank_);
  }

  Status all_gather(TensorView x, TensorView out) override {
    SLUICE_CHECK(x.dtype == out.dtype);
    SLUICE_TRY(come_with(x));
    int64_t column = 0;
    for (int r = 0; r < meeting_->ranks(); ++r) {
      const TensorView& part = meeting_->of(r);
      SLUICE_CHECK_EQ(part.rows, out.rows);
      const TensorView to = out.slice(column, part.columns);
      column += part.columns;
      for (int64_t t = 0; t < out.rows && to.bytes != part.bytes; ++t)
        std::memcpy(row_of(to, t), row_of(part, t), static_cast<size_t>(part.columns) * bytes_of(part.dtype));
    }
    SLUICE_CHECK_EQ(column, out.columns);
    return meeting_->meet(rank_);
  }

  void abort(const std::string& reason) override {
    meeting_->abort("rank " + std::to_string(rank_) + " gave up: " + reason);
  }

 private:
  static constexpr int64_t kLine = 16;  // values of a cache line, which no two ranks write

  static std::byte* row_of(const TensorView& x, int64_t t) {
    return x.bytes + t * x.row_stride * static_cast<int64_t>(bytes_of(x.dtype));
  }

  Status come_with(const TensorView& x) {
    meeting_->bring(rank_, x);
    return meeting_->meet(rank_);
  }

  // A piece at a time, so that the sum stays in the first cache.
  void sum_row(int64_t t, int64_t first, int64_t count) const {
    constexpr int64_t kPiece = 512;
    float sum[kPiece];
    for (int64_t at = first; at < first + count; at += kPiece) {
      const int64_t n = std::min(kPiece, first + count - at);
      const auto bytes = static_cast<size_t>(n) * sizeof(float);
      std::memcpy(sum, meeting_->of(0).f32(t) + at, bytes);
      for (int r = 1; r < meeting_->ranks(); ++r) {
        const float* const theirs = meeting_->of(r).f32(t) + at;
        for (int64_t i = 0; i < n; ++i) sum[i] += theirs[i];
      }
      for (int r = 0; r < meeting_->ranks(); ++r) std::memcpy(meeting_->of(r).f32(t) + at, sum, bytes);
    }
  }

  const std::shared_ptr<Meeting> meeting_;
  const int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Collective>> make_shared_memory_collectives(int ranks,
                                                                        std::chrono::nanoseconds limit) {
  const auto meeting = std::make_shared<Meeting>(ranks, limit);
  std::vector<std::unique_ptr<Collective>> collectives;
  for (int r = 0; r < ranks; ++r) collectives.push_back(std::make_unique<SharedMemoryCollective>(meeting, r));
  return collectives;
}

}  // namespace sluice
