#include "bench/serve/bodies.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/wire/json_out.h"

namespace sluice::bench {
namespace {

std::string tail_of(const BodyOptions& options, const PartSpec& part, const nlohmann::json& extra) {
  std::string out;
  const auto add = [&](const char* name, const auto& value) {
    if (!extra.contains(name)) append_json_member(out, name, value);  // what the user wrote counts
  };
  if (options.endpoint != Endpoint::kEmbeddings) {
    add("temperature", options.temperature);
    if (options.ignore_eos) add("ignore_eos", true);
    if (options.streams) add("stream", true);
    const bool has_usage_flag =
        options.endpoint == Endpoint::kChat || options.endpoint == Endpoint::kCompletions;
    if (options.streams && has_usage_flag && !extra.contains("stream_options"))
      out += R"(,"stream_options":{"include_usage":true})";
    if (part.priority != 0) add("priority", part.priority);
  }
  if (!part.tenant.empty()) add("user", part.tenant);
  for (const auto& [name, value] : extra.items())
    out.append(",").append(nlohmann::json(name).dump()).append(":").append(value.dump());
  return out + "}";
}

}  // namespace

Result<BodyMaker> BodyMaker::make(BodyOptions options, Lexicon lexicon, const std::vector<PartSpec>& parts) {
  BodyMaker maker;
  for (const PartSpec& part : parts) {
    const auto extra = part.extra_body.empty() ? nlohmann::json::object()
                                               : nlohmann::json::parse(part.extra_body, nullptr, false);
    if (!extra.is_object())
      return invalid_argument(
          "extra_body", "extra_body must be a JSON object; it is '" + part.extra_body.substr(0, 80) + "'.");
    maker.ends_.push_back(tail_of(options, part, extra));
    maker.names_bound_.push_back(extra.contains("max_tokens") || extra.contains("max_completion_tokens") ||
                                 extra.contains("max_output_tokens"));
  }
  maker.begin_ = "{\"model\":";
  append_json_string(maker.begin_, options.model);
  maker.options_ = std::move(options);
  maker.lexicon_ = std::move(lexicon);
  return maker;
}

uint32_t BodyMaker::overhead() const {
  switch (options_.endpoint) {
    case Endpoint::kChat:
    case Endpoint::kResponses:
      return lexicon_.chat_overhead;
    default:
      return options_.sends_ids ? 0 : lexicon_.plain_overhead;
  }
}

// The server's own additions count as part of the prompt, so the first turn's last pieces give way to them.
std::vector<Piece> BodyMaker::fitted(const Turn& turn, bool is_first) const {
  std::vector<Piece> pieces = turn.pieces;
  uint32_t less = is_first ? overhead() : 0;
  while (less > 0 && !pieces.empty()) {
    Piece& last = pieces.back();
    const uint32_t least = pieces.size() == 1 ? 1 : 0;
    const uint32_t taken = std::min(less, last.tokens - std::min(last.tokens, least));
    last.tokens -= taken;
    less -= taken;
    if (pieces.size() == 1) break;
    if (last.tokens == 0) pieces.pop_back();
  }
  return pieces;
}

uint32_t BodyMaker::prompt_tokens(const Turn& turn) const {
  uint32_t tokens = 0;
  for (const Piece& piece : fitted(turn, true)) tokens += piece.tokens;
  return tokens == 0 ? 0 : tokens + overhead();
}

std::string BodyMaker::prompt_text(const Turn& turn, bool is_first) const {
  if (!turn.text.empty()) return turn.text;
  std::string text;
  for (const Piece& piece : fitted(turn, is_first)) lexicon_.append_words(piece, text);
  return text;
}

void BodyMaker::append_ids(const std::vector<Piece>& pieces, std::string& out) const {
  out += '[';
  for (const Piece& piece : pieces) {
    if (piece.tokens == 0) continue;
    if (out.back() != '[') out += ',';
    lexicon_.append_ids(piece, out);
  }
  out += ']';
}

std::string BodyMaker::body(const Session& session, size_t number, const Said& said) const {
  const Turn& turn = session.turns[number];
  std::string out;
  size_t words = 0;
  for (const Piece& piece : turn.pieces) words += piece.tokens;
  out.reserve(begin_.size() + ends_[session.part].size() + 200 + words * 6 + turn.text.size());
  out += begin_;
  const auto append_text = [&] {
    if (!turn.text.empty()) return append_json_string(out, turn.text);
    out += '"';
    for (const Piece& piece : fitted(turn, number == 0)) lexicon_.append_words(piece, out);
    out += '"';
  };
  const bool is_dialogue = options_.endpoint == Endpoint::kChat || options_.endpoint == Endpoint::kResponses;
  if (is_dialogue) {
    out += options_.endpoint == Endpoint::kChat ? ",\"messages\":[" : ",\"input\":[";
    for (size_t i = 0; i < said.size(); ++i) {
      out += i % 2 == 0 ? R"({"role":"user","content":)" : R"({"role":"assistant","content":)";
      append_json_string(out, said[i]);
      out += "},";
    }
    out += R"({"role":"user","content":)";
    append_text();
    out += "}]";
  } else {
    out += options_.endpoint == Endpoint::kEmbeddings ? ",\"input\":" : ",\"prompt\":";
    if (options_.sends_ids && lexicon_.is_exact() && turn.text.empty() && said.empty()) {
      append_ids(fitted(turn, number == 0), out);
    } else if (said.empty()) {
      append_text();
    } else {
      std::string whole;
      for (const std::string& each : said) whole += each;
      append_json_string(out, whole + prompt_text(turn, false));
    }
  }
  if (names_bound_[session.part]) return out += ends_[session.part];
  if (options_.endpoint == Endpoint::kChat || options_.endpoint == Endpoint::kCompletions)
    append_json_member(out, "max_tokens", turn.output_tokens);
  if (options_.endpoint == Endpoint::kResponses)
    append_json_member(out, "max_output_tokens", turn.output_tokens);
  return out += ends_[session.part];
}

}  // namespace sluice::bench
