// What is sent: sessions of one or more requests, each a pure function of (seed, number), so that any of them
// can be made at any time and a million of them cost no memory. Knows neither HTTP nor when a session begins,
// unless it replays a trace.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/serve/trace_files.h"

namespace sluice::bench {

// A stretch of prompt, `tokens` words drawn from `seed`: equal pieces are equal texts.
struct Piece {
  uint64_t seed = 0;
  uint32_t tokens = 0;
  friend bool operator==(const Piece&, const Piece&) = default;
};

struct Turn {
  double think_s = 0;          // after the end of the answer before
  std::vector<Piece> pieces;   // the prompt; in a later turn what is added to it
  std::string text;            // in place of pieces
  uint32_t output_tokens = 0;  // the most that are wanted
  uint32_t cancel_after = 0;   // the client leaves after so many tokens; 0: it stays
};

struct Session {
  std::optional<double> at_s;  // of a trace: when it begins
  std::vector<Turn> turns;
  size_t part = 0;  // of the workload: which of its parts' bodies and headers
};

// Where prompts come from. docs/bench.md describes each kind and its fields.
enum class Source : uint8_t {
  kRandom,
  kShareGpt,
  kCustom,
  kMooncake,
  kAzure,
  kBurstGpt,
  kPrefixRepetition,
  kPrefixTree,
  kSessions,
};
Result<Source> parse_source(std::string_view name);
std::string_view name_of(Source source);

// One kind of traffic. Lengths in tokens.
struct PartSpec {
  std::string dataset_name = "random";
  std::string dataset_path;
  double share = 1;  // of the sessions, relative to the other parts
  int64_t random_input_len = 1024;
  int64_t random_output_len = 128;
  double random_range_ratio = 0;    // lengths are uniform within len * (1 ± ratio)
  int64_t random_prefix_len = 0;    // the same for all
  int64_t sharegpt_output_len = 0;  // 0: as long as the file's answer
  int64_t custom_output_len = 256;
  int64_t prefix_repetition_prefix_len = 256;
  int64_t prefix_repetition_suffix_len = 256;
  int64_t prefix_repetition_num_prefixes = 10;
  int64_t prefix_repetition_output_len = 128;
  std::string tree_branching = "4,4";  // children of each node, from the root on
  std::string tree_lens = "256,256";   // tokens of a node on each level
  int64_t session_turns = 4;
  double session_think_s = 5;  // the mean; times are exponential
  double trace_speed = 1;      // 2: the trace's clock runs twice as fast
  double cancel_share = 0;     // of the requests: the client leaves within the answer
  std::string tenant;          // sent as "user"
  int64_t priority = 0;        // sent where it is not 0
  std::string extra_body;      // members of a JSON object, added to each body
};

inline constexpr int64_t kMaxTokens = 10'000'000;  // of one prompt or answer

class Workload {
 public:
  // Reads the parts' files. kInvalidArgument names the field, kIo and kCorrupt the file and its line.
  static Result<Workload> load(std::vector<PartSpec> parts, uint64_t seed);

  // `number` < size().
  Session session(uint64_t number) const;
  // The number of a trace's requests; without bound otherwise.
  uint64_t size() const { return size_; }
  bool has_times() const { return has_times_; }
  // Prompts of different sessions are drawn independently of one another, from the first token on.
  bool shares_nothing() const;
  const std::vector<PartSpec>& parts() const { return specs_; }
  // The same workload from other draws. Shares what was read.
  Workload with_seed(uint64_t seed) const;
  // Tells how long the answers of conversations are, where their file has only texts.
  void set_bytes_per_token(double bytes) { bytes_per_token_ = bytes; }
  // Some of the texts of the files, for measuring that; empty where there are none.
  std::string sample_text(size_t bytes) const;

  struct Part;

 private:
  Workload() = default;
  size_t choose_part(uint64_t number) const;

  std::vector<PartSpec> specs_;
  std::vector<std::shared_ptr<const Part>> parts_;
  std::vector<double> cumulative_;  // shares
  uint64_t seed_ = 0;
  uint64_t size_ = std::numeric_limits<uint64_t>::max();
  bool has_times_ = false;
  double bytes_per_token_ = 4;
};

}  // namespace sluice::bench
