#include "models/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "models/json_fields.h"
#include "models/mapped_file.h"
#include "models/quantised_tensors.h"
#include "models/safetensors.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr size_t kMaxTokenizerBytes = 256 << 20;
constexpr size_t kMaxTextBytes = 16 << 20;

Error corrupt(const std::string& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file + "' " + what};
}

// Empty when there is no such file.
Result<std::string> read_if_there(const std::filesystem::path& path, size_t max_bytes) {
  auto text = read_small_file(path.string(), max_bytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return std::string();
  return text;
}

// A special token is written as its text, or as an object with its text as "content".
std::string special_token(const json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end()) return {};
  if (value->is_string()) return value->get<std::string>();
  if (value->is_object() && value->contains("content") && (*value)["content"].is_string()) {
    return (*value)["content"].get<std::string>();
  }
  return {};
}

void read_special_tokens(const json& object, TokenizerSource& tokenizer) {
  const std::pair<const char*, std::string*> tokens[] = {{"bos_token", &tokenizer.bos_token},
                                                         {"eos_token", &tokenizer.eos_token},
                                                         {"unk_token", &tokenizer.unk_token},
                                                         {"pad_token", &tokenizer.pad_token}};
  for (const auto& [key, text] : tokens) {
    if (text->empty()) *text = special_token(object, key);
  }
}

// One template as a text, or several with names: then "default", else the first.
Status read_chat_template(const json& object, const std::string& file, std::string& chat_template) {
  const auto value = object.find("chat_template");
  if (value == object.end() || value->is_null()) return {};
  if (value->is_string()) {
    chat_template = value->get<std::string>();
    return {};
  }
  if (!value->is_array()) return corrupt(file, "has a chat_template that is neither a text nor a list.");
  for (const auto& named : *value) {
    if (!named.is_object() || !named.contains("name") || !named.contains("template") ||
        !named["template"].is_string()) {
      return corrupt(file, "has a list of chat templates with an entry that has no name or no template.");
    }
    if (chat_template.empty() || named["name"] == "default")
      chat_template = named["template"].get<std::string>();
    if (named["name"] == "default") break;
  }
  return {};
}

// The ids under `key`, one or a list, go to `ids`.
Status read_ids(const json& object, const std::string& file, const char* key, int vocabulary,
                std::vector<int32_t>& ids) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return {};
  const json list = value->is_array() ? *value : json::array({*value});
  for (const auto& id : list) {
    if (!id.is_number_integer())
      return corrupt(file, std::string("has a ") + key + " that is not an integer.");
    const auto number = id.get<int64_t>();
    if (number == -1) continue;  // how some files write "none"
    if (number < 0 || number >= vocabulary) {
      return corrupt(file, std::string("has ") + key + " " + id.dump() + " in a vocabulary of " +
                               std::to_string(vocabulary) + ".");
    }
    ids.push_back(static_cast<int32_t>(number));
  }
  return {};
}

// transformers 4 lists the special tokens' ids here: {"2": {"content": "<|im_end|>", …}, …}.
void read_end_id(const json& tokenizer_config, const std::string& eos_token, int vocabulary,
                 std::vector<int32_t>& ids) {
  const auto added = tokenizer_config.find("added_tokens_decoder");
  if (eos_token.empty() || added == tokenizer_config.end() || !added->is_object()) return;
  for (const auto& [id, token] : added->items()) {
    if (!token.is_object() || special_token(json{{"token", token}}, "token") != eos_token) continue;
    if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos) continue;
    if (std::stoi(id) < vocabulary) ids.push_back(std::stoi(id));
  }
}

Status read_generation(const json& object, const std::string& file, GenerationDefaults& generation) {
  const JsonFields fields(object, file);
  struct Knob {
    const char* key;
    std::optional<float>* value;
    double least, most;
  };
  const Knob knobs[] = {{"temperature", &generation.temperature, 0, 1e6},
                        {"top_p", &generation.top_p, 0, 1},
                        {"min_p", &generation.min_p, 0, 1},
                        {"repetition_penalty", &generation.repetition_penalty, 1e-6, 1e6}};
  for (const auto& knob : knobs) {
    SLUICE_ASSIGN(const auto number, fields.number(knob.key));
    if (!number) continue;
    if (*number < knob.least || *number > knob.most) {
      return corrupt(file, std::string("has a ") + knob.key + " of " + std::to_string(*number) +
                               ", which is out of range.");
    }
    *knob.value = static_cast<float>(*number);
  }
  SLUICE_ASSIGN(const auto top_k, fields.integer("top_k"));
  if (top_k) generation.top_k = static_cast<int>(std::clamp<int64_t>(*top_k, 0, INT32_MAX));
  return {};
}

}  // namespace

