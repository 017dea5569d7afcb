// Bytes as a tokenizer.json (first byte even) or as a chat template (odd): neither may crash or hang,
// whatever they hold.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/text/chat_template.h"
#include "server/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0 || size > 65536) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  sluice::TokenizerSource source;
  if (bytes[0] % 2 == 0) {
    source.tokenizer_json = rest;
    const auto tokenizer = sluice::Tokenizer::load(source);
    if (!tokenizer.ok()) return 0;
    const auto ids = (*tokenizer)->encode("Hello  wörld 123 <s>\n", true, true);
    if (ids.ok()) (void)(*tokenizer)->decode(*ids, false);
  } else {
    source.chat_template = rest;
    const auto chat = sluice::ChatTemplate::compile(source);
    if (!chat.ok()) return 0;
    (void)(*chat)->render(
        R"({"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": true})");
  }
  return 0;
}
