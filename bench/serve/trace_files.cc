#include "bench/serve/trace_files.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/log.h"
#include "server/wire/json_walk.h"

namespace sluice::bench {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{4} << 30;
constexpr uint32_t kMaxRowTokens = 10'000'000;
constexpr double kMaxSeconds = 1e10;
constexpr size_t kMaxDecodedBytes = size_t{16} << 20;  // of one text

Error wrong_line(const std::string& name, size_t line, const std::string& what) {
  return Error{ErrorCode::kCorrupt, name + " line " + std::to_string(line) + ": " + what};
}

// The text's lines, counted from 1; empty ones are passed over.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line) {
    while (!rest_.empty()) {
      const size_t end = rest_.find('\n');
      line = rest_.substr(0, end);
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      ++number_;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.find_first_not_of(" \t") != std::string_view::npos) return true;
    }
    return false;
  }
  size_t number() const { return number_; }

 private:
  std::string_view rest_;
  size_t number_ = 0;
};

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\"");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\"") + 1 - begin);
}

std::optional<double> number_of(std::string_view text) {
  text = trimmed(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// "2023-11-16 18:15:46.6805900", perhaps with a T and a zone (which all rows share, so it does not matter).
std::optional<double> seconds_of_date(std::string_view text) {
  text = trimmed(text);
  const auto part = [&](size_t at, size_t size) -> int {
    int value = 0;
    if (at + size > text.size()) return -1;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + at + size, value);
    return error == std::errc() && end == text.data() + at + size ? value : -1;
  };
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || (text[10] != ' ' && text[10] != 'T') ||
      text[13] != ':' || text[16] != ':')
    return std::nullopt;
  const int year = part(0, 4), month = part(5, 2), day = part(8, 2);
  const int hour = part(11, 2), minute = part(14, 2), second = part(17, 2);
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (year < 1970 || !date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
      second > 60)
    return std::nullopt;
  double fraction = 0;
  if (text.size() > 20 && text[19] == '.') {
    const size_t end = std::min(text.find_first_not_of("0123456789", 20), text.size());
    fraction = number_of("0" + std::string(text.substr(19, end - 19))).value_or(0);
  }
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return static_cast<double>(days) * 86400 + hour * 3600 + minute * 60 + second + fraction;
}

std::optional<uint32_t> tokens_of(std::string_view text) {
  const auto value = number_of(text);
  if (!value || *value < 0 || *value > kMaxRowTokens || *value != std::floor(*value)) return std::nullopt;
  return static_cast<uint32_t>(*value);
}

