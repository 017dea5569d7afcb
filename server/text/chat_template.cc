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

struct SpecialTokens {
  std::string bos, eos, unk, pad;
};

Result<text::TemplateHandle> compile_source(std::string_view jinja, const SpecialTokens& tokens) {
  SLUICE_ASSIGN(
      SluiceTextTemplate* const handle, text::call<SluiceTextTemplate*>([&](auto* out, auto* message) {
        return sluice_text_template_compile(text::view(jinja), text::view(tokens.bos), text::view(tokens.eos),
                                            text::view(tokens.unk), text::view(tokens.pad), out, message);
      }));
  return text::TemplateHandle(handle);
}

// The crate knows models' templates only.
Error of_a_request(Error error) {
  constexpr std::string_view kModels = "The model's chat template";
  if (error.message.starts_with(kModels))
    error.message.replace(0, kModels.size(), "The request's 'chat_template'");
  if (error.code == ErrorCode::kUnsupported) error.code = ErrorCode::kInvalidArgument;
  if (error.code == ErrorCode::kInvalidArgument) error.param = "chat_template";
  return error;
}

class RustChatTemplate final : public ChatTemplate {
 public:
  RustChatTemplate(text::TemplateHandle handle, SpecialTokens tokens, bool requests)
      : handle_(std::move(handle)), tokens_(std::move(tokens)), requests_(requests) {}

  Result<std::shared_ptr<const ChatTemplate>> of_request(std::string_view jinja) const override {
    auto handle = compile_source(jinja, tokens_);
    if (!handle.ok()) return of_a_request(std::move(handle).error());
    return std::shared_ptr<const ChatTemplate>(
        std::make_shared<RustChatTemplate>(std::move(handle).value(), tokens_, true));
  }

  Result<std::string> render(std::string_view variables_json) const override {
    auto text = text::call<SluiceTextBuffer>([&](auto* out, auto* message) {
      return sluice_text_template_render(handle_.get(), text::view(variables_json), out, message);
    });
    if (!text.ok()) return requests_ ? of_a_request(std::move(text).error()) : std::move(text).error();
    return text::take(*text);
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
  const SpecialTokens tokens_;
  const bool requests_;
};

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::compile(const TokenizerSource& source) {
  const std::string_view jinja =
      source.chat_template.empty() ? kChatMl : std::string_view(source.chat_template);
  SpecialTokens tokens{source.bos_token, source.eos_token, source.unk_token, source.pad_token};
  SLUICE_ASSIGN(text::TemplateHandle handle, compile_source(jinja, tokens));
  return std::shared_ptr<const ChatTemplate>(
      std::make_shared<RustChatTemplate>(std::move(handle), std::move(tokens), false));
}

}  // namespace sluice
