#include "router/io/sse_events.h"

#include <gtest/gtest.h>

namespace sluice::router {
namespace {

TEST(ToldTokens, collects_ids_and_takes_them_out) {
  ToldTokens told(true);
  std::string out;
  EXPECT_TRUE(
      told.pass("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"token_ids\":[12,3]}],"
                "\"prompt_token_ids\":[1,2]}\n\n: comment\n\n"
                "data: {\"choices\":[{\"text\":\"b\",\"token_ids\":[]}]}\n\ndata: [DONE]\n\n",
                out));
  EXPECT_EQ(told.ids(), (std::vector<int32_t>{12, 3}));
  EXPECT_EQ(out,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n: comment\n\n"
            "data: {\"choices\":[{\"text\":\"b\"}]}\n\ndata: [DONE]\n\n");
}

TEST(ToldTokens, leaves_them_where_the_client_asked_for_them) {
  ToldTokens told(false);
  const std::string event = "data: {\"choices\":[{\"text\":\"b\",\"token_ids\":[7]}]}\n\n";
  std::string out;
  EXPECT_TRUE(told.pass(event, out));
  EXPECT_EQ(out, event);
  EXPECT_EQ(told.ids(), std::vector<int32_t>{7});
}

TEST(ToldTokens, is_not_fooled_by_text_that_looks_like_ids) {
  ToldTokens told(true);
  const std::string event = R"(data: {"choices":[{"text":"x\",\"token_ids\":[1,2]","token_ids":[9]}]})"
                            "\n\n";
  std::string out;
  EXPECT_TRUE(told.pass(event, out));
  EXPECT_EQ(out, R"(data: {"choices":[{"text":"x\",\"token_ids\":[1,2]"}]})"
                 "\n\n");
  EXPECT_EQ(told.ids(), std::vector<int32_t>{9});
}

TEST(ToldTokens, stops_before_an_error) {
  ToldTokens told(true);
  std::string out;
  EXPECT_FALSE(told.pass("data: {\"a\":1}\n\ndata: {\"error\":{}}\n\ndata: [DONE]\n\n", out));
  EXPECT_EQ(out, "data: {\"a\":1}\n\n");
  EXPECT_EQ(told.error_event(), "data: {\"error\":{}}\n\n");
}

TEST(ToldTokens, survives_ids_that_do_not_end) {
  for (const char* event :
       {"data: {,\"token_ids\":[", "data: {,\"token_ids\":[1,x", "data: {,\"token_ids\":[9999999999]}"}) {
    ToldTokens told(true);
    std::string out;
    EXPECT_TRUE(told.pass(event, out));
  }
}

TEST(LastEvent, is_known_in_every_api) {
  EXPECT_TRUE(is_last_event("data: x\n\ndata: [DONE]\n\n"));
  EXPECT_TRUE(is_last_event("event: message_stop\ndata: {}\n\n"));
  EXPECT_TRUE(is_last_event("event: response.completed\ndata: {}\n\n"));
  EXPECT_FALSE(is_last_event("data: {\"text\":\"data: [DONE]\"}\n\n"));
  EXPECT_FALSE(is_last_event("data: event: message_stop\n\n"));
}

}  // namespace
}  // namespace sluice::router
