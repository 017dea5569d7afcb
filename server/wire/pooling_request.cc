#include "server/wire/pooling_request.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

std::optional<int> read_truncation(RequestFields& fields, const WireLimits& limits) {
  const auto tokens = fields.integer("truncate_prompt_tokens", -1, limits.max_model_len);
  if (tokens && *tokens == 0)
    fields.fail("truncate_prompt_tokens", "'truncate_prompt_tokens' must not be 0.");
  return tokens ? std::optional<int>(static_cast<int>(*tokens)) : std::nullopt;
}

// A text, or {"text": …} as Cohere's and Jina's clients send documents.
std::optional<std::string> read_text(RequestFields& fields, std::string_view name, JsonText value) {
  if (value.kind() == JsonText::Kind::kString) return value.string();
  if (value.kind() == JsonText::Kind::kObject) {
    auto object = RequestFields::of(value, std::string(name) + ".");
    if (object.ok()) {
      if (auto text = object->string("text", static_cast<size_t>(-1))) return text;
    }
  }
  fields.fail(name, fmt::format("'{}' must be text: strings, or objects with a string 'text'.", name));
  return std::nullopt;
}

std::vector<std::string> read_texts(RequestFields& fields, std::string_view name, const WireLimits& limits) {
  std::vector<std::string> texts;
  const auto value = fields.any(name);
  if (!value) {
    fields.fail(name, fmt::format("'{}' is missing.", name));
    return texts;
  }
  if (value->kind() != JsonText::Kind::kArray) {
    if (auto text = read_text(fields, name, *value)) texts.push_back(std::move(*text));
    return texts;
  }
  size_t bytes = 0;
  value->for_each([&](JsonText element) {
    if (texts.size() == static_cast<size_t>(limits.max_prompts)) {
      fields.fail(name,
                  fmt::format("'{}' has more than {} texts (--max-prompts).", name, limits.max_prompts));
      return false;
    }
    auto text = read_text(fields, name, element);
    if (!text) return false;
    bytes = text->size();
    texts.push_back(std::move(*text));
    if (bytes > limits.max_prompt_bytes) fields.fail(name, prompt_too_large(name, bytes, limits).message);
    return fields.ok();
  });
  if (texts.empty()) fields.fail(name, fmt::format("'{}' is empty.", name));
  return texts;
}

// The field under any of its names.
std::string_view spelled(RequestFields& fields, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (fields.any(name)) return name;
  }
  return *names.begin();
}

void append_usage(std::string& out, const Usage& usage) {
  out += R"("usage":{"prompt_tokens":)";
  append_json(out, int64_t{usage.prompt_tokens});
  out += R"(,"total_tokens":)";
  append_json(out, int64_t{usage.prompt_tokens});
  out += R"(,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":)";
  append_json(out, int64_t{usage.cached_tokens});
  out += "}}";
}

void append_base64(std::string& out, std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto bytes = std::as_bytes(values);
  const auto at = [&](size_t i) { return i < bytes.size() ? std::to_integer<uint32_t>(bytes[i]) : 0U; };
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t word = at(i) << 16U | at(i + 1) << 8U | at(i + 2);
    out += kAlphabet[word >> 18U];
    out += kAlphabet[word >> 12U & 63U];
    out += i + 1 < bytes.size() ? kAlphabet[word >> 6U & 63U] : '=';
    out += i + 2 < bytes.size() ? kAlphabet[word & 63U] : '=';
  }
}

std::string begin_list(const AnswerOptions& options, std::string_view id_prefix) {
  std::string out = R"({"id":)";
  append_json_string(out, std::string(id_prefix) + options.request_id);
  out += R"(,"object":"list","created":)";
  append_json(out, options.created_s);
  out += R"(,"model":)";
  append_json_string(out, options.model);
  return out;
}

}  // namespace

Result<EmbeddingRequest> parse_embedding_request(std::string_view body, const WireLimits& limits) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  EmbeddingRequest request;
  request.model = fields.string("model", 1024).value_or("");
  read_prompts(fields, "input", limits, request.inputs);
  if (const auto format = fields.string("encoding_format", 64)) {
    request.base64 = *format == "base64";
    if (!request.base64 && *format != "float")
      fields.fail("encoding_format", "'encoding_format' must be \"float\" or \"base64\".");
  }
  if (const auto dimensions = fields.integer("dimensions", 1, limits.embedding_width))
    request.dimensions = static_cast<int>(*dimensions);
  if (const auto pooling = fields.string("pooling", 64)) {
    if (*pooling != "last" && *pooling != "mean")
      fields.fail("pooling", "'pooling' must be \"last\" or \"mean\".");
    request.mean_pooling = *pooling == "mean";
  }
  request.normalize = fields.boolean("normalize").value_or(true);
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  request.truncate_prompt_tokens = read_truncation(fields, limits);
  accept_idle_fields(fields);
  request.ignored = fields.unread();
  SLUICE_TRY(fields.status());
  SLUICE_TRY(check_prompts("input", request.inputs, request.add_special_tokens, limits));
  return request;
}

