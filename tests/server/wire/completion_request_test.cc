#include "server/wire/completion_request.h"

#include <gtest/gtest.h>

#include "tests/server/wire/wire_world.h"

namespace sluice {
namespace {

using testing::completion;
using Ids = std::vector<int32_t>;

TEST(CompletionRequest, reads_each_shape_of_prompt) {
  EXPECT_EQ(std::get<std::string>(completion(R"({"prompt":"a"})")->prompts.at(0)), "a");
  const auto texts = completion(R"({"prompt":["a","b"]})");
  ASSERT_EQ(texts->prompts.size(), 2U);
  EXPECT_EQ(std::get<std::string>(texts->prompts[1]), "b");
  EXPECT_EQ(std::get<Ids>(completion(R"({"prompt":[1,2,3]})")->prompts.at(0)), (Ids{1, 2, 3}));
  const auto ids = completion(R"({"prompt":[[1],[2,3]]})");
  ASSERT_EQ(ids->prompts.size(), 2U);
  EXPECT_EQ(std::get<Ids>(ids->prompts[1]), (Ids{2, 3}));
}

TEST(CompletionRequest, refuses_other_prompts) {
  for (const char* prompt : {"null", "5", "{}", "[]", "[[]]", "[-1]", "[1000]", "[1.5]", "[\"x\",5]",
                             "[[\"x\"]]", "[[1],\"x\"]", "[1,[2]]", "[null]", "true"}) {
    const auto request = completion(std::string("{\"prompt\":") + prompt + "}");
    ASSERT_FALSE(request.ok()) << prompt;
    EXPECT_EQ(request.error().param, "prompt") << prompt;
  }
  EXPECT_FALSE(completion("{}").ok());
}

TEST(CompletionRequest, has_openais_defaults) {
  const auto request = completion(R"({"prompt":"a"})");
  EXPECT_EQ(request->fields.max_tokens, 16);
  EXPECT_EQ(request->fields.logprobs, -1);
  EXPECT_TRUE(request->add_special_tokens);
  EXPECT_EQ(completion(R"({"prompt":"a","logprobs":0})")->fields.logprobs, 0);
}

TEST(CompletionRequest, bounds_choices) {
  EXPECT_EQ(completion(R"({"prompt":["a","a","a","a","a","a","a","a","a"],"n":128})").error().param, "n");
  std::string many = "{\"prompt\":[\"x\"";
  for (int i = 0; i < 1024; ++i) many += ",\"x\"";
  EXPECT_EQ(completion(many + "]}").error().param, "prompt");
}

TEST(CompletionRequest, refuses_what_it_does_not_serve) {
  EXPECT_EQ(completion(R"({"prompt":"a","suffix":"b"})").error().param, "suffix");
  EXPECT_EQ(completion(R"({"prompt":"a","best_of":3})").error().param, "best_of");
  EXPECT_TRUE(completion(R"({"prompt":"a","best_of":1,"suffix":""})").ok());
  EXPECT_EQ(completion(R"({"prompt":"a","max_tokens":0})").error().param, "max_tokens");
  EXPECT_TRUE(completion(R"({"prompt":"a","max_tokens":0,"echo":true,"logprobs":1})").ok());
  EXPECT_EQ(completion(R"({"prompt":"a","logprobs":21})").error().param, "logprobs");
  EXPECT_EQ(completion(R"({"prompt":"a","min_tokens":17})").error().param, "min_tokens");
}

}  // namespace
}  // namespace sluice