// Rows into the order of their times, which then begin at 0.
Result<Trace> finish(Trace trace, const std::string& name) {
  if (trace.rows.empty()) return Error{ErrorCode::kCorrupt, name + " has no requests in it."};
  std::ranges::stable_sort(trace.rows, {}, &TraceRow::at_s);
  const double first = trace.rows.front().at_s;
  for (TraceRow& row : trace.rows) row.at_s -= first;
  return trace;
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const size_t comma = line.find(',');
    fields.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

struct Columns {
  const char *time, *input, *output;
  bool drops_unanswered = false;
};

Result<Trace> parse_csv(std::string_view text, const std::string& name, const Columns& columns) {
  Lines lines(text);
  std::string_view line;
  if (!lines.next(line)) return Error{ErrorCode::kCorrupt, name + " is empty."};
  if (line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  const auto head = fields_of(line);
  const auto column = [&](const char* wanted) {
    return static_cast<size_t>(std::ranges::find(head, std::string_view(wanted)) - head.begin());
  };
  const size_t time = column(columns.time), input = column(columns.input), output = column(columns.output);
  for (const auto& [place, wanted] :
       {std::pair(time, columns.time), std::pair(input, columns.input), std::pair(output, columns.output)}) {
    if (place == head.size())
      return wrong_line(name, lines.number(), std::string("the heading has no column '") + wanted + "'.");
  }
  Trace trace;
  while (lines.next(line)) {
    const auto fields = fields_of(line);
    if (fields.size() <= std::max({time, input, output}))
      return wrong_line(name, lines.number(),
                        "it has " + std::to_string(fields.size()) + " columns; the heading has " +
                            std::to_string(head.size()) + ".");
    auto at = number_of(fields[time]);
    if (!at) at = seconds_of_date(fields[time]);
    if (!at || *at < 0 || *at > kMaxSeconds)
      return wrong_line(
          name, lines.number(),
          "'" + log::safe(fields[time].substr(0, 40)) + "' is neither seconds nor a date and time.");
    const auto asked = tokens_of(fields[input]), answered = tokens_of(fields[output]);
    for (const auto& [tokens, place] : {std::pair(asked, input), std::pair(answered, output)}) {
      if (!tokens)
        return wrong_line(
            name, lines.number(),
            "'" + log::safe(fields[place].substr(0, 40)) + "' is not a number of tokens up to 10000000.");
    }
    if (columns.drops_unanswered && *answered == 0) continue;
    if (trace.rows.size() == kMaxTraceRows) break;
    trace.rows.push_back({*at, std::max(1u, *asked), std::max(1u, *answered)});
  }
  return finish(std::move(trace), name);
}

std::string decoded(std::string_view value) {
  return decode_json_string(value, kMaxDecodedBytes);
}

}  // namespace

Result<Trace> parse_mooncake(std::string_view text, const std::string& name) {
  Trace trace;
  Lines lines(text);
  std::string_view line;
  while (lines.next(line)) {
    const auto wrong = [&](const std::string& what) { return wrong_line(name, lines.number(), what); };
    if (line.size() > kMaxLineBytes) return wrong("it is longer than 16 MiB.");
    JsonWalk walk(line);
    if (!walk.enter_object()) return wrong("it is not a JSON object.");
    std::optional<double> at;
    std::optional<uint32_t> input, output;
    TraceRow row{.first_hash = static_cast<uint32_t>(trace.hash_ids.size())};
    std::string_view field, value;
    while (walk.member(field, value)) {
      if (field == "timestamp") at = number_of(value);
      if (field == "input_length") input = tokens_of(value);
      if (field == "output_length") output = tokens_of(value);
      if (field != "hash_ids") continue;
      JsonWalk ids(value);
      std::string_view id;
      if (!ids.enter_array()) return wrong("hash_ids is not an array.");
      while (ids.element(id)) {
        uint64_t hash = 0;
        const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), hash);
        if (error != std::errc() || end != id.data() + id.size())
          return wrong("hash_ids has an element that is not a whole number.");
        trace.hash_ids.push_back(hash);
      }
      if (ids.failed()) return wrong("hash_ids is broken off.");
    }
    if (walk.failed() || !walk.at_end()) return wrong("the JSON object is broken off or malformed.");
    if (!at || *at < 0 || *at / 1000 > kMaxSeconds) return wrong("timestamp is missing or not milliseconds.");
    if (!input || *input == 0) return wrong("input_length is missing or not a number of tokens.");
    if (!output) return wrong("output_length is missing or not a number of tokens.");
    row.at_s = *at / 1000;
    row.input_tokens = *input;
    row.output_tokens = std::max(1u, *output);
    row.hash_count = static_cast<uint32_t>(trace.hash_ids.size() - row.first_hash);
    if (uint64_t{row.hash_count} * trace.block_tokens >= uint64_t{*input} + trace.block_tokens)
      return wrong("it has more hash_ids than blocks of 512 tokens in its input_length.");
    if (trace.rows.size() == kMaxTraceRows || trace.hash_ids.size() > (uint64_t{1} << 31))
      return wrong("the trace is longer than this program reads.");
    trace.rows.push_back(row);
  }
  return finish(std::move(trace), name);
}

Result<Trace> parse_azure(std::string_view text, const std::string& name) {
  return parse_csv(text, name, {"TIMESTAMP", "ContextTokens", "GeneratedTokens"});
}

Result<Trace> parse_burstgpt(std::string_view text, const std::string& name) {
  return parse_csv(text, name, {"Timestamp", "Request tokens", "Response tokens", true});
}

