// Ranks as threads: sums in the order of the ranks, columns beside one another, and an end to every wait.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "kernels/shared_memory_collective.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// `body` on a thread for each rank.
void on_every_rank(std::vector<std::unique_ptr<Collective>>& ranks,
                   const std::function<void(Collective&)>& body) {
  std::vector<std::thread> threads;
  for (auto& rank : ranks) threads.emplace_back([&body, &rank] { body(*rank); });
  for (std::thread& thread : threads) thread.join();
}

// Rows further apart than they are wide, with a mark behind each.
struct Rows {
  Rows(int64_t rows, int64_t columns)
      : stride(columns + 3), values(static_cast<size_t>(rows * stride), kMark) {
    view = TensorView::of(values.data(), DType::kF32, rows, columns);
    view.row_stride = stride;
  }
  void fill(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 1);
    for (int64_t t = 0; t < view.rows; ++t)
      for (int64_t i = 0; i < view.columns; ++i)
        view.f32(t)[i] = normal(random) * std::exp(4 * normal(random));
  }
  bool marks_stand() const {
    for (int64_t t = 0; t < view.rows; ++t)
      for (int64_t i = view.columns; i < stride; ++i)
        if (values[static_cast<size_t>(t * stride + i)] != kMark) return false;
    return true;
  }
  static constexpr float kMark = 12345;
  int64_t stride;
  std::vector<float> values;
  TensorView view;
};

TEST(SharedMemoryCollective, sums_in_the_order_of_the_ranks_whoever_comes_first) {
  for (const int count : {1, 2, 3, 4, 8}) {
    auto ranks = make_shared_memory_collectives(count);
    for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {1, 64}, {3, 5}, {2, 17}, {7, 96}, {1, 4096}, {0, 8}, {5, 1100}}) {
      std::vector<Rows> inputs;
      for (int r = 0; r < count; ++r) {
        inputs.emplace_back(rows, columns);  // a moved vector keeps its memory: the view stays
        inputs.back().fill(static_cast<uint64_t>(r));
      }
      std::vector<float> expected;
      for (int64_t t = 0; t < rows; ++t) {
        for (int64_t i = 0; i < columns; ++i) {
          float sum = inputs[0].view.f32(t)[i];
          for (size_t r = 1; r < inputs.size(); ++r) sum += inputs[r].view.f32(t)[i];
          expected.push_back(sum);
        }
      }
      std::atomic<int> late{count % 3};  // another one is late each time
      on_every_rank(ranks, [&](Collective& rank) {
        if (late.fetch_sub(1) == 0) std::this_thread::sleep_for(milliseconds(1));
        EXPECT_TRUE(rank.all_reduce(inputs[static_cast<size_t>(rank.rank().index)].view).ok());
      });
      for (const Rows& result : inputs) {
        EXPECT_TRUE(result.marks_stand());
        for (int64_t t = 0; t < rows; ++t)
          EXPECT_EQ(std::memcmp(result.view.f32(t), expected.data() + t * columns,
                                static_cast<size_t>(columns) * sizeof(float)),
                    0)
              << count << " ranks, " << rows << " x " << columns;
      }
    }
  }
}

TEST(SharedMemoryCollective, gathers_columns_of_any_widths_also_in_place) {
  constexpr int64_t kRows = 3, kWidths[] = {5, 1, 0, 7}, kAll = 13;
  auto ranks = make_shared_memory_collectives(4);
  for (const bool in_place : {false, true}) {
    std::vector<std::vector<float>> results(4, std::vector<float>(kRows * kAll, -1));
    on_every_rank(ranks, [&](Collective& rank) {
      const auto r = static_cast<size_t>(rank.rank().index);
      int64_t first = 0;
      for (size_t before = 0; before < r; ++before) first += kWidths[before];
      const TensorView out = TensorView::of(results[r].data(), DType::kF32, kRows, kAll);
      std::vector<float> own(static_cast<size_t>(kRows * kWidths[r]) + 1);
      const TensorView mine = in_place ? out.slice(first, kWidths[r])
                                       : TensorView::of(own.data(), DType::kF32, kRows, kWidths[r]);
      for (int64_t t = 0; t < kRows; ++t)
        for (int64_t i = 0; i < kWidths[r]; ++i) mine.f32(t)[i] = static_cast<float>(100 * t + first + i);
      EXPECT_TRUE(rank.all_gather(mine, out).ok());
    });
    for (const auto& result : results)
      for (int64_t t = 0; t < kRows; ++t)
        for (int64_t i = 0; i < kAll; ++i)
          EXPECT_EQ(result[static_cast<size_t>(t * kAll + i)], static_cast<float>(100 * t + i));
  }
}

TEST(SharedMemoryCollective, goes_on_for_thousands_of_operations_with_ranks_of_any_haste) {
  constexpr int kOperations = 2000;
  auto ranks = make_shared_memory_collectives(3);
  on_every_rank(ranks, [&](Collective& rank) {
    std::mt19937_64 random(static_cast<uint64_t>(rank.rank().index));
    std::vector<float> values(40);
    for (int i = 0; i < kOperations; ++i) {
      std::ranges::fill(values, static_cast<float>(i * (rank.rank().index + 1)));
      if (random() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
      ASSERT_TRUE(rank.all_reduce(TensorView::of(values.data(), DType::kF32, 2, 20)).ok());
      for (const float v : values) ASSERT_EQ(v, static_cast<float>(6 * i));
    }
  });
}

TEST(SharedMemoryCollective, names_the_rank_that_does_not_come) {
  auto ranks = make_shared_memory_collectives(3, milliseconds(50));
  std::vector<float> values(3 * 16);
  const auto start = Clock::now();
  on_every_rank(ranks, [&](Collective& rank) {
    if (rank.rank().index == 1) return;
    float* const own = values.data() + 16 * rank.rank().index;
    for (int again = 0; again < 2; ++again) {  // broken for good
      const Status status = rank.all_reduce(TensorView::of(own, DType::kF32, 1, 16));
      ASSERT_FALSE(status.ok());
      EXPECT_THAT(status.error().message, testing::HasSubstr("rank 1 did not come within"));
    }
  });
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(10));
}

TEST(SharedMemoryCollective, an_abort_wakes_everyone_who_waits) {
  auto ranks = make_shared_memory_collectives(4);
  std::vector<float> values(4 * 16);
  const auto start = Clock::now();
  on_every_rank(ranks, [&](Collective& rank) {
    if (rank.rank().index == 2) {
      std::this_thread::sleep_for(milliseconds(20));  // the others sleep by then
      return rank.abort("its memory is full");
    }
    const Status status =
        rank.all_reduce(TensorView::of(values.data() + 16 * rank.rank().index, DType::kF32, 1, 16));
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().message, "The ranks cannot go on: rank 2 gave up: its memory is full.");
  });
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace sluice