Result<ScoreRequest> parse_score_request(std::string_view body, const WireLimits& limits) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  ScoreRequest request;
  request.model = fields.string("model", 1024).value_or("");
  request.queries = read_texts(fields, spelled(fields, {"text_1", "queries", "query", "data_1"}), limits);
  const std::string_view documents = spelled(fields, {"text_2", "documents", "items", "data_2"});
  request.documents = read_texts(fields, documents, limits);
  request.truncate_prompt_tokens = read_truncation(fields, limits);
  accept_idle_fields(fields);
  request.ignored = fields.unread();
  if (fields.ok() && request.queries.size() != 1 && request.queries.size() != request.documents.size()) {
    fields.fail(documents, fmt::format("There are {} queries and {} documents: send one query, or as many of "
                                       "both.",
                                       request.queries.size(), request.documents.size()));
  }
  SLUICE_TRY(fields.status());
  return request;
}

Result<RerankRequest> parse_rerank_request(std::string_view body, const WireLimits& limits) {
  SLUICE_ASSIGN(const JsonText json, JsonText::check(body, limits.max_json_depth));
  SLUICE_ASSIGN(RequestFields fields, RequestFields::of(json, ""));
  RerankRequest request;
  request.model = fields.string("model", 1024).value_or("");
  const auto query = fields.string("query", limits.max_prompt_bytes);
  if (!query) fields.fail("query", "'query' is missing.");
  request.query = query.value_or("");
  request.documents = read_texts(fields, "documents", limits);
  request.top_n = static_cast<int>(fields.integer("top_n", 0, limits.max_prompts).value_or(0));
  request.return_documents = fields.boolean("return_documents").value_or(true);
  request.truncate_prompt_tokens = read_truncation(fields, limits);
  accept_idle_fields(fields);
  request.ignored = fields.unread();
  SLUICE_TRY(fields.status());
  return request;
}

std::string embedding_body(const AnswerOptions& options, std::span<const std::vector<float>> vectors,
                           bool base64, const Usage& usage) {
  std::string out = begin_list(options, "embd-");
  out += R"(,"data":[)";
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (i > 0) out += ',';
    out += R"({"object":"embedding","index":)";
    append_json(out, static_cast<int64_t>(i));
    out += R"(,"embedding":)";
    if (base64) {
      out += '"';
      append_base64(out, vectors[i]);
      out += R"("})";
      continue;
    }
    out += '[';
    for (size_t j = 0; j < vectors[i].size(); ++j)
      fmt::format_to(std::back_inserter(out), "{}{:.9g}", j > 0 ? "," : "", vectors[i][j]);
    out += "]}";
  }
  out += "],";
  append_usage(out, usage);
  out += '}';
  return out;
}

std::string score_body(const AnswerOptions& options, std::span<const double> scores, const Usage& usage) {
  std::string out = begin_list(options, "score-");
  out += R"(,"data":[)";
  for (size_t i = 0; i < scores.size(); ++i) {
    if (i > 0) out += ',';
    out += R"({"index":)";
    append_json(out, static_cast<int64_t>(i));
    out += R"(,"object":"score","score":)";
    append_json(out, scores[i]);
    out += '}';
  }
  out += "],";
  append_usage(out, usage);
  out += '}';
  return out;
}

std::string rerank_body(const AnswerOptions& options, std::span<const ScoredDocument> ranking,
                        std::span<const std::string> documents, const Usage& usage) {
  std::string out = R"({"id":)";
  append_json_string(out, "rerank-" + options.request_id);
  out += R"(,"model":)";
  append_json_string(out, options.model);
  out += ',';
  append_usage(out, usage);
  out += R"(,"results":[)";
  for (size_t i = 0; i < ranking.size(); ++i) {
    if (i > 0) out += ',';
    out += R"({"index":)";
    append_json(out, int64_t{ranking[i].index});
    if (!documents.empty()) {
      out += R"(,"document":{"text":)";
      append_json_string(out, documents[static_cast<size_t>(ranking[i].index)]);
      out += '}';
    }
    out += R"(,"relevance_score":)";
    append_json(out, ranking[i].score);
    out += '}';
  }
  out += "]}";
  return out;
}

}  // namespace sluice
