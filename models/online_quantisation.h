// What --quantization asks for: weights rounded to E4M3 while they are loaded, or the assurance that a
// checkpoint is quantised as somebody believes.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "models/model_files.h"
#include "models/tensor_source.h"

namespace sluice {

// `method`: "" or "auto" takes the files as they are; "fp8" rounds the matrices of all layers, where they are
// not quantised yet; any other name must be how the files are quantised.
Status quantise_as(const std::string& method, ModelFiles& files);

// The matrices of the layers (names that end with "_proj.weight") of F32, F16 or BF16 as E4M3 with a scale
// for each row, whose largest weight becomes 448; everything else as it is.
std::unique_ptr<TensorSource> round_to_f8(std::unique_ptr<TensorSource> tensors);

}  // namespace sluice
