// The items of the Responses API as messages of a chat
// (https://platform.openai.com/docs/api-reference/responses/create#responses-create-input): what the user and
// the instructions say, what the assistant said, thought and called, what the calls gave. Any thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/wire/generation_fields.h"

namespace sluice {

// The JSON text of an item of an earlier response, by its id.
using FindItem = std::function<std::optional<std::string>(const std::string& item_id)>;

class ItemTranslator {
 public:
  // `id_suffix` ends the ids of items that come without one.
  ItemTranslator(const WireLimits& limits, FindItem find_item, std::string id_suffix)
      : limits_(limits), find_item_(std::move(find_item)), id_suffix_(std::move(id_suffix)) {}

  // Adds one item, or a text of the user. Faults go to `fields`; `place` names the item there.
  void add(RequestFields& fields, JsonText item, const std::string& place);
  void add_user_text(std::string_view text);

  // The items so far as they are kept and listed: JSON objects with ids, joined by commas.
  const std::string& items() const { return items_; }
  // Forgets items(): those that follow are somebody else's.
  void start_listing() { items_.clear(); }
  // The messages: JSON objects of a chat request. Once, at the end.
  std::vector<std::string> finish();

 private:
  void add_message(RequestFields& item, JsonText whole, const std::string& place);
  void add_call(RequestFields& item, const std::string& place);
  void add_call_output(RequestFields& item, const std::string& place);
  void add_reasoning(RequestFields& item, const std::string& place);
  void add_reference(RequestFields& item, const std::string& place);
  void list(std::string_view id_prefix, const RequestFields& item, JsonText whole);
  std::string next_id(std::string_view prefix);
  void flush();

  // What the assistant does in one go is one message of a chat.
  struct Turn {
    std::string text, reasoning, calls;
    bool has_text = false, any = false;
  };

  const WireLimits& limits_;
  const FindItem find_item_;
  const std::string id_suffix_;
  std::vector<std::string> messages_;
  std::string items_;
  Turn turn_;
  int next_number_ = 0;
};

}  // namespace sluice
