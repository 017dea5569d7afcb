// What tests/models/golden_test.cc does not reach: configurations that are refused, and files that lie.
#include "models/quantised_tensors.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/quant_blocks.h"
#include "models/model_files.h"
#include "models/online_quantisation.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using nlohmann::json;

Result<Quantisation> parsed(const json& quantization_config) {
  return parse_quantisation(json{{"quantization_config", quantization_config}}.dump(), "config.json");
}

std::string refusal(const json& quantization_config) {
  const auto q = parsed(quantization_config);
  EXPECT_FALSE(q.ok()) << quantization_config;
  if (q.ok()) return "";
  EXPECT_EQ(q.error().message.find("'config.json'"), 0U) << q.error().message;
  return q.error().message;
}

TEST(Quantisation, is_read_in_the_words_of_each_tool) {
  EXPECT_EQ(parse_quantisation("{}", "f")->scheme, WeightScheme::kPlain);
  EXPECT_EQ(parse_quantisation(R"({"quantization_config": null})", "f")->scheme, WeightScheme::kPlain);
  const auto awq = *parsed({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}, {"version", "GEMM"}});
  EXPECT_EQ(awq.scheme, WeightScheme::kAwq);
  EXPECT_EQ(awq.group, 64);
  EXPECT_FALSE(awq.symmetric);
  const auto old_awq = *parsed({{"quant_method", "awq"}, {"w_bit", 4}});
  EXPECT_EQ(old_awq.group, 128);
  const auto gptq = *parsed({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", -1}, {"sym", false}});
  EXPECT_EQ(gptq.scheme, WeightScheme::kGptq);
  EXPECT_EQ(gptq.group, 0);
  EXPECT_TRUE(gptq.zeros_less_one);
  EXPECT_FALSE(gptq.symmetric);
  EXPECT_FALSE(parsed({{"quant_method", "gptq"}, {"checkpoint_format", "gptq_v2"}})->zeros_less_one);
  const auto f8 = *parsed({{"quant_method", "fp8"}, {"weight_block_size", {128, 64}}});
  EXPECT_EQ(f8.scheme, WeightScheme::kF8);
  EXPECT_EQ(f8.block_rows, 128);
  EXPECT_EQ(f8.block_columns, 64);
}

TEST(Quantisation, says_what_is_not_served) {
  EXPECT_NE(refusal({{"quant_method", "bitsandbytes"}}).find("'bitsandbytes'"), std::string::npos);
  EXPECT_NE(refusal(json::object()).find("an unnamed method"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "gptq"}, {"bits", 3}}).find("3 bits"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "awq"}, {"bits", 8}}).find("8 bits"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "awq"}, {"version", "gemv"}}).find("'gemv'"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "awq"}, {"zero_point", false}}).find("zero points"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "gptq"}, {"group_size", 20}}).find("groups of 20"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "gptq"}, {"checkpoint_format", "marlin"}}).find("'marlin'"),
            std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "gptq"}, {"bits", "four"}}).find("bits"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "fp8"}, {"weight_block_size", {128}}}).find("weight_block_size"),
            std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "fp8"}, {"fmt", "e5m2"}}).find("e5m2"), std::string::npos);
  EXPECT_NE(refusal({{"quant_method", "compressed-tensors"}}).find("several kinds"), std::string::npos);
  const json eights = {{"group_0", {{"weights", {{"num_bits", 8}, {"type", "int"}}}}}};
  EXPECT_NE(
      refusal(
          {{"quant_method", "compressed-tensors"}, {"format", "int-quantized"}, {"config_groups", eights}})
          .find("'int-quantized'"),
      std::string::npos);
  EXPECT_NE(
      refusal(
          {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}, {"config_groups", eights}})
          .find("8 bits"),
      std::string::npos);
  EXPECT_FALSE(parse_quantisation(R"({"quantization_config": 4})", "f").ok());
}

// A GPTQ matrix of 16 outputs and 64 inputs in groups of 32, to be damaged.
struct Checkpoint {
  std::vector<SafetensorsEntry> entries = {
      {"m.qweight", "I32", {8, 16}, std::string(8 * 16 * 4, '\x53')},
      {"m.qzeros", "I32", {2, 2}, std::string(2 * 2 * 4, '\x77')},
      {"m.scales", "F16", {2, 16}, std::string(2 * 16 * 2, '\x20')},
      {"m.g_idx", "I32", {64}, indices([](int i) { return i / 32; })},
  };

