// One call written as a JSON object, byte by byte: {"name": …, "arguments" or "parameters": {…}} in any
// order, or the arguments' object alone. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/parsers/json_scanner.h"
#include "server/parsers/parsed_text.h"

namespace sluice {

class ObjectCall {
 public:
  explicit ObjectCall(const std::vector<std::string>& names) : names_(names) {}  // must outlive it

  // `known`: only the names given above make it a call.
  void begin_object(bool known);
  void begin_arguments(const std::string& name);
  // Takes the object's next byte, "{" first. The call begins as `index` in `out` once its name and its first
  // argument are known. kBad: no call, or one that breaks off here if it has begun.
  JsonScanner::Step push(char c, int index, ParsedText& out);
  bool begun() const { return begun_; }

 private:
  enum class Part { kBetween, kKey, kColon, kName, kArguments, kArgumentsText, kOther };

  bool value_begins(char c, int index, ParsedText& out);
  bool name_ends(int index, ParsedText& out);
  bool text_ends(int index, ParsedText& out);
  void take(char c, int index, ParsedText& out);
  void begin(int index, ParsedText& out);

  const std::vector<std::string>& names_;
  JsonScanner scanner_;
  Part part_ = Part::kBetween;
  bool known_ = false, begun_ = false, alone_ = false, has_arguments_ = false;
  std::string key_, name_;
  std::string arguments_;  // that came before the name
  std::string text_;       // arguments written as a string of JSON
};

}  // namespace sluice
