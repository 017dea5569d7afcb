#include "router/io/explain.h"

#include "router/io/dispatcher.h"
#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

void add(std::string& out, std::string_view name, double value) {
  out.append(",\"").append(name).append("\":");
  append_json(out, value);
}

}  // namespace

std::string explain_json(const Decision& decision, const Dispatcher& dispatcher) {
  std::string out = R"({"policy":")";
  out += name_of(dispatcher.options().core.policy.name);
  out += R"(","chosen":)";
  if (decision.chosen == kNoReplica)
    out += "null";
  else
    append_json_string(out, dispatcher.name_of(decision.chosen));
  add(out, "prompt_tokens", decision.prompt_tokens);
  out += R"(,"candidates":[)";
  for (size_t i = 0; i < decision.candidates.size(); ++i) {
    const Candidate& candidate = decision.candidates[i];
    if (i > 0) out += ',';
    out += R"({"replica":)";
    append_json_string(out, dispatcher.name_of(candidate.replica));
    add(out, "cached_tokens", candidate.cached_tokens);
    add(out, "running", candidate.running);
    add(out, "prefill_tokens", static_cast<double>(candidate.prefill_tokens));
    add(out, "prefill_tokens_per_s", 1 / candidate.rate.token_seconds);
    add(out, "kv_usage", candidate.kv_usage);
    if (i < decision.terms.size()) {
      const CostTerms& terms = decision.terms[i];
      out += R"(,"cost":{"total":)";
      append_json(out, terms.total);
      add(out, "wait", terms.wait);
      add(out, "compute", terms.compute);
      add(out, "recompute", terms.recompute);
      add(out, "decode", terms.decode);
      add(out, "kv", terms.kv);
      out += '}';
    }
    out += '}';
  }
  return out + "]}";
}

}  // namespace sluice::router
