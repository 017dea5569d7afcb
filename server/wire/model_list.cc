#include "server/wire/model_list.h"

#include "server/wire/answer_parts.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

void append_card(std::string& out, const ModelCard& card) {
  out += R"({"id":)";
  append_json_string(out, card.id);
  out += R"(,"object":"model","created":)";
  append_json(out, card.created_s);
  out += R"(,"owned_by":"sluice","root":)";
  append_json_string(out, card.root);
  out += R"(,"parent":null,"max_model_len":)";
  append_json(out, int64_t{card.max_model_len});
  out += '}';
}

}  // namespace

std::string model_list_body(std::span<const ModelCard> cards) {
  std::string out = R"({"object":"list","data":[)";
  for (size_t i = 0; i < cards.size(); ++i) {
    if (i > 0) out += ',';
    append_card(out, cards[i]);
  }
  out += "]}";
  return out;
}

std::string model_card_body(const ModelCard& card) {
  std::string out;
  append_card(out, card);
  return out;
}

std::string deletion_body(std::string_view id) {
  std::string out = R"({"id":)";
  append_json_string(out, id);
  out += R"(,"object":"completion.deleted","deleted":true})";
  return out;
}

std::string version_body(std::string_view version) {
  std::string out = R"({"version":)";
  append_json_string(out, version);
  out += '}';
  return out;
}

Result<TokenizeRequest> parse_tokenize_request(std::string_view body, const WireLimits& limits) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  TokenizeRequest request;
  request.model = fields.string("model", 1024).value_or("");
  request.return_token_strings = fields.boolean("return_token_strs").value_or(false);
  if (fields.any("messages")) {
    request.chat_body = std::string(body);
  } else {
    const auto prompt = fields.string("prompt", static_cast<size_t>(-1));
    if (!prompt) fields.fail("prompt", "'prompt' (a string) or 'messages' is missing.");
    request.prompt = prompt.value_or("");
  }
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  SLUICE_TRY(fields.status());
  if (request.prompt.size() > limits.max_prompt_bytes)
    return prompt_too_large("prompt", request.prompt.size(), limits);
  return request;
}

std::string tokenize_body(std::span<const int32_t> ids, std::span<const std::string> token_strings,
                          int max_model_len) {
  std::string out = R"({"count":)";
  append_json(out, static_cast<int64_t>(ids.size()));
  out += R"(,"max_model_len":)";
  append_json(out, int64_t{max_model_len});
  out += R"(,"tokens":[)";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    append_json(out, int64_t{ids[i]});
  }
  out += R"(],"token_strs":)";
  if (token_strings.empty()) {
    out += "null}";
    return out;
  }
  out += '[';
  for (size_t i = 0; i < token_strings.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, token_strings[i]);
  }
  out += "]}";
  return out;
}

std::string rendered_body(std::string_view request_id, std::string_view model, const RenderedPrompt& prompt) {
  std::string out = R"({"request_id":)";
  append_json_string(out, request_id);
  out += R"(,"model":)";
  append_json_string(out, model);
  out += R"(,"prompt":)";
  append_json_string(out, prompt.text);
  append_ids(out, "token_ids", prompt.ids);
  out += R"(,"sampling_params":{"n":)";
  append_json(out, int64_t{prompt.n});
  out += R"(,"max_tokens":)";
  append_json(out, int64_t{prompt.max_tokens});
  out += R"(,"top_k":)";
  append_json(out, int64_t{prompt.top_k});
  const std::pair<const char*, double> numbers[] = {{"temperature", prompt.temperature},
                                                    {"top_p", prompt.top_p},
                                                    {"min_p", prompt.min_p},
                                                    {"repetition_penalty", prompt.repetition_penalty},
                                                    {"presence_penalty", prompt.presence_penalty},
                                                    {"frequency_penalty", prompt.frequency_penalty}};
  for (const auto& [name, value] : numbers) append_json_member(out, name, value);
  return out + "}}";
}

Result<DetokenizeRequest> parse_detokenize_request(std::string_view body, const WireLimits& limits) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  DetokenizeRequest request;
  request.model = fields.string("model", 1024).value_or("");
  const auto tokens = fields.array("tokens");
  if (!tokens)
    fields.fail("tokens", "'tokens' (an array of token ids) is missing.");
  else
    read_token_ids(fields, "tokens", *tokens, limits, request.ids);
  SLUICE_TRY(fields.status());
  return request;
}

std::string detokenize_body(std::string_view text) {
  std::string out = R"({"prompt":)";
  append_json_string(out, text);
  out += '}';
  return out;
}

}  // namespace sluice
