// Readers of the formats in which the field shares its load: who asked when, how much, and what. Every error
// names the file, the line and what is wrong there. Read whole, bounded; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::bench {

struct TraceRow {
  double at_s = 0;
  uint32_t input_tokens = 0, output_tokens = 0;
  uint32_t first_hash = 0, hash_count = 0;  // within Trace::hash_ids
};

struct Trace {
  std::vector<TraceRow> rows;      // by time, which begins at 0
  std::vector<uint64_t> hash_ids;  // equal ids: equal blocks of prompt, and all before them equal
  uint32_t block_tokens = 512;

  std::span<const uint64_t> hashes(const TraceRow& row) const {
    return std::span(hash_ids).subspan(row.first_hash, row.hash_count);
  }
};

struct Exchanged {
  std::string ask, answer;
  uint32_t output_tokens = 0;  // 0: as long as `answer`
};
using Conversation = std::vector<Exchanged>;  // never empty

inline constexpr size_t kMaxTraceRows = 20'000'000;
inline constexpr size_t kMaxLineBytes = size_t{16} << 20;

// `text` is a file's content, `name` what messages call it.
// JSON lines: timestamp (ms), input_length, output_length, hash_ids.
Result<Trace> parse_mooncake(std::string_view text, const std::string& name);
// CSV: TIMESTAMP (a date and time, or seconds), ContextTokens, GeneratedTokens.
Result<Trace> parse_azure(std::string_view text, const std::string& name);
// CSV: Timestamp (s), Request tokens, Response tokens; rows of failed requests (no response) are left out.
Result<Trace> parse_burstgpt(std::string_view text, const std::string& name);
// A JSON array of {"conversations": [{"from": "human", "value": …}, {"from": "gpt", …}, …]}; conversations
// without a question and its answer are left out.
Result<std::vector<Conversation>> parse_sharegpt(std::string_view text, const std::string& name);
// JSON lines: prompt, and output_tokens where it is known.
Result<std::vector<Conversation>> parse_custom(std::string_view text, const std::string& name);

// kIo names the path; kTooLarge above 4 GiB.
Result<std::string> read_whole_file(const std::string& path);

}  // namespace sluice::bench
