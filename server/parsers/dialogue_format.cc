// The formats: Hermes and Qwen (https://huggingface.co/NousResearch/Hermes-2-Pro-Llama-3-8B), Llama 3
// (https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1), Llama 3.2 and 4 pythonic, Mistral
// (https://docs.mistral.ai, mistral-common's tokenizers v3 to v13).
#include "server/parsers/dialogue_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sluice {
namespace {

constexpr std::array<std::string_view, 11> kCallParsers = {
    "auto",        "none",     "hermes",          "qwen3",   "qwen", "llama3_json",
    "llama4_json", "pythonic", "llama4_pythonic", "mistral", "json",
};
constexpr std::array<std::string_view, 10> kReasoningParsers = {
    "auto", "none", "qwen3", "deepseek_r1", "deepseek_v3", "glm45", "think", "mistral", "seed_oss", "kimi",
};

std::string_view detect_calls(std::string_view jinja) {
  const auto has = [&](std::string_view text) { return jinja.find(text) != std::string_view::npos; };
  if (has("[TOOL_CALLS]")) return "mistral";
  if (has("<tool_call>")) return "hermes";
  if (has("func_name1(params_name1=")) return "pythonic";
  if (has("<|python_tag|>") || (has("\"parameters\"") && has("ipython"))) return "llama3_json";
  return "json";
}

std::string_view detect_reasoning(std::string_view jinja) {
  const auto has = [&](std::string_view text) { return jinja.find(text) != std::string_view::npos; };
  if (has("[THINK]")) return "mistral";
  if (has("<seed:think>")) return "seed_oss";
  if (has("◁think▷")) return "kimi";
  if (has("<think>") || has("</think>")) return "qwen3";
  return "none";
}

template <class Names>
Status check_name(std::string_view flag, std::string_view name, const Names& names) {
  if (std::find(names.begin(), names.end(), name) != names.end()) return {};
  return invalid_argument(std::string(flag), fmt::format("{} is '{}'; it must be one of {}.", flag, name,
                                                         fmt::join(names, ", ")));
}

CallMarks marks_of(std::string_view parser, std::string_view jinja) {
  CallMarks marks;
  if (parser == "pythonic" || parser == "llama4_pythonic") {
    marks.pythonic = true;
  } else if (parser == "llama3_json" || parser == "llama4_json") {
    marks.begin = "<|python_tag|>";
    marks.bare = true;
  } else if (parser == "mistral") {
    marks.begin = "[TOOL_CALLS]";
    marks.list = true;
    marks.named = true;
    marks.arguments_mark = jinja.find("[ARGS]") != std::string_view::npos;
  } else {
    marks.begin = "<tool_call>";
    marks.end = "</tool_call>";
    marks.bare = marks.list = parser == "json";
  }
  return marks;
}

ReasoningMarks reasoning_of(std::string_view parser) {
  if (parser == "none") return {};
  if (parser == "mistral") return {"[THINK]", "[/THINK]"};
  if (parser == "seed_oss") return {"<seed:think>", "</seed:think>"};
  if (parser == "kimi") return {"◁think▷", "◁/think▷"};
  return {"<think>", "</think>"};
}

}  // namespace

std::span<const std::string_view> call_parser_names() {
  return kCallParsers;
}
std::span<const std::string_view> reasoning_parser_names() {
  return kReasoningParsers;
}

Result<DialogueFormat> dialogue_format(std::string_view call_parser, std::string_view reasoning_parser,
                                       std::string_view chat_template) {
  SLUICE_TRY(check_name("--tool-call-parser", call_parser, kCallParsers));
  SLUICE_TRY(check_name("--reasoning-parser", reasoning_parser, kReasoningParsers));
  DialogueFormat format;
  format.call_parser = call_parser == "auto" ? detect_calls(chat_template) : call_parser;
  format.reasoning_parser = reasoning_parser == "auto" ? detect_reasoning(chat_template) : reasoning_parser;
  format.calls = format.call_parser != "none";
  if (format.calls) format.marks = marks_of(format.call_parser, chat_template);
  format.reasoning = reasoning_of(format.reasoning_parser);
  format.always_reasons = reasoning_parser == "deepseek_r1";
  return format;
}

bool opens_reasoning(const ReasoningMarks& marks, std::string_view prompt) {
  if (marks.begin.empty()) return false;
  while (!prompt.empty() && is_white(prompt.back())) prompt.remove_suffix(1);
  return prompt.ends_with(marks.begin);
}

}  // namespace sluice
