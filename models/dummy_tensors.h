// A model without weights, for measurements: shapes from a config.json alone, values random. Nothing it says
// means anything; everything takes as long as with real weights.
#pragma once

#include <memory>
#include <string>

#include "models/model_files.h"
#include "models/tensor_source.h"

namespace sluice {

// Any matrix and vector it is asked for. All matrices share one run of random values, some tens of megabytes,
// mapped as often as the largest needs; 64 GiB at most. kUnsupported for formats whose blocks it cannot
// write.
Result<std::unique_ptr<TensorSource>> make_dummy_tensors(WeightFormat format);

// `path`: a directory with a config.json, or that file.
Result<ModelFiles> open_dummy_model(const std::string& path, WeightFormat format);

}  // namespace sluice
