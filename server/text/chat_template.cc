// ChatTemplate over the Rust handle.
#include "server/text/chat_template.h"

#include "server/text/ffi_call.h"

namespace sluice {
namespace {

// For a model that brings no template of its own
// (https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md).
constexpr std::string_view kChatMl = R"(
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\n' -}}
  {%- if message.content is string -%}
    {{- message.content -}}
  {%- elif message.content -%}
    {%- for part in message.content if part.text is defined -%}{{- part.text -}}{%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
)";

class RustChatTemplate final : public ChatTemplate {
 public:
  explicit RustChatTemplate(text::TemplateHandle handle) : handle_(std::move(handle)) {}

  Result<std::string> render(std::string_view variables_json) const override {
    SLUICE_ASSIGN(const SluiceTextBuffer text, text::call<SluiceTextBuffer>([&](auto* out, auto* message) {
                    return sluice_text_template_render(handle_.get(), text::view(variables_json), out,
                                                       message);
                  }));
    return text::take(text);
  }

  Result<std::vector<int32_t>> encode(std::string_view variables_json,
                                      const Tokenizer& tokenizer) const override {
    SLUICE_CHECK(tokenizer.native() != nullptr);
    SLUICE_ASSIGN(const SluiceTextIds ids, text::call<SluiceTextIds>([&](auto* out, auto* message) {
                    return sluice_text_encode_conversation(handle_.get(), tokenizer.native(),
                                                           text::view(variables_json), out, message);
                  }));
    return text::take(ids);
  }

 private:
  const text::TemplateHandle handle_;
};

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::compile(const TokenizerSource& source) {
  const std::string_view jinja =
      source.chat_template.empty() ? kChatMl : std::string_view(source.chat_template);
  SLUICE_ASSIGN(
      SluiceTextTemplate* const handle, text::call<SluiceTextTemplate*>([&](auto* out, auto* message) {
        return sluice_text_template_compile(text::view(jinja), text::view(source.bos_token),
                                            text::view(source.eos_token), text::view(source.unk_token),
                                            text::view(source.pad_token), out, message);
      }));
  return std::shared_ptr<const ChatTemplate>(
      std::make_shared<RustChatTemplate>(text::TemplateHandle(handle)));
}

}  // namespace sluice
