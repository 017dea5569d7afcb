#include "server/metrics.h"

#include <gtest/gtest.h>

#include "server/console.h"
#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using namespace testing;  // NOLINT: the world

TEST(Metrics, has_vllms_names_kinds_and_buckets) {
  ServerWorld world;
  const std::string text = world.get("/metrics").body;
  for (const char* line : {"# TYPE vllm:num_requests_running gauge",
                           "# TYPE vllm:num_requests_waiting gauge",
                           "# TYPE vllm:kv_cache_usage_perc gauge",
                           "# TYPE vllm:cache_config_info gauge",
                           "# TYPE vllm:prefix_cache_queries_total counter",
                           "# TYPE vllm:prefix_cache_hits_total counter",
                           "# TYPE vllm:num_preemptions_total counter",
                           "# TYPE vllm:prompt_tokens_total counter",
                           "# TYPE vllm:generation_tokens_total counter",
                           "# TYPE vllm:request_success_total counter",
                           "# TYPE vllm:admission_rejections_total counter",
                           "# TYPE vllm:iteration_tokens_total histogram",
                           "# TYPE vllm:time_to_first_token_seconds histogram",
                           "# TYPE vllm:inter_token_latency_seconds histogram",
                           "# TYPE vllm:e2e_request_latency_seconds histogram",
                           "# TYPE vllm:request_queue_time_seconds histogram",
                           "# TYPE vllm:request_inference_time_seconds histogram",
                           "# TYPE vllm:request_prefill_time_seconds histogram",
                           "# TYPE vllm:request_decode_time_seconds histogram",
                           "# TYPE vllm:request_prompt_tokens histogram",
                           "# TYPE vllm:request_generation_tokens histogram",
                           "# TYPE vllm:request_params_max_tokens histogram",
                           "# TYPE vllm:request_params_n histogram",
                           "# TYPE process_cpu_seconds_total counter",
                           "# TYPE process_resident_memory_bytes gauge",
                           "# TYPE process_open_fds gauge"}) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line;
  }
  const std::string labels = R"({engine="0",model_name="word-model",le=")";
  for (const char* bound : {"0.001", "0.02", "0.75", "2560", "+Inf"}) {
    EXPECT_NE(text.find("vllm:time_to_first_token_seconds_bucket" + labels + bound + "\"}"),
              std::string::npos)
        << bound;
  }
  EXPECT_NE(text.find("vllm:request_prompt_tokens_bucket" + labels + "500\"}"), std::string::npos);
  EXPECT_EQ(text.find("vllm:request_prompt_tokens_bucket" + labels + "1000\"}"),
            std::string::npos);  // over the context
  EXPECT_NE(text.find(R"(block_size="16",num_gpu_blocks="512")"), std::string::npos);
}

TEST(Metrics, counts_what_happened) {
  ServerWorld world;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(
        world.post("/v1/completions", {{"prompt", {1, 2, 3, 4}}, {"max_tokens", 5}, {"ignore_eos", true}})
            .status,
        200);
  }
  EXPECT_EQ(world.post("/v1/completions", {{"prompt", 5}}).status, 400);
  world.wait_until_idle();
  while (world.metric("vllm:generation_tokens_total") < 15) std::this_thread::yield();
  EXPECT_EQ(world.metric("vllm:generation_tokens_total"), 15);
  EXPECT_EQ(world.metric("vllm:prompt_tokens_total"), 12);
  EXPECT_EQ(world.metric("vllm:request_generation_tokens_sum"), 15);
  EXPECT_EQ(world.metric("vllm:request_generation_tokens_count"), 3);
  EXPECT_EQ(world.metric("vllm:request_prompt_tokens_sum"), 12);
  EXPECT_EQ(world.metric("vllm:request_params_max_tokens_sum"), 15);
  EXPECT_EQ(world.metric("vllm:time_to_first_token_seconds_count"), 3);
  EXPECT_EQ(world.metric("vllm:inter_token_latency_seconds_count"), 12);
  EXPECT_EQ(world.metric("vllm:e2e_request_latency_seconds_count"), 3);
  EXPECT_EQ(world.metric("vllm:request_queue_time_seconds_count"), 3);
  EXPECT_EQ(world.metric("vllm:num_requests_running"), 0);
  EXPECT_EQ(world.metric(R"(vllm:request_success_total{engine="0",finished_reason="length")"), 3);
  EXPECT_EQ(world.metric(R"(http_requests_total{handler="/v1/completions",method="POST",status="2xx"})"), 3);
  EXPECT_EQ(world.metric(R"(http_requests_total{handler="/v1/completions",method="POST",status="4xx"})"), 1);
}

TEST(Metrics, counts_a_client_that_left_as_an_abort) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  HandEngine* engine = world.serve_by_hand();
  {
    RawClient client(world.port());
    client.send(post_request("/v1/completions", R"({"prompt":"x"})"));
    engine->wait_for_request(1);
  }
  engine->wait_for_cancel(1);
  const std::string line = R"(vllm:request_success_total{engine="0",finished_reason="abort")";
  while (world.metric(line) < 1) std::this_thread::yield();
  EXPECT_EQ(world.metric(line), 1);
}

TEST(Metrics, keeps_its_labels_from_a_closed_set) {
  ServerWorld world;
  for (int i = 0; i < 50; ++i) {
    RawClient client(world.port());
    client.send("X" + std::to_string(i) + " /path" + std::to_string(i) + " HTTP/1.1\r\nHost: t\r\n\r\n");
    EXPECT_EQ(client.read_response().status, 404);
    world.get("/v1/models/name" + std::to_string(i));
  }
  const std::string text = world.get("/metrics").body;
  EXPECT_NE(text.find(R"(http_requests_total{handler="unmatched",method="other",status="4xx"} 50)"),
            std::string::npos);
  EXPECT_NE(text.find(R"(http_requests_total{handler="/v1/models/{rest}",method="GET",status="4xx"} 50)"),
            std::string::npos);
  EXPECT_EQ(text.find("path17"), std::string::npos);
}

TEST(Console, tells_rates_and_is_silent_when_nothing_happens) {
  EngineStats before, now;
  before.generation_tokens = 100;
  now = before;
  EXPECT_EQ(console_line(before, now, 10), "");
  now.generation_tokens = 300;
  now.prompt_tokens = 50;
  now.running = 2;
  now.kv_blocks_total = 200;
  now.kv_blocks_used = 50;
  now.prefix_cache_queries = 50;
  now.prefix_cache_hits = 25;
  EXPECT_EQ(console_line(before, now, 10),
            "prompt 5.0 tokens/s, generation 20.0 tokens/s, running 2, waiting 0, KV cache 25.0%, prefix "
            "hits 50.0%");
}

}  // namespace
}  // namespace sluice
