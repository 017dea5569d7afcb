#include "router/io/model_alias.h"

#include <gtest/gtest.h>

#include "base/hash.h"

namespace sluice::router {
namespace {

ModelAlias targets(std::string_view text) {
  auto parsed = parse_model_alias("a=" + std::string(text));
  EXPECT_TRUE(parsed.ok());
  return parsed->second;
}

const auto kAll = [](const std::string&) { return true; };

TEST(ModelAlias, reads_one_model_or_several_with_weights) {
  EXPECT_EQ(targets("b"), (ModelAlias{{"b", 1}}));
  EXPECT_EQ(targets("b*9,c*0.5"), (ModelAlias{{"b", 9}, {"c", 0.5}}));
  EXPECT_EQ(targets("org/b:7b,c*x"), (ModelAlias{{"org/b:7b", 1}, {"c*x", 1}}));
  EXPECT_EQ(targets("b*1,c*0"), (ModelAlias{{"b", 1}, {"c", 0}}));
}

TEST(ModelAlias, says_what_is_wrong) {
  for (const char* text : {"", "a", "=b", "a=", "a=b,", "a=*3", "a=b*-1", "a=b*1e9", "a=b*0", "a=b*nan"}) {
    const auto parsed = parse_model_alias(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_GT(parsed.error().message.size(), 20U);
  }
}

TEST(ModelAlias, shares_are_as_the_weights_and_keys_stay) {
  const ModelAlias before = targets("b*9,c*1"), after = targets("b*8,c*2");
  int to_c = 0, moved_to_c = 0, moved_to_b = 0;
  constexpr int kKeys = 20'000;
  for (uint64_t i = 0; i < kKeys; ++i) {
    const uint64_t key = hash_combine(7, i);
    const std::string& first = assigned_model(before, key, kAll);
    EXPECT_EQ(first, assigned_model(before, key, kAll));
    const std::string& second = assigned_model(after, key, kAll);
    to_c += first == "c";
    moved_to_c += first == "b" && second == "c";
    moved_to_b += first == "c" && second == "b";
  }
  EXPECT_NEAR(to_c, kKeys / 10, kKeys / 100);
  EXPECT_NEAR(moved_to_c, kKeys / 10, kKeys / 100);
  EXPECT_EQ(moved_to_b, 0);
}

TEST(ModelAlias, a_model_without_a_ready_replica_gives_its_share_to_the_others) {
  const ModelAlias alias = targets("b*1,c*1,d*0");
  const auto only = [](const std::string& model) { return [&](const std::string& m) { return m == model; }; };
  int stayed = 0;
  for (uint64_t key = 0; key < 100; ++key) {
    EXPECT_EQ(assigned_model(alias, key, only("c")), "c");
    EXPECT_NE(assigned_model(alias, key, only("d")), "d");  // weight 0 is none
    const auto none = [](const std::string&) { return false; };
    stayed += assigned_model(alias, key, none) == assigned_model(alias, key, kAll);
  }
  EXPECT_EQ(stayed, 100);
}

TEST(ModelAlias, a_conversation_keeps_its_key_and_a_session_comes_before_it) {
  const auto key = [](const std::string& messages, std::string_view session = "") {
    const std::string body = R"({"messages":)" + messages + "}";
    const auto scan = scan_body(body);
    EXPECT_TRUE(scan.ok());
    return assignment_key(session, *scan);
  };
  const std::string system = R"({"role":"system","content":"s"},)";
  const std::string first = R"({"role":"user","content":"hi"})";
  const std::string opening = "[" + system + first;
  EXPECT_EQ(key(opening + "]"),
            key(opening + R"(,{"role":"assistant","content":"x"},{"content":"y","role":"user"}])"));
  EXPECT_NE(key(opening + "]"), key("[" + system + R"({"role":"user","content":"ho"}])"));
  EXPECT_EQ(key(opening + "]", "s"), key("[]", "s"));
  EXPECT_NE(key(opening + "]", "s"), key(opening + "]", "t"));
  EXPECT_NE(key("[1,2]"), key("[1,3]"));
  EXPECT_NE(key("3"), key("4"));
}

}  // namespace
}  // namespace sluice::router
