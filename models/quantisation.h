// How a Hugging Face checkpoint's weights are quantised, as its config.json says: `quantization_config` in
// the words of AutoAWQ, GPTQModel, compressed-tensors and transformers' FP8
// (https://huggingface.co/docs/transformers/quantization/overview). Values only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice {

enum class WeightScheme : uint8_t {
  kPlain,   // not quantised
  kAwq,     // 4 bits, AutoAWQ's "gemm" layout
  kGptq,    // 4 bits
  kPacked,  // 4 bits, compressed-tensors' "pack-quantized"
  kF8,      // E4M3 with scales
};

struct Quantisation {
  std::string method;  // as the file names it
  WeightScheme scheme = WeightScheme::kPlain;
  int64_t group = 0;                          // 4 bits: so many inputs share a scale; 0: all
  bool symmetric = false;                     // 4 bits: all zeros are 8
  bool zeros_less_one = false;                // GPTQ's first format stores zero - 1
  int64_t block_rows = 0, block_columns = 0;  // E4M3: so many share a scale; 0: as many scales as are there
};

// The text of config.json. kUnsupported for a method, a number of bits or a layout that is not served.
Result<Quantisation> parse_quantisation(std::string_view text, const std::string& file);

}  // namespace sluice
