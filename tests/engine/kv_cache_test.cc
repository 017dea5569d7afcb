#include "engine/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/make_backend.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMiB = size_t{1} << 20;

// 16 tokens of 2 layers, 4 kv heads of 32: 2 * 2 * 16 * 4 * 32 * 2 bytes = 16 KiB a block in bf16.
ModelConfig model() {
  ModelConfig config;
  config.layers = 2;
  config.kv_heads = 4;
  config.head_size = 32;
  config.context_length = 4096;
  return config;
}

EngineOptions options(int max_model_len, int max_num_seqs, size_t bytes = 0) {
  EngineOptions o;
  o.max_model_len = max_model_len;
  o.max_num_seqs = max_num_seqs;
  o.kv_cache_memory_bytes = bytes;
  return o;
}

CacheMemory host(size_t free_bytes) {
  return cache_memory({}, {.kind = "cpu", .memory_bytes = 1000 * kMiB, .memory_free_bytes = free_bytes});
}

TEST(KvCacheSize, takes_no_more_than_all_sequences_at_their_longest_need) {
  const auto size = size_kv_cache(options(1000, 4), model(), host(1000 * kMiB));
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(size->block_bytes, 16384);
  EXPECT_EQ(size->block_count, 63 * 4);
}

TEST(KvCacheSize, takes_half_of_the_free_memory_when_more_could_be_used) {
  const auto size = size_kv_cache(options(4096, 1000), model(), host(100 * kMiB));
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(size->block_count, 50 * 64);
}

TEST(KvCacheSize, takes_what_it_is_given) {
  const auto size = size_kv_cache(options(1000, 1, 10 * kMiB + 5), model(), host(100 * kMiB));
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(size->block_count, 640);
}

TEST(KvCacheSize, takes_of_a_gpu_what_its_share_leaves_beside_the_weights) {
  EngineOptions o = options(4096, 1000);
  o.gpu_memory_utilization = 0.9;
  const DeviceFacts gpu{.kind = "cuda", .memory_bytes = 1000 * kMiB, .memory_free_bytes = 800 * kMiB};
  EXPECT_EQ(size_kv_cache(o, model(), cache_memory(o, gpu))->block_count, 700 * 64);
  o.gpu_memory_utilization = 0.1;
  const auto none = size_kv_cache(o, model(), cache_memory(o, gpu));
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.error().message,
              HasSubstr("--gpu-memory-utilization 0.1 beside the 200 MiB in use gives 0.0"));
}

TEST(KvCacheSize, is_modest_when_the_device_cannot_tell_its_memory) {
  const auto size = size_kv_cache(options(4096, 60000), model(), host(0));
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(size->bytes(), int64_t{1} << 30);
}

TEST(KvCacheSize, says_what_would_fit) {
  const auto none = size_kv_cache(options(4096, 8), model(), host(4 * kMiB));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kOutOfMemory);
  EXPECT_THAT(none.error().message, HasSubstr("4096 tokens needs 4.0 MiB"));
  EXPECT_THAT(none.error().message, HasSubstr("half of the free memory gives 2.0 MiB"));
  EXPECT_THAT(none.error().message, HasSubstr("--max-model-len to at most 2048"));

  const auto given = size_kv_cache(options(4096, 8, kMiB), model(), host(100 * kMiB));
  ASSERT_FALSE(given.ok());
  EXPECT_THAT(given.error().message, HasSubstr("--kv-cache-memory-bytes gives 1.0 MiB"));
  EXPECT_THAT(given.error().message, HasSubstr("--max-model-len to at most 1024"));

  const auto greedy = size_kv_cache(options(1000, 8, 200 * kMiB), model(), host(100 * kMiB));
  ASSERT_FALSE(greedy.ok());
  EXPECT_THAT(greedy.error().message, HasSubstr("asks for 200 MiB, but only 100 MiB are free"));

  const auto tiny = size_kv_cache(options(4096, 8, 1), model(), host(100 * kMiB));
  ASSERT_FALSE(tiny.ok());
  EXPECT_THAT(tiny.error().message, HasSubstr("Give it more memory."));
}

TEST(KvCache, lays_out_disjoint_keys_and_values_for_every_layer) {
  auto backend = make_backend({.device = "reference"});
  ASSERT_TRUE(backend.ok());
  auto cache = KvCache::make(options(100, 2), model(), **backend);
  ASSERT_TRUE(cache.ok()) << cache.error().message;
  const auto layers = (*cache)->layers();
  ASSERT_EQ(layers.size(), 2U);
  for (const KvView& layer : layers) {
    EXPECT_EQ(layer.block_count, 14);
    EXPECT_EQ(layer.key_page(13, 3) + layer.layout.page_bytes(), layer.values);
    EXPECT_EQ(*layer.value_page(13, 3), std::byte{0});
  }
}

}  // namespace
}  // namespace sluice