  template <class Of>
  static std::string indices(const Of& of) {
    std::string bytes;
    for (int i = 0; i < 64; ++i) {
      const int32_t value = of(i);
      bytes.append(reinterpret_cast<const char*>(&value), 4);
    }
    return bytes;
  }
  SafetensorsEntry& entry(const std::string& name) {
    return *std::ranges::find(entries, "m." + name, &SafetensorsEntry::name);
  }
  void remove(const std::string& name) {
    std::erase_if(entries, [&](const auto& e) { return e.name == "m." + name; });
  }

  // What is wrong with the matrix; empty: nothing.
  std::string judge(Quantisation q = {
                        .scheme = WeightScheme::kGptq, .group = 32, .zeros_less_one = true}) const {
    const TempFolder folder;
    write_file(folder / "model.safetensors", safetensors_file(entries));
    auto opened = open_safetensors(folder.path());
    if (!opened.ok()) return opened.error().message;
    const auto tensors = read_quantised(std::move(*opened), q, "the folder");
    EXPECT_TRUE(tensors->has("m.weight"));
    const auto weight = tensors->matrix("m.weight", 16, 64);
    if (!weight.ok()) return weight.error().message;
    std::vector<float> row(64);
    for (int64_t r = 0; r < 16; ++r) dequantize_row(*weight, r, row.data());
    return "";
  }
};

TEST(QuantisedTensors, that_lie_are_found_out) {
  EXPECT_EQ(Checkpoint().judge(), "");
  const auto after = [](const auto& damage) {
    Checkpoint c;
    damage(c);
    return c.judge();
  };
  EXPECT_NE(after([](Checkpoint& c) {
              c.entry("qweight").shape = {16, 8};
            }).find("16 x 8"),
            std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) { c.entry("qweight").bytes.resize(100); }).find("100 bytes"),
            std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) { c.entry("qweight").type = "I64"; }).find("type I64"),
            std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) { c.remove("qzeros"); }).find("'m.qzeros'"), std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) { c.remove("scales"); }).find("'m.scales'"), std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) {
              c.entry("scales").shape = {16, 2};
            }).find("2 x 16"),
            std::string::npos);
  EXPECT_EQ(after([](Checkpoint& c) { c.remove("g_idx"); }), "");
  EXPECT_NE(after([](Checkpoint& c) {
              c.entry("g_idx").bytes = Checkpoint::indices([](int i) { return i / 30; });
            }).find("group 2; there are 2"),
            std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) {
              c.entry("g_idx").bytes = Checkpoint::indices([](int) { return -1; });
            }).find("group -1"),
            std::string::npos);
  EXPECT_NE(after([](Checkpoint& c) {
              c.entry("g_idx").bytes = Checkpoint::indices([](int i) { return i / 33; });
            }).find("another number of inputs"),
            std::string::npos);
  EXPECT_EQ(
      after([](Checkpoint& c) { c.entry("g_idx").bytes = Checkpoint::indices([](int i) { return i % 2; }); }),
      "");
  EXPECT_NE(Checkpoint()
                .judge({.scheme = WeightScheme::kGptq, .group = 64, .symmetric = true})
                .find("make it 1 x 16"),
            std::string::npos);
  EXPECT_NE(Checkpoint().judge({.scheme = WeightScheme::kAwq, .group = 32}).find("64 x 2"),
            std::string::npos);
}

TEST(QuantisedTensors, an_embedding_is_not_sorted) {
  Checkpoint c;
  c.entry("g_idx").bytes = Checkpoint::indices([](int i) { return i % 2; });
  for (SafetensorsEntry& entry : c.entries) entry.name.replace(0, 1, "embed_tokens");
  const TempFolder folder;
  write_file(folder / "model.safetensors", safetensors_file(c.entries));
  const auto tensors = read_quantised(std::move(*open_safetensors(folder.path())),
                                      {.scheme = WeightScheme::kGptq, .group = 32}, "f");
  const auto weight = tensors->matrix("embed_tokens.weight", 16, 64);
  ASSERT_FALSE(weight.ok());
  EXPECT_NE(weight.error().message.find("embedding"), std::string::npos);
}

TEST(QuantisedTensors, symmetric_ones_take_eight_for_zero_whatever_is_written) {
  const TempFolder folder;
  Checkpoint c;
  c.remove("qzeros");
  write_file(folder / "model.safetensors", safetensors_file(c.entries));
  const auto tensors = read_quantised(
      std::move(*open_safetensors(folder.path())),
      {.scheme = WeightScheme::kGptq, .group = 32, .symmetric = true, .zeros_less_one = true}, "f");
  const auto weight = tensors->matrix("m.weight", 16, 64);
  ASSERT_TRUE(weight.ok()) << weight.error().message;
  EXPECT_EQ(common_zero(*weight), 8);
  EXPECT_EQ(*tensors->format("m.weight", 16, 64), weight->format);
}

