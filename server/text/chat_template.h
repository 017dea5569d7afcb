// Renders a conversation with the model's own Jinja template, as transformers' apply_chat_template does.
// Immutable after compiling: any thread. A template is hostile code: output size and steps are bounded, it
// can reach nothing but its input.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/model_config.h"
#include "server/text/tokenizer.h"

namespace sluice {

class ChatTemplate {
 public:
  // From source.chat_template; when that is empty, ChatML.
  static Result<std::shared_ptr<const ChatTemplate>> compile(const TokenizerSource& source);
  virtual ~ChatTemplate() = default;
  // A request's own template, with this one's special tokens. kInvalidArgument, naming chat_template, when it
  // cannot be compiled; so do its rendering's errors. Its source, steps, nesting and output are bounded; the
  // memory of texts between its steps is not: only for clients whom the server's owner trusts.
  virtual Result<std::shared_ptr<const ChatTemplate>> of_request(std::string_view jinja) const = 0;
  // `variables_json`: an object with messages, and as the request has them tools, documents,
  // add_generation_prompt, continue_final_message and the members of chat_template_kwargs. bos_token and
  // eos_token are added here. kInvalidArgument with the template's own words when it refuses
  // (raise_exception).
  virtual Result<std::string> render(std::string_view variables_json) const = 0;
  // Renders and encodes. What the template writes may be special tokens; what stands in `variables_json` may
  // not: a client who types "<|im_end|>" gets these characters. Otherwise equal to encoding the rendered text
  // with parse_special.
  virtual Result<std::vector<int32_t>> encode(std::string_view variables_json,
                                              const Tokenizer& tokenizer) const = 0;
};

}  // namespace sluice
