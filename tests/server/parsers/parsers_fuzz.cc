// Any text in any cut: no crash, and the same comes out as of the whole. The first byte picks formats and
// cuts.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "server/parsers/python_call.h"
#include "tests/server/parsers/parser_world.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  if (size < 2) return 0;
  static constexpr const char* kCalls[] = {"none", "hermes", "llama3_json", "mistral", "json", "pythonic"};
  static constexpr const char* kReasoning[] = {"none", "qwen3", "mistral"};
  auto options = testing::parser_options(kCalls[data[0] % 6], kReasoning[data[1] % 3], (data[1] & 64) != 0,
                                         data[1] >> 7);
  if (options.calls && (data[0] & 64) != 0) options.calls->hidden = {"[TOOL_CALLS]", "<tool_call>", "[ARGS]"};
  const std::string_view text(reinterpret_cast<const char*>(data + 2), size - 2);
  std::vector<std::string_view> bytes, pieces;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  const size_t step = 1 + data[0] / 6 % 7;
  for (size_t i = 0; i < text.size(); i += step) pieces.push_back(text.substr(i, step));
  const testing::Parsed whole = testing::parse(options, {text});
  SLUICE_CHECK(testing::parse(options, bytes) == whole);
  SLUICE_CHECK(testing::parse(options, pieces) == whole);
  (void)parse_python_call(text);
  return 0;
}
