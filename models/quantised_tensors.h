// Weights of quantised Hugging Face checkpoints by the names of the plain ones: what lies there as packed
// integers or E4M3 is handed on in a form that kernels know (kI4_32, kI4_64, kF8), as many bits as it has;
// what was left unquantised comes as it is. Reads tensors that any tool may have written: every shape and
// index is checked.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "models/quantisation.h"
#include "models/safetensors.h"
#include "models/tensor_source.h"

namespace sluice {

// `file` is for messages.
std::unique_ptr<TensorSource> read_quantised(std::unique_ptr<SafetensorsTensors> tensors,
                                             Quantisation quantisation, std::string file);

// What a 4-bit matrix of so many columns becomes.
WeightFormat int4_format(const Quantisation& quantisation, int64_t columns);
// The 4-bit matrix whose tensors' names begin with `base` ("model.layers.0.mlp.down_proj.").
Result<HostWeight> int4_matrix(const SafetensorsTensors& tensors, const Quantisation& quantisation,
                               const std::string& base, int64_t rows, int64_t columns,
                               const std::string& file);
// The E4M3 matrix, whose tensor is base + "weight".
Result<HostWeight> f8_matrix(const SafetensorsTensors& tensors, const Quantisation& quantisation,
                             const std::string& base, int64_t rows, int64_t columns, const std::string& file);

}  // namespace sluice
