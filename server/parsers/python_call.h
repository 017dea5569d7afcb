// A call in Python's syntax, f(a=1, b="x", **{"c": None}), to a name and a JSON object. Literals only:
// nothing is evaluated. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

struct PythonCall {
  std::string name;
  std::string arguments;  // JSON
};

// None when `text` is anything else than one such call.
std::optional<PythonCall> parse_python_call(std::string_view text);

}  // namespace sluice
