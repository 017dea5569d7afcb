#include "server/wire/generation_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace sluice {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();
// Above any useful value and far below where a float's square overflows.
constexpr double kMaxTemperature = 100;
constexpr double kMaxRepetitionPenalty = 100;
constexpr size_t kMaxNameBytes = 1024;

std::optional<float> read_float(RequestFields& fields, std::string_view name, double lowest, double highest) {
  const auto value = fields.number(name, lowest, highest);
  if (!value) return std::nullopt;
  return static_cast<float>(*value);
}

void read_stop(RequestFields& fields, const WireLimits& limits, std::vector<std::string>& stop) {
  const auto value = fields.any("stop");
  if (!value) return;
  const auto take = [&](JsonText text) {
    if (text.kind() != JsonText::Kind::kString) {
      fields.fail("stop", "'stop' must be a string or an array of strings.");
      return false;
    }
    if (stop.size() == static_cast<size_t>(limits.max_stop_strings)) {
      fields.fail("stop", fmt::format("'stop' has more than {} strings (--max-stop-strings).",
                                      limits.max_stop_strings));
      return false;
    }
    std::string one = text.string();
    if (one.empty() || one.size() > limits.max_stop_bytes) {
      fields.fail("stop",
                  fmt::format("Each 'stop' string must have from 1 to {} bytes.", limits.max_stop_bytes));
      return false;
    }
    stop.push_back(std::move(one));
    return true;
  };
  if (value->kind() == JsonText::Kind::kArray)
    value->for_each(take);
  else
    take(*value);
}

void read_logit_bias(RequestFields& fields, const WireLimits& limits,
                     std::vector<std::pair<int32_t, float>>& bias) {
  const auto value = fields.object("logit_bias");
  if (!value) return;
  const auto members = value->members(static_cast<size_t>(limits.max_logit_bias));
  if (!members.ok())
    return fields.fail("logit_bias",
                       fmt::format("'logit_bias' has more than {} entries.", limits.max_logit_bias));
  for (const auto& [name, number] : *members) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || id < 0 || id >= limits.vocabulary) {
      return fields.fail("logit_bias", fmt::format("The keys of 'logit_bias' must be token ids from 0 to {}.",
                                                   limits.vocabulary - 1));
    }
    if (number.kind() != JsonText::Kind::kNumber)
      return fields.fail("logit_bias", "The values of 'logit_bias' must be numbers.");
    const float clamped = static_cast<float>(std::clamp(number.number(), -100.0, 100.0));
    const auto same =
        std::find_if(bias.begin(), bias.end(), [&](const auto& entry) { return entry.first == id; });
    if (same != bias.end())
      same->second = clamped;
    else
      bias.emplace_back(id, clamped);
  }
}

void read_bad_words(RequestFields& fields, const WireLimits& limits, std::vector<std::string>& words) {
  const auto list = fields.array("bad_words");
  if (!list) return;
  list->for_each([&](JsonText word) {
    const std::string text = word.kind() == JsonText::Kind::kString ? word.string() : "";
    if (text.empty() || text.size() > limits.max_bad_word_bytes) {
      fields.fail("bad_words", fmt::format("'bad_words' must be an array of strings of 1 to {} bytes.",
                                           limits.max_bad_word_bytes));
    } else if (words.size() == static_cast<size_t>(limits.max_bad_words)) {
      fields.fail("bad_words", fmt::format("'bad_words' has more than {} entries.", limits.max_bad_words));
    } else {
      words.push_back(text);
    }
    return fields.ok();
  });
}

void read_truncation(RequestFields& fields, const WireLimits& limits, GenerationFields& out) {
  if (const auto keep = fields.integer("truncate_prompt_tokens", -1, limits.max_model_len)) {
    if (*keep == 0) fields.fail("truncate_prompt_tokens", "'truncate_prompt_tokens' must not be 0.");
    out.truncate_prompt_tokens = static_cast<int>(*keep);
  }
  if (const auto side = fields.string("truncation_side", 16)) {
    if (*side != "left" && *side != "right")
      fields.fail("truncation_side", "'truncation_side' must be \"left\" or \"right\".");
    out.truncate_on_the_left = *side == "left";
  }
}

void read_streaming(RequestFields& fields, GenerationFields& out) {
  out.stream = fields.boolean("stream").value_or(false);
  const auto options = fields.object("stream_options");
  if (!options) return;
  if (!out.stream)
    return fields.fail("stream_options", "'stream_options' is only allowed when 'stream' is true.");
  auto inner = RequestFields::of(*options, "stream_options.");
  if (!inner.ok()) return fields.fail("stream_options", inner.error().message);
  out.include_usage = inner->boolean("include_usage").value_or(false);
  out.continuous_usage = inner->boolean("continuous_usage_stats").value_or(false);
  if (!inner->ok()) fields.fail("stream_options", inner->error().message);
}

}  // namespace

Error prompt_too_large(std::string_view param, size_t bytes, const WireLimits& limits) {
  return Error{
      ErrorCode::kContextLength,
      fmt::format("This model's maximum context length is {} tokens; a prompt of {} bytes cannot fit into it "
                  "(more than {} bytes never do). Shorten the prompt.",
                  limits.max_model_len, bytes, limits.max_prompt_bytes),
      std::string(param)};
}

bool read_token_ids(RequestFields& fields, std::string_view name, JsonText array, const WireLimits& limits,
                    std::vector<int32_t>& out) {
  bool good = true;
  array.for_each([&](JsonText element) {
    const auto id = element.kind() == JsonText::Kind::kNumber ? element.integer() : std::nullopt;
    good = id && *id >= 0 && *id < limits.vocabulary;
    if (good) out.push_back(static_cast<int32_t>(*id));
    return good;
  });
  if (!good) {
    fields.fail(name, fmt::format("'{}' must contain token ids from 0 to {}.", fields.full_name(name),
                                  limits.vocabulary - 1));
  }
  return good;
}

