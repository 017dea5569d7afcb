// A Hugging Face directory's small files, of any text: an answer or an Error. The parts are split at byte
// 0x1e: config.json, generation_config.json, tokenizer_config.json, special_tokens_map.json.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "models/hugging_face.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto next_part = [&rest] {
    const size_t end = rest.find('\x1e');
    const std::string part(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    return part;
  };
  sluice::HuggingFaceTexts texts;
  texts.config = next_part();
  texts.generation_config = next_part();
  texts.tokenizer_config = next_part();
  texts.special_tokens_map = next_part();
  const auto config = sluice::parse_hugging_face_config(texts.config, "config.json");
  sluice::ModelFiles files;
  files.config.vocabulary = 100;
  if (config.ok()) {
    files.config = *config;
    SLUICE_CHECK(sluice::check(*config).ok());
    static_cast<void>(config->attention_shape());
  }
  static_cast<void>(sluice::read_hugging_face_texts(texts, "fuzz", files));
  return 0;
}
