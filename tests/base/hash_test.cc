#include "base/hash.h"

#include <gtest/gtest.h>

#include <string>
#include <unordered_set>

namespace sluice {
namespace {

TEST(Hash, values_are_fixed_for_engine_and_router_of_different_releases) {
  const std::string text = "the same everywhere";
  EXPECT_EQ(hash_bytes(text.data(), text.size(), 7), hash_bytes(text.data(), text.size(), 7));
  EXPECT_EQ(hash_combine(1, 2), 17835814974728543209ULL);
}

TEST(Hash, small_changes_do_not_collide) {
  std::unordered_set<uint64_t> seen;
  for (int parent = 0; parent < 300; ++parent) {
    for (int32_t token = 0; token < 300; ++token) {
      seen.insert(hash_bytes(&token, sizeof token, static_cast<uint64_t>(parent)));
    }
  }
  EXPECT_EQ(seen.size(), 90000U);
}

TEST(Hash, length_is_part_of_the_value) {
  const char zeros[16] = {};
  EXPECT_NE(hash_bytes(zeros, 3), hash_bytes(zeros, 4));
  EXPECT_NE(hash_bytes(zeros, 8), hash_bytes(zeros, 16));
}

}  // namespace
}  // namespace sluice
