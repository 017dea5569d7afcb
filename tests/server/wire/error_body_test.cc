#include "server/wire/error_body.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(ErrorBody, has_openais_shape) {
  EXPECT_EQ(
      error_body(invalid_argument("top_p", "Say \"1\".")),
      R"({"error":{"message":"Say \"1\".","type":"invalid_request_error","param":"top_p","code":null}})");
  EXPECT_EQ(error_body(Error{ErrorCode::kNotFound, "No.", "model"}),
            R"({"error":{"message":"No.","type":"invalid_request_error","param":"model",)"
            R"("code":"model_not_found"}})");
  EXPECT_EQ(error_body(Error{ErrorCode::kContextLength, "Long."}),
            R"({"error":{"message":"Long.","type":"invalid_request_error","param":null,)"
            R"("code":"context_length_exceeded"}})");
}

TEST(ErrorBody, gives_each_code_its_status) {
  EXPECT_EQ(http_status_of(ErrorCode::kInvalidArgument), 400);
  EXPECT_EQ(http_status_of(ErrorCode::kContextLength), 400);
  EXPECT_EQ(http_status_of(ErrorCode::kUnauthorized), 401);
  EXPECT_EQ(http_status_of(ErrorCode::kNotFound), 404);
  EXPECT_EQ(http_status_of(ErrorCode::kTooLarge), 413);
  EXPECT_EQ(http_status_of(ErrorCode::kOverloaded), 429);
  EXPECT_EQ(http_status_of(ErrorCode::kUnavailable), 503);
  EXPECT_EQ(http_status_of(ErrorCode::kDeadline), 504);
  EXPECT_EQ(http_status_of(ErrorCode::kInternal), 500);
}

TEST(ErrorBody, says_when_to_come_back) {
  const auto header = [](const Error& error) {
    const std::string* value = nullptr;
    const HttpResponse response = error_response(error);
    for (const auto& [name, text] : response.headers) value = name == "Retry-After" ? &text : value;
    return value == nullptr ? std::string() : *value;
  };
  EXPECT_EQ(header({ErrorCode::kOverloaded, "", "", 7}), "7");
  EXPECT_EQ(header({ErrorCode::kUnavailable, "", "", 0}), "1");
  EXPECT_EQ(header({ErrorCode::kInternal, ""}), "");
}

}  // namespace
}  // namespace sluice
