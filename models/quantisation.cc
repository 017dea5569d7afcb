#include "models/quantisation.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "models/json_fields.h"

namespace sluice {
namespace {

using nlohmann::json;

Error unsupported(const std::string& file, const std::string& what) {
  return {
      ErrorCode::kUnsupported,
      "'" + file + "' " + what + " Use another quantisation of the model, the model itself, or a GGUF of it.",
      ""};
}

Status check_bits(const JsonFields& fields, std::string_view key, int64_t absent) {
  SLUICE_ASSIGN(const auto bits, fields.integer(key));
  if (bits.value_or(absent) == 4) return {};
  return unsupported(fields.file(), "has weights of " + std::to_string(bits.value_or(absent)) +
                                        " bits; of AWQ, GPTQ and compressed-tensors 4 bits are served.");
}

Status read_group(const JsonFields& fields, int64_t absent, Quantisation& q) {
  SLUICE_ASSIGN(const auto group, fields.integer("group_size"));
  q.group = std::max<int64_t>(group.value_or(absent), 0);
  if (q.group % 32 == 0 && q.group <= INT32_MAX) return {};
  return unsupported(fields.file(), "has groups of " + std::to_string(q.group) +
                                        " weights; served are multiples of 32, or -1 for whole rows.");
}

Result<Quantisation> read_awq(const JsonFields& fields) {
  Quantisation q{.method = "awq", .scheme = WeightScheme::kAwq};
  SLUICE_TRY(check_bits(fields, fields.find("w_bit") != nullptr ? "w_bit" : "bits", 4));
  SLUICE_TRY(read_group(fields, 128, q));
  SLUICE_ASSIGN(const auto version, fields.text("version"));
  const std::string layout = version.value_or("gemm");
  if (layout != "gemm" && layout != "GEMM") {
    return unsupported(fields.file(),
                       "is AWQ in the layout '" + log::safe(layout) + "'; 'gemm' is the one served.");
  }
  SLUICE_ASSIGN(const auto zeros, fields.boolean("zero_point"));
  if (!zeros.value_or(true)) return unsupported(fields.file(), "is AWQ without zero points.");
  return q;
}

Result<Quantisation> read_gptq(const JsonFields& fields) {
  Quantisation q{.method = "gptq", .scheme = WeightScheme::kGptq};
  SLUICE_TRY(check_bits(fields, "bits", 4));
  SLUICE_TRY(read_group(fields, -1, q));
  SLUICE_ASSIGN(const auto symmetric, fields.boolean("sym"));
  q.symmetric = symmetric.value_or(true);
  SLUICE_ASSIGN(const auto format, fields.text("checkpoint_format"));
  const std::string layout = format.value_or("gptq");
  if (layout != "gptq" && layout != "gptq_v2") {
    return unsupported(fields.file(),
                       "is GPTQ in the layout '" + log::safe(layout) + "'; 'gptq' and 'gptq_v2' are served.");
  }
  q.zeros_less_one = layout == "gptq";
  return q;
}

// One group of modules, all with the same weights: the others are left as they are ("ignore").
Result<Quantisation> read_compressed(const JsonFields& fields) {
  const json* const groups = fields.find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->size() != 1 ||
      !groups->begin().value().is_object()) {
    return unsupported(fields.file(), "has compressed tensors of several kinds, or of none.");
  }
  const JsonFields group(groups->begin().value(), fields.file());
  const json* const object = group.find("weights");
  if (object == nullptr || !object->is_object())
    return unsupported(fields.file(), "has compressed tensors that do not say how weights lie.");
  const JsonFields weights(*object, fields.file());
  SLUICE_ASSIGN(auto format, group.text("format"));
  if (!format) {
    SLUICE_ASSIGN(format, fields.text("format"));
  }
  SLUICE_ASSIGN(const auto type, weights.text("type"));
  SLUICE_ASSIGN(const auto bits, weights.integer("num_bits"));
  SLUICE_ASSIGN(const auto symmetric, weights.boolean("symmetric"));
  Quantisation q{.method = "compressed-tensors"};
  if (format == "pack-quantized" && type.value_or("int") == "int") {
    q.scheme = WeightScheme::kPacked;
    q.symmetric = symmetric.value_or(true);
    SLUICE_TRY(check_bits(weights, "num_bits", 0));
    SLUICE_TRY(read_group(weights, -1, q));
    return q;
  }
  if ((format == "float-quantized" || format == "naive-quantized") && type == "float" && bits == 8) {
    q.scheme = WeightScheme::kF8;
    if (const json* block = weights.find("block_structure"); block != nullptr) {
      if (!block->is_array() || block->size() != 2 || !(*block)[0].is_number_unsigned() ||
          !(*block)[1].is_number_unsigned())
        return weights.wrong_kind("block_structure", "two sizes");
      q.block_rows = (*block)[0].get<int64_t>();
      q.block_columns = (*block)[1].get<int64_t>();
    }
    return q;
  }
  return unsupported(fields.file(),
                     "has compressed tensors in the format '" + log::safe(format.value_or("")) +
                         "'; served are pack-quantized with 4-bit integers and float-quantized with 8 bits.");
}

Result<Quantisation> read_f8(const JsonFields& fields) {
  Quantisation q{.method = "fp8", .scheme = WeightScheme::kF8};
  SLUICE_ASSIGN(const auto kind, fields.text("fmt"));
  if (kind.value_or("e4m3") != "e4m3")
    return unsupported(fields.file(),
                       "has FP8 weights of the kind '" + log::safe(*kind) + "'; e4m3 is served.");
  const json* const block = fields.find("weight_block_size");
  if (block == nullptr) return q;
  if (!block->is_array() || block->size() != 2 || !(*block)[0].is_number_unsigned() ||
      !(*block)[1].is_number_unsigned())
    return fields.wrong_kind("weight_block_size", "two sizes");
  q.block_rows = (*block)[0].get<int64_t>();
  q.block_columns = (*block)[1].get<int64_t>();
  return q;
}

}  // namespace

Result<Quantisation> parse_quantisation(std::string_view text, const std::string& file) {
  SLUICE_ASSIGN(const json config, parse_json_object(text, file));
  const json* object = JsonFields(config, file).find("quantization_config");
  if (object == nullptr) object = JsonFields(config, file).find("compression_config");
  if (object == nullptr) return Quantisation{};
  if (!object->is_object()) return JsonFields(config, file).wrong_kind("quantization_config", "an object");
  const JsonFields fields(*object, file);
  SLUICE_ASSIGN(const auto method, fields.text("quant_method"));
  if (method == "awq") return read_awq(fields);
  if (method == "gptq") return read_gptq(fields);
  if (method == "compressed-tensors") return read_compressed(fields);
  if (method == "fp8" || method == "fbgemm_fp8") return read_f8(fields);
  return unsupported(file, "says that the weights are quantised by " +
                               (method ? "'" + log::safe(*method) + "'" : std::string("an unnamed method")) +
                               "; known are awq, gptq, compressed-tensors and fp8.");
}

}  // namespace sluice
