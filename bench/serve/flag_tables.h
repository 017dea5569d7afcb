// The fields that a workload file and the command line both know, each once: name, place, what it does.
// Included by flags.cc and workload_file.cc alone.
#pragma once

#include "bench/serve/flags.h"

namespace sluice::bench {

// Calls visit(name, field, words) for each. A flag is --name with dashes.
template <class Visit>
void for_part_fields(PartSpec& part, Visit visit) {
  visit("dataset_name", part.dataset_name,
        "random, sharegpt, custom, mooncake, azure, burstgpt, prefix_repetition, prefix_tree or sessions");
  visit("dataset_path", part.dataset_path, "the file that sharegpt, custom and the traces are read from");
  visit("random_input_len", part.random_input_len, "prompt tokens of random, prefix_tree and sessions");
  visit("random_output_len", part.random_output_len, "answer tokens of the same");
  visit("random_range_ratio", part.random_range_ratio, "both lengths are uniform within len * (1 ± ratio)");
  visit("random_prefix_len", part.random_prefix_len, "tokens before them that are the same for all");
  visit("sharegpt_output_len", part.sharegpt_output_len, "answer tokens; 0: as long as the file's answer");
  visit("custom_output_len", part.custom_output_len, "answer tokens where a line names none");
  visit("prefix_repetition_prefix_len", part.prefix_repetition_prefix_len, "tokens of a shared prefix");
  visit("prefix_repetition_suffix_len", part.prefix_repetition_suffix_len, "tokens behind it");
  visit("prefix_repetition_num_prefixes", part.prefix_repetition_num_prefixes, "how many prefixes there are");
  visit("prefix_repetition_output_len", part.prefix_repetition_output_len, "answer tokens");
  visit("tree_branching", part.tree_branching, "children of a prefix tree's nodes, level by level");
  visit("tree_lens", part.tree_lens, "tokens of a node, level by level");
  visit("session_turns", part.session_turns, "requests of a session, each with what was said before");
  visit("session_think_s", part.session_think_s, "mean seconds between an answer and the next request");
  visit("trace_speed", part.trace_speed, "2: a trace is replayed twice as fast");
  visit("cancel_share", part.cancel_share, "of the requests whose client leaves within the answer");
  visit("tenant", part.tenant, "sent as \"user\" and as x-sluice-tenant");
  visit("priority", part.priority, "sent as \"priority\" where it is not 0");
  visit("extra_body", part.extra_body, "a JSON object whose members are added to each body");
}

template <class Visit>
void for_load_fields(LoadFlags& load, Visit visit) {
  visit("endpoint", load.endpoint, "/v1/completions, /v1/chat/completions, /v1/responses or /v1/embeddings");
  visit("num_prompts", load.num_prompts,
        "sessions (of one request, but for sessions); 0: 1000, or as many as "
        "--duration takes");
  visit("request_rate", load.request_rate,
        "arrivals a second, inf for all at once; several with commas: a sweep");
  visit("burstiness", load.burstiness,
        "shape of the gamma distribution of gaps: 1 Poisson, below it burstier");
  visit("arrival", load.arrival, "gamma, or constant for equal gaps");
  visit("max_concurrency", load.max_concurrency, "most requests in flight; several with commas: a sweep");
  visit("rate_steps", load.rate_steps, "a rate that changes: RATE:SECONDS or FROM-TO:SECONDS, with commas");
  visit("ramp_up_strategy", load.ramp_up_strategy,
        "linear or exponential, from --ramp-up-start-rps to "
        "--ramp-up-end-rps");
  visit("ramp_up_start_rps", load.ramp_up_start_rps, "the rate at the begin");
  visit("ramp_up_end_rps", load.ramp_up_end_rps, "the rate at the end");
  visit("duration", load.duration, "seconds after which nothing more is sent");
  visit("warmup", load.warmup, "seconds at the begin that are not counted");
  visit("num_warmups", load.num_warmups, "requests before the run that are not counted");
  visit("seed", load.seed, "of all draws");
  visit("seeds", load.seeds, "repeats, each with a seed of its own; gives confidence intervals");
  visit("ignore_eos", load.ignore_eos, "answers go on to their bound");
  visit("temperature", load.temperature, "of sampling");
  visit("prompt_ids", load.prompt_ids, "completions and embeddings: prompts as token ids");
  visit("no_stream", load.no_stream, "answers in one piece");
}

}  // namespace sluice::bench
