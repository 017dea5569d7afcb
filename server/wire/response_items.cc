#include "server/wire/response_items.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

constexpr size_t kNoLimit = static_cast<size_t>(-1);

std::string quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// A text, or an array of parts with texts of their own, joined by line breaks.
std::optional<std::string> read_texts(RequestFields& fields, std::string_view name,
                                      std::span<const std::string_view> types) {
  const std::string place = fields.full_name(name);
  const auto value = fields.any(name);
  if (!value) return "";
  if (value->kind() == JsonText::Kind::kString) return value->string();
  if (value->kind() != JsonText::Kind::kArray) {
    fields.fail(name, fmt::format("'{}' must be a string or an array of text parts, not {}.", place,
                                  describe(value->kind())));
    return std::nullopt;
  }
  std::string text;
  int count = 0;
  value->for_each([&](JsonText part) {
    auto inner = RequestFields::of(part, fmt::format("{}[{}].", place, count));
    const std::string type = inner.ok() ? inner->string("type", 64).value_or("") : "";
    if (std::ranges::find(types, type) == types.end()) {
      fields.fail(name, fmt::format("'{}[{}]' has the type '{}'; this model takes text parts only ({}).",
                                    place, count, type.substr(0, 32), fmt::join(types, ", ")));
      return false;
    }
    const auto piece = inner->string(type == "refusal" ? "refusal" : "text", kNoLimit);
    if (!piece) {
      fields.fail(name, inner->ok() ? fmt::format("'{}[{}].text' is missing.", place, count)
                                    : inner->error().message);
      return false;
    }
    if (count++ > 0) text += '\n';
    text += *piece;
    return true;
  });
  if (!fields.ok()) return std::nullopt;
  return text;
}

constexpr std::array<std::string_view, 4> kMessageParts = {"input_text", "output_text", "text", "refusal"};
constexpr std::array<std::string_view, 2> kOutputParts = {"input_text", "output_text"};
constexpr std::array<std::string_view, 1> kSummaryParts = {"summary_text"};
constexpr std::array<std::string_view, 2> kThoughtParts = {"reasoning_text", "text"};

}  // namespace

void ItemTranslator::add_user_text(std::string_view text) {
  flush();
  messages_.push_back(R"({"role":"user","content":)" + quoted(text) + "}");
  items_ += items_.empty() ? "" : ",";
  items_ +=
      R"({"id":")" + next_id("msg_") +
      R"(","type":"message","status":"completed","role":"user","content":[{"type":"input_text","text":)" +
      quoted(text) + "}]}";
}

void ItemTranslator::add(RequestFields& fields, JsonText item, const std::string& place) {
  auto inner = RequestFields::of(item, place + ".", 64);
  if (!inner.ok()) return fields.fail("input", inner.error().message);
  const std::string type = inner->string("type", 64).value_or("message");
  if (type == "message") {
    add_message(*inner, item, place);
  } else if (type == "function_call") {
    add_call(*inner, place);
    list("fc_", *inner, item);
  } else if (type == "function_call_output") {
    add_call_output(*inner, place);
    list("fco_", *inner, item);
  } else if (type == "reasoning") {
    add_reasoning(*inner, place);
    list("rs_", *inner, item);
  } else if (type == "item_reference") {
    add_reference(*inner, place);
  } else {
    inner->fail("type", fmt::format("'{}' is '{}'; served are message, function_call, function_call_output, "
                                    "reasoning and item_reference.",
                                    inner->full_name("type"), type.substr(0, 48)));
  }
  if (!inner->ok()) fields.fail("input", inner->error().message);
}

void ItemTranslator::add_message(RequestFields& item, JsonText whole, const std::string& place) {
  static constexpr std::array<std::string_view, 4> kRoles = {"user", "assistant", "system", "developer"};
  const std::string role = item.string("role", 64).value_or("");
  if (std::ranges::find(kRoles, role) == kRoles.end())
    return item.fail(
        "role", fmt::format("'{}' must be user, assistant, system or developer.", item.full_name("role")));
  const auto content = item.any("content");
  if (!content) return item.fail("content", fmt::format("'{}.content' is missing.", place));
  const auto text = read_texts(item, "content", kMessageParts);
  if (!text) return;
  if (role == "assistant") {
    if (turn_.has_text || !turn_.calls.empty()) flush();
    turn_.any = turn_.has_text = true;
    turn_.text = *text;
  } else {
    flush();
    messages_.push_back(R"({"role":)" + quoted(role) + R"(,"content":)" + quoted(*text) + "}");
  }
  if (content->kind() == JsonText::Kind::kArray) return list("msg_", item, whole);
  items_ += items_.empty() ? "" : ",";
  items_ +=
      R"({"id":")" + next_id("msg_") + R"(","type":"message","status":"completed","role":)" + quoted(role);
  items_ += role == "assistant" ? R"(,"content":[{"type":"output_text","annotations":[],"text":)"
                                : R"(,"content":[{"type":"input_text","text":)";
  items_ += quoted(*text) + "}]}";
}

