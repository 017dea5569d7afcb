// Any bytes as a request's body: no crash, and what is accepted keeps the bounds. The first byte picks the
// parser.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "server/wire/anthropic_request.h"
#include "server/wire/model_list.h"
#include "server/wire/responses_request.h"
#include "tests/server/wire/wire_world.h"

namespace {

void check_fields(const sluice::GenerationFields& fields, const sluice::WireLimits& limits) {
  SLUICE_CHECK(fields.n >= 1 && fields.n <= limits.max_n);
  SLUICE_CHECK(!fields.temperature || (*fields.temperature >= 0 && *fields.temperature <= 100));
  SLUICE_CHECK(!fields.top_p || (*fields.top_p >= 0 && *fields.top_p <= 1));
  SLUICE_CHECK(fields.stop.size() <= static_cast<size_t>(limits.max_stop_strings));
  SLUICE_CHECK(fields.logprobs >= -1 && fields.logprobs <= limits.max_logprobs);
  for (const std::string& stop : fields.stop) SLUICE_CHECK(!stop.empty());
  for (int32_t id : fields.stop_token_ids) SLUICE_CHECK(id >= 0 && id < limits.vocabulary);
  for (const auto& [id, bias] : fields.logit_bias)
    SLUICE_CHECK(id >= 0 && id < limits.vocabulary && bias >= -100 && bias <= 100);
}

// Knows one earlier response.
class OneResponse final : public sluice::ResponseMemory {
 public:
  sluice::Result<std::shared_ptr<const sluice::ResponseTurn>> turn(const std::string& id) const override {
    if (id != "resp_1") return sluice::Error{sluice::ErrorCode::kNotFound, "gone", "previous_response_id"};
    auto turn = std::make_shared<sluice::ResponseTurn>();
    turn->items = R"({"role":"user","content":"a"})";
    return std::shared_ptr<const sluice::ResponseTurn>(std::move(turn));
  }
  std::optional<std::string> item(const std::string& id) const override {
    if (id != "msg_1") return std::nullopt;
    return R"({"id":"msg_1","type":"message","role":"assistant","content":"b"})";
  }
};

void check_response(const std::string& body, const sluice::WireLimits& limits) {
  const auto response = sluice::parse_responses_request(body, limits, OneResponse(), "1");
  if (!response.ok()) return;
  const int depth = limits.max_json_depth + 8;
  SLUICE_CHECK(sluice::JsonText::check(sluice::chat_body_of(*response), depth).ok());
  SLUICE_CHECK(sluice::JsonText::check("[" + response->input_items + "]", depth).ok());
  SLUICE_CHECK(sluice::JsonText::check("{" + response->echo.substr(1) + "}", depth).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const sluice::WireLimits limits = sluice::testing::small_limits();
  const std::string body(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 6) {
    case 0: {
      const auto chat = sluice::testing::chat(body);
      if (!chat.ok()) break;
      check_fields(chat->fields, limits);
      SLUICE_CHECK(sluice::JsonText::check(chat->template_variables, limits.max_json_depth + 8).ok());
      break;
    }
    case 1: {
      const auto completion = sluice::testing::completion(body);
      if (!completion.ok()) break;
      check_fields(completion->fields, limits);
      SLUICE_CHECK(!completion->prompts.empty());
      break;
    }
    case 2:
      (void)sluice::parse_tokenize_request(body, limits).ok();
      break;
    case 4:
      (void)sluice::parse_messages_request(body, limits, {}, false).ok();
      break;
    case 5:
      check_response(body, limits);
      break;
    default:
      (void)sluice::parse_detokenize_request(body, limits).ok();
      break;
  }
  return 0;
}