GenerationFields read_generation_fields(RequestFields& fields, const WireLimits& limits) {
  GenerationFields out;
  out.model = fields.string("model", kMaxNameBytes).value_or("");
  if (const auto max_tokens = fields.integer("max_tokens", 0, kMaxInt))
    out.max_tokens = static_cast<int>(*max_tokens);
  out.temperature = read_float(fields, "temperature", 0, kMaxTemperature);
  out.top_p = read_float(fields, "top_p", 0, 1);
  if (out.top_p && *out.top_p == 0) fields.fail("top_p", "'top_p' must be above 0 and at most 1.");
  if (const auto top_k = fields.integer("top_k", -1, kMaxInt)) out.top_k = static_cast<int>(*top_k);
  out.min_p = read_float(fields, "min_p", 0, 1);
  out.repetition_penalty = read_float(fields, "repetition_penalty", 0, kMaxRepetitionPenalty);
  if (out.repetition_penalty && *out.repetition_penalty < 1e-3F) {
    fields.fail("repetition_penalty",
                fmt::format("'repetition_penalty' must be from 0.001 to {}.", kMaxRepetitionPenalty));
  }
  out.presence_penalty = read_float(fields, "presence_penalty", -2, 2).value_or(0);
  out.frequency_penalty = read_float(fields, "frequency_penalty", -2, 2).value_or(0);
  out.n = static_cast<int>(fields.integer("n", 1, {limits.max_n, "--max-n"}).value_or(1));
  if (const auto seed =
          fields.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    out.seed = static_cast<uint64_t>(*seed);
  }
  read_stop(fields, limits, out.stop);
  if (const auto ids = fields.array("stop_token_ids")) {
    if (ids->element_count(static_cast<size_t>(limits.max_stop_token_ids) + 1) >
        static_cast<size_t>(limits.max_stop_token_ids)) {
      fields.fail("stop_token_ids",
                  fmt::format("'stop_token_ids' has more than {} ids.", limits.max_stop_token_ids));
    } else {
      read_token_ids(fields, "stop_token_ids", *ids, limits, out.stop_token_ids);
    }
  }
  out.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  out.min_tokens = static_cast<int>(fields.integer("min_tokens", 0, kMaxInt).value_or(0));
  out.prompt_logprobs = static_cast<int>(
      fields.integer("prompt_logprobs", 0, {limits.max_logprobs, "--max-logprobs"}).value_or(-1));
  read_logit_bias(fields, limits, out.logit_bias);
  if (const auto ids = fields.array("allowed_token_ids")) {
    if (ids->element_count(1) == 0)
      fields.fail("allowed_token_ids", "'allowed_token_ids' is empty: no token could come.");
    else if (ids->element_count(static_cast<size_t>(limits.vocabulary) + 1) >
             static_cast<size_t>(limits.vocabulary))
      fields.fail("allowed_token_ids", "'allowed_token_ids' has more ids than the model has tokens.");
    else
      read_token_ids(fields, "allowed_token_ids", *ids, limits, out.allowed_token_ids);
  }
  read_bad_words(fields, limits, out.bad_words);
  read_truncation(fields, limits, out);
  out.timeout_s = fields.number("timeout", 0.001, 86400);
  out.return_token_ids = fields.boolean("return_token_ids").value_or(false);
  read_streaming(fields, out);
  out.include_stop_in_output = fields.boolean("include_stop_str_in_output").value_or(false);
  out.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
  out.echo = fields.boolean("echo").value_or(false);
  out.cache_salt = fields.string("cache_salt", kMaxNameBytes).value_or("");
  out.priority = static_cast<int>(fields.integer("priority", -1'000'000, 1'000'000).value_or(0));
  return out;
}

void read_continuation(RequestFields& fields, const WireLimits& limits, GenerationFields& out) {
  const auto ids = fields.array("continue_tokens");
  if (!ids) return;
  const auto most = static_cast<size_t>(limits.max_model_len);
  if (ids->element_count(most + 1) > most) {
    return fields.fail("continue_tokens",
                       fmt::format("'continue_tokens' has more than the {} tokens of the context.", most));
  }
  if (!read_token_ids(fields, "continue_tokens", *ids, limits, out.continue_tokens)) return;
  if (!out.continue_tokens.empty() && (out.n > 1 || out.echo || out.prompt_logprobs >= 0)) {
    fields.fail(
        "continue_tokens",
        "'continue_tokens' goes on with one answer: not together with 'n', 'echo' or 'prompt_logprobs'.");
  }
}

void accept_idle_fields(RequestFields& fields) {
  for (const char* name : {"user", "metadata", "store", "service_tier", "request_id", "safety_identifier",
                           "prompt_cache_key", "prompt_cache_retention", "spaces_between_special_tokens"}) {
    (void)fields.any(name);
  }
}

void refuse_unserved_fields(RequestFields& fields, bool takes_template) {
  // A template is a program: the server's owner brings one, or trusts those who do.
  if (!takes_template && fields.any("chat_template"))
    fields.fail(
        "chat_template",
        "A chat template of a request's own is not accepted here; leave 'chat_template' out, or serve "
        "chats with --trust-request-chat-template.");
  if (fields.boolean("use_beam_search").value_or(false))
    fields.fail("use_beam_search", "Beam search is not served; leave 'use_beam_search' out.");
}

}  // namespace sluice