void ItemTranslator::add_call(RequestFields& item, const std::string& place) {
  const auto call_id = item.string("call_id", 1024), name = item.string("name", 1024);
  const auto arguments = item.string("arguments", kNoLimit);
  if (!call_id || !name) return item.fail("", fmt::format("'{}' needs 'call_id' and 'name'.", place));
  if (!turn_.calls.empty()) turn_.calls += ',';
  turn_.any = true;
  turn_.calls += R"({"type":"function","id":)" + quoted(*call_id) + R"(,"function":{"name":)" +
                 quoted(*name) + R"(,"arguments":)" + quoted(arguments.value_or("{}")) + "}}";
}

void ItemTranslator::add_call_output(RequestFields& item, const std::string& place) {
  const auto call_id = item.string("call_id", 1024);
  if (!call_id) return item.fail("call_id", fmt::format("'{}.call_id' is missing.", place));
  if (!item.any("output")) return item.fail("output", fmt::format("'{}.output' is missing.", place));
  const auto text = read_texts(item, "output", kOutputParts);
  if (!text) return;
  flush();
  messages_.push_back(R"({"role":"tool","tool_call_id":)" + quoted(*call_id) + R"(,"content":)" +
                      quoted(*text) + "}");
}

void ItemTranslator::add_reasoning(RequestFields& item, const std::string&) {
  auto text = read_texts(item, "content", kThoughtParts);
  if (text && text->empty()) text = read_texts(item, "summary", kSummaryParts);
  if (!text) return;
  if (turn_.has_text || !turn_.calls.empty()) flush();
  turn_.any = turn_.any || !text->empty();
  turn_.reasoning += *text;
}

void ItemTranslator::add_reference(RequestFields& item, const std::string& place) {
  const auto id = item.string("id", 256);
  if (!id) return item.fail("id", fmt::format("'{}.id' is missing.", place));
  const auto found = find_item_ ? find_item_(*id) : std::nullopt;
  const auto checked = found ? JsonText::check(*found, limits_.max_json_depth)
                             : Result<JsonText>(Error{ErrorCode::kNotFound, ""});
  if (!checked.ok()) {
    return item.fail("id", fmt::format("'{}' refers to the item '{}', which is not stored here (any more); "
                                       "send the item itself.",
                                       place, id->substr(0, 64)));
  }
  add(item, *checked, place);
}

void ItemTranslator::list(std::string_view id_prefix, const RequestFields& item, JsonText whole) {
  items_ += items_.empty() ? "{" : ",{";
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(item.members(), [&](const auto& member) {
      return member.name == name && member.value.kind() != JsonText::Kind::kNull;
    });
  };
  // Items are objects with members, or they were refused.
  if (!has("id")) items_ += R"("id":")" + next_id(id_prefix) + "\",";
  if (!has("type")) items_ += R"("type":"message",)";
  items_ += whole.text().substr(1);
}

std::string ItemTranslator::next_id(std::string_view prefix) {
  return fmt::format("{}{}_in{}", prefix, id_suffix_, next_number_++);
}

void ItemTranslator::flush() {
  if (turn_.any) {
    std::string out = R"({"role":"assistant","content":)" + quoted(turn_.text);
    if (!turn_.reasoning.empty()) out += R"(,"reasoning_content":)" + quoted(turn_.reasoning);
    if (!turn_.calls.empty()) out += R"(,"tool_calls":[)" + turn_.calls + "]";
    messages_.push_back(out + "}");
  }
  turn_ = Turn();
}

std::vector<std::string> ItemTranslator::finish() {
  flush();
  return std::move(messages_);
}

}  // namespace sluice