Status read_hugging_face_texts(const HuggingFaceTexts& texts, const std::string& directory,
                               ModelFiles& files) {
  const auto object_of = [&](const std::string& text, const char* name) -> Result<json> {
    return text.empty() ? Result<json>(json::object()) : parse_json_object(text, directory + "/" + name);
  };
  SLUICE_ASSIGN(const json config, object_of(texts.config, "config.json"));
  SLUICE_ASSIGN(const json generation, object_of(texts.generation_config, "generation_config.json"));
  SLUICE_ASSIGN(const json tokenizer_config, object_of(texts.tokenizer_config, "tokenizer_config.json"));
  SLUICE_ASSIGN(const json special, object_of(texts.special_tokens_map, "special_tokens_map.json"));

  TokenizerSource& tokenizer = files.tokenizer;
  read_special_tokens(tokenizer_config, tokenizer);
  read_special_tokens(special, tokenizer);
  if (texts.chat_template.empty()) {
    SLUICE_TRY(
        read_chat_template(tokenizer_config, directory + "/tokenizer_config.json", tokenizer.chat_template));
  } else {
    tokenizer.chat_template = texts.chat_template;
  }

  const int vocabulary = files.config.vocabulary;
  std::vector<int32_t> bos_ids;
  for (const auto& [object, name] :
       {std::pair{&generation, "/generation_config.json"}, std::pair{&config, "/config.json"}}) {
    SLUICE_TRY(read_ids(*object, directory + name, "eos_token_id", vocabulary, tokenizer.eos_ids));
    SLUICE_TRY(read_ids(*object, directory + name, "bos_token_id", vocabulary, bos_ids));
  }
  read_end_id(tokenizer_config, tokenizer.eos_token, vocabulary, tokenizer.eos_ids);
  std::sort(tokenizer.eos_ids.begin(), tokenizer.eos_ids.end());
  tokenizer.eos_ids.erase(std::unique(tokenizer.eos_ids.begin(), tokenizer.eos_ids.end()),
                          tokenizer.eos_ids.end());
  if (!bos_ids.empty()) tokenizer.bos_id = bos_ids.front();
  return read_generation(generation, directory + "/generation_config.json", files.generation);
}

Result<ModelFiles> open_hugging_face_directory(const std::string& path) {
  const std::filesystem::path directory(path);
  HuggingFaceTexts texts;
  SLUICE_ASSIGN(texts.config, read_if_there(directory / "config.json", kMaxTextBytes));
  if (texts.config.empty()) {
    return Error{ErrorCode::kNotFound,
                 "'" + path + "' has no config.json, so it is not a Hugging Face model directory."};
  }
  ModelFiles files;
  files.path = path;
  SLUICE_ASSIGN(files.config, parse_hugging_face_config(texts.config, (directory / "config.json").string()));
  SLUICE_ASSIGN(texts.generation_config, read_if_there(directory / "generation_config.json", kMaxTextBytes));
  SLUICE_ASSIGN(texts.tokenizer_config, read_if_there(directory / "tokenizer_config.json", kMaxTextBytes));
  SLUICE_ASSIGN(texts.special_tokens_map,
                read_if_there(directory / "special_tokens_map.json", kMaxTextBytes));
  SLUICE_ASSIGN(texts.chat_template, read_if_there(directory / "chat_template.jinja", kMaxTextBytes));
  SLUICE_TRY(read_hugging_face_texts(texts, path, files));
  SLUICE_ASSIGN(files.tokenizer.tokenizer_json,
                read_if_there(directory / "tokenizer.json", kMaxTokenizerBytes));
  SLUICE_ASSIGN(const Quantisation quantisation,
                parse_quantisation(texts.config, (directory / "config.json").string()));
  files.quantised_by = quantisation.method;
  SLUICE_ASSIGN(auto tensors, open_safetensors(path));
  if (quantisation.scheme == WeightScheme::kPlain)
    files.tensors = std::move(tensors);
  else
    files.tensors = read_quantised(std::move(tensors), quantisation, path);
  if (!files.tensors->has("lm_head.weight")) files.config.tied_embedding = true;
  return files;
}

}  // namespace sluice
