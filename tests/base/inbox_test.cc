#include "base/inbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

namespace sluice {
namespace {

TEST(Inbox, refuses_when_full_and_leaves_the_item_with_the_caller) {
  Inbox<std::unique_ptr<int>> inbox(2);
  EXPECT_TRUE(inbox.try_push(std::make_unique<int>(1)));
  EXPECT_TRUE(inbox.try_push(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(inbox.try_push(std::move(third)));
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(*third, 3);
}

TEST(Inbox, keeps_each_producers_order_and_loses_nothing) {
  constexpr int kProducers = 4, kItems = 5000;
  Inbox<std::pair<int, int>> inbox(1 << 20);
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&inbox, p] {
      for (int i = 0; i < kItems; ++i) ASSERT_TRUE(inbox.try_push({p, i}));
    });
  }
  std::vector<int> next(kProducers, 0);
  std::vector<std::pair<int, int>> got;
  int total = 0;
  while (total < kProducers * kItems) {
    inbox.wait_for(std::chrono::seconds(10));
    inbox.drain(got);
    for (auto [p, i] : got) EXPECT_EQ(i, next[static_cast<size_t>(p)]++);
    total += static_cast<int>(got.size());
  }
  for (auto& t : producers) t.join();
}

TEST(Inbox, closing_wakes_the_consumer_and_refuses_producers) {
  Inbox<int> inbox(4);
  std::thread closer([&] { inbox.close(); });
  inbox.wait_for(std::chrono::seconds(60));
  closer.join();
  EXPECT_FALSE(inbox.try_push(1));
}

}  // namespace
}  // namespace sluice
