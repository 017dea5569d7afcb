// What an answer must look like: response_format
// (https://platform.openai.com/docs/guides/structured-outputs), structured_outputs and the older guided_*
// fields as vLLM reads them. All become one grammar source. Any thread.
#pragma once

#include <optional>
#include <string>

#include "server/wire/generation_fields.h"

namespace sluice {

struct GrammarSource {
  std::string kind;  // "json_schema", "regex" or "lark"
  std::string text;
  std::string param;  // the request's field it came from, for messages
};

// None: the answer is free. Faults go to `fields`.
std::optional<GrammarSource> read_output_format(RequestFields& fields, const WireLimits& limits);

}  // namespace sluice