Result<std::vector<Conversation>> parse_sharegpt(std::string_view text, const std::string& name) {
  std::vector<Conversation> all;
  JsonWalk walk(text);
  if (!walk.enter_array()) return Error{ErrorCode::kCorrupt, name + " is not a JSON array of conversations."};
  std::string_view entry;
  for (size_t number = 1; walk.element(entry); ++number) {
    const auto wrong = [&](const std::string& what) {
      const auto line = 1 + std::count(text.data(), entry.data(), '\n');
      return wrong_line(name, static_cast<size_t>(line),
                        "conversation " + std::to_string(number) + " " + what);
    };
    JsonWalk members(entry);
    if (!members.enter_object()) return wrong("is not an object.");
    std::string_view field, value, turn;
    Conversation conversation;
    std::string ask;
    while (members.member(field, value)) {
      if (field != "conversations" && field != "conversation") continue;
      JsonWalk turns(value);
      if (!turns.enter_array()) return wrong("has no array of turns.");
      while (turns.element(turn)) {
        JsonWalk said(turn);
        if (!said.enter_object()) return wrong("has a turn that is not an object.");
        std::string from, told;
        while (said.member(field, value)) {
          if (field == "from" || field == "role") from = decoded(value);
          if (field == "value" || field == "content") told = decoded(value);
        }
        if (from == "human" || from == "user") {
          ask = std::move(told);
        } else if ((from == "gpt" || from == "assistant") && !ask.empty() && !told.empty()) {
          conversation.push_back({std::exchange(ask, {}), std::move(told)});
        }
      }
      if (turns.failed()) return wrong("is broken off.");
    }
    if (members.failed()) return wrong("is broken off.");
    if (!conversation.empty()) all.push_back(std::move(conversation));
    if (all.size() == kMaxTraceRows) break;
  }
  if (walk.failed()) {
    const auto at = static_cast<long>(std::min(walk.position(), text.size()));
    return wrong_line(name, static_cast<size_t>(1 + std::count(text.begin(), text.begin() + at, '\n')),
                      "the JSON is broken off or malformed.");
  }
  if (all.empty()) return Error{ErrorCode::kCorrupt, name + " has no conversation with an answer in it."};
  return all;
}

Result<std::vector<Conversation>> parse_custom(std::string_view text, const std::string& name) {
  std::vector<Conversation> all;
  Lines lines(text);
  std::string_view line;
  while (lines.next(line)) {
    const auto wrong = [&](const std::string& what) { return wrong_line(name, lines.number(), what); };
    JsonWalk walk(line);
    if (line.size() > kMaxLineBytes) return wrong("it is longer than 16 MiB.");
    if (!walk.enter_object()) return wrong("it is not a JSON object.");
    Exchanged exchanged;
    std::string_view field, value;
    while (walk.member(field, value)) {
      if (field == "prompt") exchanged.ask = decoded(value);
      if (field != "output_tokens") continue;
      const auto tokens = tokens_of(value);
      if (!tokens || *tokens == 0) return wrong("output_tokens is not a number of tokens.");
      exchanged.output_tokens = *tokens;
    }
    if (walk.failed() || !walk.at_end()) return wrong("the JSON object is broken off or malformed.");
    if (exchanged.ask.empty()) return wrong("prompt is missing, empty or not a string.");
    all.push_back({std::move(exchanged)});
    if (all.size() == kMaxTraceRows) break;
  }
  if (all.empty()) return Error{ErrorCode::kCorrupt, name + " has no prompts in it."};
  return all;
}

Result<std::string> read_whole_file(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error) return Error{ErrorCode::kIo, "Cannot read " + path + ": " + error.message() + "."};
  if (bytes > kMaxFileBytes)
    return Error{ErrorCode::kTooLarge, path + " is larger than 4 GiB, the most that is read."};
  std::ifstream file(path, std::ios::binary);
  std::string text(bytes, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes)))
    return Error{ErrorCode::kIo, "Cannot read " + path + "."};
  return text;
}

}  // namespace sluice::bench
