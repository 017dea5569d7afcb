#include "router/io/explain.h"

#include "router/io/dispatcher.h"
#include "server/wire/json_out.h"

namespace sluice::router {

std::string explain_json(const Decision& decision, const Dispatcher& dispatcher) {
  std::string out = R"({"policy":")";
  out += name_of(dispatcher.options().core.policy.name);
  out += R"(","chosen":)";
  if (decision.chosen == kNoReplica)
    out += "null";
  else
    append_json_string(out, dispatcher.name_of(decision.chosen));
  append_json_member(out, "prompt_tokens", static_cast<double>(decision.prompt_tokens));
  out += R"(,"candidates":[)";
  for (size_t i = 0; i < decision.candidates.size(); ++i) {
    const Candidate& candidate = decision.candidates[i];
    if (i > 0) out += ',';
    out += R"({"replica":)";
    append_json_string(out, dispatcher.name_of(candidate.replica));
    append_json_member(out, "cached_tokens", static_cast<double>(candidate.cached_tokens));
    append_json_member(out, "running", static_cast<double>(candidate.running));
    append_json_member(out, "prefill_tokens", static_cast<double>(candidate.prefill_tokens));
    append_json_member(out, "prefill_tokens_per_s", 1 / candidate.rate.token_seconds);
    append_json_member(out, "kv_usage", candidate.kv_usage);
    if (i < decision.terms.size()) {
      const CostTerms& terms = decision.terms[i];
      out += R"(,"cost":{"total":)";
      append_json(out, terms.total);
      append_json_member(out, "wait", terms.wait);
      append_json_member(out, "compute", terms.compute);
      append_json_member(out, "recompute", terms.recompute);
      append_json_member(out, "decode", terms.decode);
      append_json_member(out, "kv", terms.kv);
      out += '}';
    }
    out += '}';
  }
  return out + "]}";
}

}  // namespace sluice::router