TEST(QuantisedTensors, f8_scales_must_fit_the_weight) {
  const auto error_of = [](std::vector<uint64_t> shape, Quantisation q, int64_t columns = 16) {
    uint64_t count = 1;
    for (const uint64_t extent : shape) count *= extent;
    const TempFolder folder;
    write_file(folder / "model.safetensors",
               safetensors_file({{"m.weight",
                                  "F8_E4M3",
                                  {8, static_cast<uint64_t>(columns)},
                                  std::string(static_cast<size_t>(8 * columns), '\x38')},
                                 {"m.weight_scale", "F32", shape, std::string(count * 4, '\x3f')}}));
    const auto tensors = read_quantised(std::move(*open_safetensors(folder.path())), q, "the folder");
    const auto weight = tensors->matrix("m.weight", 8, columns);
    return weight.ok() ? "" : weight.error().message;
  };
  const Quantisation plain{.scheme = WeightScheme::kF8};
  EXPECT_EQ(error_of({}, plain), "");
  EXPECT_EQ(error_of({1}, plain), "");
  EXPECT_EQ(error_of({8}, plain), "");
  EXPECT_EQ(error_of({8, 1}, plain), "");
  EXPECT_NE(error_of({16}, plain).find("1 x 16"), std::string::npos);
  EXPECT_NE(error_of({2, 4}, plain).find("2 x 4"), std::string::npos);
  EXPECT_EQ(error_of({2, 4}, {.scheme = WeightScheme::kF8, .block_rows = 4, .block_columns = 4}), "");
  EXPECT_NE(error_of({2, 4}, {.scheme = WeightScheme::kF8, .block_rows = 4, .block_columns = 8}), "");
  EXPECT_NE(error_of({8}, plain, 12).find("multiples of 8"), std::string::npos);
}

// A tiny model's matrices at 8 bits: nothing but the layers' is touched, and nothing is off by more than half
// a step of E4M3.
TEST(Quantisation, fp8_rounds_the_layers_of_plain_models_while_they_are_loaded) {
  const TempFolder folder;
  TinyShape shape;
  shape.format = WeightFormat::kBF16;
  write_tiny_directory(shape, folder.path());
  const auto plain = std::move(*open_model_files(folder.path()));
  auto files = std::move(*open_model_files(folder.path()));
  ASSERT_TRUE(quantise_as("fp8", files).ok());
  EXPECT_EQ(files.tensors->matrix("model.embed_tokens.weight", kTinyVocabulary, 64)->format,
            WeightFormat::kBF16);
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  const auto was = *plain.tensors->matrix(name, 64, 128), is = *files.tensors->matrix(name, 64, 128);
  ASSERT_EQ(is.format, WeightFormat::kF8);
  EXPECT_EQ(*files.tensors->format(name, 64, 128), WeightFormat::kF8);
  std::vector<float> want(128), got(128);
  for (int64_t r = 0; r < 64; ++r) {
    dequantize_row(was, r, want.data());
    dequantize_row(is, r, got.data());
    float largest = 0;
    for (const float w : want) largest = std::max(largest, std::fabs(w));
    for (size_t c = 0; c < 128; ++c) {
      ASSERT_LE(std::fabs(got[c] - want[c]), std::fabs(want[c]) / 16 + largest / 448 * 0x1p-10F)
          << "row " << r << " column " << c;
    }
  }
  auto again = std::move(*open_model_files(folder.path()));
  EXPECT_TRUE(quantise_as("", again).ok());
  EXPECT_EQ(again.tensors->matrix(name, 64, 128)->format, WeightFormat::kBF16);
  const auto refused = quantise_as("awq", again);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("not quantised"), std::string::npos);
  auto awq = std::move(*open_model_files("tests/golden/quantised/awq"));
  EXPECT_TRUE(quantise_as("awq", awq).ok());
  EXPECT_TRUE(quantise_as("awq_marlin", awq).ok());
  EXPECT_FALSE(quantise_as("fp8", awq).ok());
  auto f8 = std::move(*open_model_files("tests/golden/quantised/f8_rows"));
  EXPECT_TRUE(quantise_as("compressed-tensors", f8).ok());
}

}  // namespace
}  // namespace sluice
