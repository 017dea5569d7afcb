// Learns what a step costs and says how many prompt tokens may run beside decodes so that a step stays near
// the decode-latency target. Pure arithmetic over the measurements it is handed. Engine thread only.
//
// Model: seconds = base + per_token * prefill tokens. `base` follows steps without prefill, `per_token` what
// steps with it took beyond the base; both as exponential averages, so that growing contexts and other load
// are followed.
#pragma once

namespace sluice {

class StepPacer {
 public:
  // `target_ms` 0: no target, every step may use the whole budget. A chunk is never smaller than
  // `min_chunk_tokens`, so that prompts advance whatever the target.
  StepPacer(int target_ms, int budget_tokens, int min_chunk_tokens);

  int prefill_limit() const;
  void step_took(double seconds, int prefill_tokens, int decode_sequences);

 private:
  const double target_seconds_;
  const int budget_tokens_;
  const int min_chunk_tokens_;
  double base_seconds_ = 0;
  double seconds_per_token_ = 0;
};

}  // namespace sluice
