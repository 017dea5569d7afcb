#include "router/io/sketch.h"

#include <gtest/gtest.h>

#include "base/block_hash.h"

namespace sluice::router {
namespace {

struct World {
  SketchOptions options;
  HttpRequest request;
  RequestSketch sketch(const std::string& body) {
    const auto scan = scan_body(body);
    EXPECT_TRUE(scan.ok());
    return make_sketch({.request = request, .scan = *scan, .default_model = "default"}, options, 10);
  }
};

std::string chat(const std::string& content, const std::string& more = "") {
  return R"({"model":"m",)" + more + R"("messages":[{"role":"user","content":")" + content + R"("}]})";
}

TEST(Sketch, a_conversation_that_goes_on_shares_its_chain) {
  World world;
  const std::string text(5000, 'a');
  const auto first = world.sketch(R"({"model":"m","messages":[{"content":")" + text + R"("}]})");
  const auto next =
      world.sketch(R"({"model":"m","messages":[{"content":")" + text + R"("},{"content":"b"}]})");
  ASSERT_GE(first.prompt.hashes.size(), 9U);
  EXPECT_EQ(first.prompt.hashes[8], next.prompt.hashes[8]);
  const auto other = world.sketch(R"({"model":"m","messages":[{"content":"b)" + text + R"("}]})");
  EXPECT_NE(first.prompt.hashes[0], other.prompt.hashes[0]);
}

TEST(Sketch, what_stands_before_the_text_tells_chains_apart) {
  World world;
  const std::string text(2000, 'a');
  const uint64_t plain = world.sketch(chat(text)).prompt.hashes.at(0);
  EXPECT_EQ(world.sketch(chat(text, R"("temperature":0.5,"user":"u",)")).prompt.hashes.at(0), plain);
  for (const char* more : {R"("tools":[{"type":"function"}],)", R"("cache_salt":"s",)",
                           R"("chat_template_kwargs":{"a":1},)", R"("system":"s",)"}) {
    EXPECT_NE(world.sketch(chat(text, more)).prompt.hashes.at(0), plain) << more;
  }
  world.options.secret = 1;
  EXPECT_NE(world.sketch(chat(text)).prompt.hashes.at(0), plain);
}

TEST(Sketch, token_ids_are_hashed_as_the_engine_does) {
  World world;
  std::string ids = "[";
  std::vector<int32_t> tokens;
  for (int i = 0; i < 40; ++i) {
    tokens.push_back(i * 7);
    ids += std::to_string(i * 7) + (i < 39 ? "," : "]");
  }
  const auto sketch = world.sketch(R"({"prompt":)" + ids + "}");
  EXPECT_EQ(sketch.prompt.kind, PromptChain::Kind::kBlocks);
  EXPECT_EQ(sketch.prompt.size, 40U);
  ASSERT_EQ(sketch.prompt.hashes.size(), 2U);
  const std::span<const int32_t> all(tokens);
  const uint64_t first = block_hash(prefix_seed(0), all.first(16));
  EXPECT_EQ(sketch.prompt.hashes[0], first);
  EXPECT_EQ(sketch.prompt.hashes[1], block_hash(first, all.subspan(16, 16)));
  EXPECT_EQ(sketch.model, "default");
}

TEST(Sketch, knows_whose_request_it_is) {
  World world;
  EXPECT_EQ(world.sketch(chat("a")).tenant, "");
  world.request.headers.add("authorization", "Bearer secret");
  const std::string tenant = world.sketch(chat("a")).tenant;
  EXPECT_TRUE(tenant.starts_with("key-"));
  EXPECT_EQ(tenant.find("secret"), std::string::npos);
  world.request.headers.add("x-sluice-tenant", "alice");
  EXPECT_EQ(world.sketch(chat("a")).tenant, "alice");
  EXPECT_EQ(world.sketch(chat("a")).session_key, 0U);
  const uint64_t user = world.sketch(chat("a", R"("user":"u",)")).session_key;
  EXPECT_NE(user, 0U);
  world.request.headers.add("x-session-id", "s");
  EXPECT_NE(world.sketch(chat("a", R"("user":"u",)")).session_key, user);
}

TEST(Sketch, looks_behind_aliases_and_turns_priorities_round) {
  World world;
  world.options.aliases["m"] = {{"real"}};
  const auto sketch = world.sketch(chat("a", R"("priority":5,"stream":true,)"));
  EXPECT_EQ(sketch.model, "real");
  EXPECT_EQ(sketch.priority, -5);
  EXPECT_EQ(sketch.deadline, 10 + world.options.first_byte_timeout);
  EXPECT_TRUE(sketch.hedgeable);
}

}  // namespace
}  // namespace sluice::router
