// From MODEL on the command line to a ModelService that can answer: found or downloaded, opened, weights
// packed, KV cache made, engine started. With --simulate: a tokenizer, and an engine over a cost model. Main
// thread, once.
#pragma once

#include <memory>

#include "base/result.h"
#include "server/api/model_service.h"
#include "server/options.h"

namespace sluice {

// `on_progress` sees the fraction of the weights that are packed.
Result<std::shared_ptr<ModelService>> load_service(const ServeOptions& options, Metrics& metrics,
                                                   const std::function<void(double)>& on_progress);

// What a model is called when nobody names it: ORG/NAME of a Hub's model, the file's or folder's own name of
// a path.
std::string default_model_name(const std::string& model);

}  // namespace sluice
