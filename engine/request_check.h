// Whether a request can be served at all: every value in its range, every token id in the vocabulary, and its
// greatest length within the model's context and the whole KV cache. Pure. Any thread.
#pragma once

#include "engine/model_runner.h"
#include "engine/options.h"
#include "engine/request.h"

namespace sluice {

// `options.max_model_len` is filled in. The error's `param` is the field at fault.
Status check(const Request& request, const EngineOptions& options, const RunnerFacts& facts);

}  // namespace sluice
