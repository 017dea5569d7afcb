// The JSON of requests. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench/serve/lexicon.h"
#include "bench/serve/target.h"
#include "bench/serve/workload.h"

namespace sluice::bench {

struct BodyOptions {
  Endpoint endpoint = Endpoint::kChat;
  std::string model;
  double temperature = 0;
  bool ignore_eos = false;
  bool streams = true;
  bool sends_ids = false;  // completions and embeddings: the prompt as token ids, where the lexicon has them
};

// What was said in a session before, in the order user, assistant, user, …; decoded.
using Said = std::vector<std::string>;

class BodyMaker {
 public:
  // kInvalidArgument when a part's extra_body is no JSON object.
  static Result<BodyMaker> make(BodyOptions options, Lexicon lexicon, const std::vector<PartSpec>& parts);

  // A whole body. `said`: of the turns before this one.
  std::string body(const Session& session, size_t turn, const Said& said) const;
  // The prompt's text alone, for `said` of the next turn.
  std::string prompt_text(const Turn& turn, bool is_first) const;
  // How many tokens the server will count in the prompt of a first turn; 0: not known beforehand.
  uint32_t prompt_tokens(const Turn& turn) const;
  const Lexicon& lexicon() const { return lexicon_; }
  const BodyOptions& options() const { return options_; }

 private:
  BodyMaker() = default;
  uint32_t overhead() const;
  std::vector<Piece> fitted(const Turn& turn, bool is_first) const;
  void append_ids(const std::vector<Piece>& pieces, std::string& out) const;

  BodyOptions options_;
  Lexicon lexicon_;
  std::string begin_;              // {"model":…
  std::vector<std::string> ends_;  // of each part: …}
  std::vector<bool> names_bound_;  // of each part: its extra_body says how long answers are
};

}  // namespace sluice::bench
