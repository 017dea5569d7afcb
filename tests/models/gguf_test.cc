#include "models/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "kernels/quant_blocks.h"
#include "models/gguf_model.h"
#include "models/model_files.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

// A copy of exactly the size, so that a sanitizer sees a read past its end.
std::vector<std::byte> exact(const std::string& bytes) {
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  return {begin, begin + bytes.size()};
}

Result<ModelFiles> read(const std::string& bytes) {
  const auto copy = exact(bytes);
  auto files = read_gguf(copy, "tiny.gguf");
  if (files.ok()) files->tensors.reset();  // its views end with `copy`
  return files;
}

std::string error_of(const std::string& bytes) {
  const auto files = read(bytes);
  return files.ok() ? "" : files.error().message;
}

TEST(Gguf, reads_configuration_and_tokenizer_of_every_architecture) {
  for (const char* architecture : {"llama", "qwen2", "qwen3"}) {
    const TinyShape shape{.architecture = architecture, .tied_embedding = true};
    const auto files = read(tiny_gguf(shape));
    ASSERT_TRUE(files.ok()) << files.error().message;
    const auto& config = files->config;
    EXPECT_EQ(config.architecture, architecture);
    EXPECT_EQ(config.layers, shape.layers);
    EXPECT_EQ(config.width, shape.width);
    EXPECT_EQ(config.query_heads, shape.query_heads);
    EXPECT_EQ(config.kv_heads, shape.kv_heads);
    EXPECT_EQ(config.head_size, shape.head_size);
    EXPECT_EQ(config.mlp_width, shape.mlp_width);
    EXPECT_EQ(config.vocabulary, kTinyVocabulary);
    EXPECT_EQ(config.context_length, shape.context_length);
    EXPECT_TRUE(config.tied_embedding);
    EXPECT_EQ(config.rope.style, shape.architecture == "llama" ? RopeStyle::kInterleaved : RopeStyle::kHalf);
    const auto& tokenizer = files->tokenizer;
    ASSERT_TRUE(tokenizer.vocabulary);
    EXPECT_EQ(tokenizer.vocabulary->tokens, tiny_vocabulary().tokens);
    EXPECT_EQ(tokenizer.vocabulary->merges, tiny_vocabulary().merges);
    EXPECT_EQ(tokenizer.bos_token, "<|im_start|>");
    EXPECT_EQ(tokenizer.eos_token, "<|im_end|>");
    EXPECT_EQ(tokenizer.eos_ids, (std::vector<int32_t>{0, 2})) << "the end token and <|endoftext|>";
    EXPECT_EQ(tokenizer.chat_template, tiny_chat_template());
  }
}

TEST(Gguf, gives_every_tensor_by_its_hugging_face_name) {
  const TempFolder folder;
  for (const auto format :
       {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
        WeightFormat::kQ5_0, WeightFormat::kQ5_1, WeightFormat::kQ8_0, WeightFormat::kQ2_K,
        WeightFormat::kQ3_K, WeightFormat::kQ4_K, WeightFormat::kQ5_K, WeightFormat::kQ6_K}) {
    const TinyShape shape{.architecture = "qwen3",
                          .layers = 1,
                          .width = 256,
                          .query_heads = 8,
                          .head_size = 32,
                          .mlp_width = 256,
                          .format = format};
    write_tiny_gguf(shape, folder / "tiny.gguf");
    const auto files = open_model_files(folder / "tiny.gguf");
    ASSERT_TRUE(files.ok()) << files.error().message;
    const auto down = files->tensors->matrix("model.layers.0.mlp.down_proj.weight", 256, 256);
    ASSERT_TRUE(down.ok()) << down.error().message;
    EXPECT_EQ(down->format, format);
    float sum_of_squares = 0;
    std::vector<float> row(256);
    dequantize(format, down->bytes, 256, row.data());
    for (const float weight : row) sum_of_squares += weight * weight;
    EXPECT_GT(sum_of_squares, 0.01F);
    EXPECT_LT(sum_of_squares, 100.0F);
    const auto norm = files->tensors->vector("model.layers.0.self_attn.q_norm.weight", 32);
    ASSERT_TRUE(norm.ok()) << norm.error().message;
    EXPECT_NEAR((*norm)[0], 1.0F, 0.6F);
    EXPECT_TRUE(files->tensors->has("lm_head.weight"));
    EXPECT_FALSE(files->tensors->has("model.layers.1.mlp.down_proj.weight"));
    EXPECT_FALSE(files->tensors->has("token_embd.weight"));
  }
}

TEST(Gguf, says_which_tensor_is_missing_or_has_another_shape) {
  const TempFolder folder;
  write_tiny_gguf({}, folder / "tiny.gguf");
  const auto files = open_gguf(folder / "tiny.gguf");
  ASSERT_TRUE(files.ok());
  const auto missing = files->tensors->matrix("model.layers.7.mlp.down_proj.weight", 64, 128);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("blk.7.ffn_down.weight"), std::string::npos);
  const auto other = files->tensors->matrix("model.layers.0.mlp.down_proj.weight", 128, 64);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(other.error().message.find("64 x 128"), std::string::npos);
}

TEST(Gguf, notices_that_the_file_was_cut_off_after_it_was_opened) {
  const TempFolder folder;
  write_tiny_gguf({}, folder / "tiny.gguf");
  const auto files = open_gguf(folder / "tiny.gguf");
  ASSERT_TRUE(files.ok());
  std::filesystem::resize_file(folder / "tiny.gguf", 4096);
  const auto weight = files->tensors->matrix("model.layers.0.mlp.down_proj.weight", 64, 128);
  ASSERT_FALSE(weight.ok());
  EXPECT_NE(weight.error().message.find("changed its size"), std::string::npos);
}

TEST(Gguf, reads_version_2_and_names_the_versions_that_it_does_not_read) {
  std::string bytes = tiny_gguf({});
  const auto with_version = [&](uint32_t version) {
    std::memcpy(bytes.data() + 4, &version, 4);
    return error_of(bytes);
  };
  EXPECT_EQ(with_version(2), "");
  EXPECT_NE(with_version(1).find("version 1"), std::string::npos);
  EXPECT_NE(with_version(4).find("version 4"), std::string::npos);
  EXPECT_NE(with_version(0x03000000).find("big-endian"), std::string::npos);
  EXPECT_NE(error_of("PK\3\4 not a model").find("does not begin with 'GGUF'"), std::string::npos);
}

TEST(Gguf, names_tensor_and_type_when_no_kernel_knows_the_type) {
  for (const auto& [number, name] : {std::pair<uint32_t, std::string>{23, "IQ4_XS"},
                                     {9, "Q8_1"},
                                     {39, "MXFP4"},
                                     {4, "number 4"},
                                     {77, "number 77"}}) {
    GgufWriter writer;
    writer.add("general.architecture", "llama");
    writer.add_tensor("blk.0.attn_q.weight", number, {256, 1}, std::string(256, '\0'));
    const auto files = read(writer.finish());
    ASSERT_FALSE(files.ok());
    EXPECT_EQ(files.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(files.error().message.find("blk.0.attn_q.weight"), std::string::npos) << files.error().message;
    EXPECT_NE(files.error().message.find(name), std::string::npos) << files.error().message;
  }
}

TEST(Gguf, refuses_architectures_that_are_not_served_with_the_known_list) {
  GgufWriter writer;
  writer.add("general.architecture", "gemma3");
  const auto files = read(writer.finish());
  ASSERT_FALSE(files.ok());
  EXPECT_EQ(files.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(files.error().message,
            "'tiny.gguf' is of architecture 'gemma3'; known are llama, qwen2 and qwen3.");
}

TEST(Gguf, a_piece_of_a_split_model_says_that_it_is_one) {
  GgufWriter writer;
  writer.add("general.architecture", "llama");
  writer.add("split.count", 3U);
  EXPECT_NE(error_of(writer.finish()).find("one of 3 pieces"), std::string::npos);
}

TEST(Gguf, reads_rope_scaling_and_frequency_divisors) {
  const auto rope_of = [](const std::function<void(GgufWriter&)>& more) {
    GgufWriter writer;
    for (const char* key : {"block_count", "feed_forward_length", "attention.head_count"})
      writer.add(std::string("llama.") + key, 1U);
    writer.add("llama.embedding_length", 8U);
    writer.add("llama.context_length", 64U);
    writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    writer.add("general.architecture", "llama");
    writer.add_tensor("token_embd.weight", WeightFormat::kF32, {8, 1}, std::string(32, '\0'));
    more(writer);
    const auto files = read(writer.finish());
    EXPECT_TRUE(files.ok()) << files.error().message;
    return files.ok() ? files->config.rope : RopeConfig{};
  };
  const auto linear = rope_of([](GgufWriter& w) { w.add("llama.rope.scale_linear", 4.0F); });
  EXPECT_EQ(linear.scaling, RopeScaling::kLinear);
  EXPECT_EQ(linear.factor, 4.0F);
  const auto yarn = rope_of([](GgufWriter& w) {
    w.add("llama.rope.scaling.type", "yarn");
    w.add("llama.rope.scaling.factor", 4.0F);
    w.add("llama.rope.scaling.original_context_length", 16U);
  });
  EXPECT_EQ(yarn.scaling, RopeScaling::kYarn);
  EXPECT_EQ(yarn.original_context, 16);
  const auto divisors = rope_of([](GgufWriter& w) {
    const float values[] = {1, 1, 2, 8};
    w.add_tensor("rope_freqs.weight", WeightFormat::kF32, {4},
                 std::string(reinterpret_cast<const char*>(values), sizeof(values)));
  });
  EXPECT_EQ(divisors.scaling, RopeScaling::kNone);
  EXPECT_EQ(divisors.frequency_divisors, (std::vector<float>{1, 1, 2, 8}));
}

TEST(Gguf, refuses_two_tensors_or_keys_of_one_name_and_tensors_that_share_bytes) {
  GgufWriter tensors;
  tensors.add("general.architecture", "llama");
  tensors.add_tensor("a", WeightFormat::kF32, {8}, std::string(32, 'x'));
  tensors.add_tensor("a", WeightFormat::kF32, {8}, std::string(32, 'x'));
  EXPECT_EQ(error_of(tensors.finish()), "'tiny.gguf' has the tensor 'a' twice.");

  GgufWriter keys;
  keys.add("general.architecture", "llama");
  keys.add("general.architecture", "llama");
  EXPECT_EQ(error_of(keys.finish()), "'tiny.gguf' has the metadata key 'general.architecture' twice.");

  GgufWriter shared;
  shared.add("general.architecture", "llama");
  shared.add_tensor("a", WeightFormat::kF32, {16}, std::string(64, 'x'));
  shared.add_tensor("b", WeightFormat::kF32, {8}, std::string(32, 'x'));
  std::string bytes = shared.finish();
  for (const auto& field : shared.fields()) {
    const uint64_t offset = 32;
    if (field.name == "b offset") std::memcpy(bytes.data() + field.place, &offset, 8);
  }
  EXPECT_EQ(error_of(bytes), "'tiny.gguf' tensors 'a' and 'b' share bytes.");
}

TEST(Gguf, a_dimension_product_beyond_64_bits_is_refused) {
  GgufWriter writer;
  writer.add("general.architecture", "llama");
  writer.add_tensor("a", WeightFormat::kF32, {1ULL << 32, 1ULL << 32, 1ULL << 32}, std::string(32, 'x'));
  EXPECT_NE(error_of(writer.finish()).find("'a'"), std::string::npos);
  GgufWriter wrapping;  // 2^62 * 4 bytes is 0 in 64 bits
  wrapping.add("general.architecture", "llama");
  wrapping.add_tensor("a", WeightFormat::kF32, {1ULL << 62}, std::string(32, 'x'));
  EXPECT_NE(error_of(wrapping.finish()).find("cannot be of type F32"), std::string::npos);
}

TEST(Gguf, more_tokens_than_embedding_rows_are_refused) {
  GgufWriter writer;
  for (const char* key :
       {"block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count"}) {
    writer.add(std::string("llama.") + key, 4U);
  }
  writer.add("llama.attention.key_length", 4U);
  writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  writer.add("general.architecture", "llama");
  writer.add("tokenizer.ggml.model", "gpt2");
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c"});
  writer.add_tensor("token_embd.weight", WeightFormat::kF32, {4, 2}, std::string(32, '\0'));
  EXPECT_EQ(error_of(writer.finish()), "'tiny.gguf' has 3 tokens, but its embedding has only 2 rows.");
}

// Whatever number of the file's structure lies: an answer, never a crash (run it under the sanitizers).
TEST(Gguf, survives_every_structural_number_at_its_extremes) {
  GgufWriter writer;
  writer.add("general.architecture", "llama");
  for (const char* key : {"block_count", "embedding_length", "feed_forward_length", "context_length",
                          "attention.head_count", "attention.head_count_kv", "rope.dimension_count"}) {
    writer.add(std::string("llama.") + key, 4U);
  }
  writer.add("llama.attention.key_length", 4U);
  writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  writer.add("llama.rope.freq_base", 10000.0F);
  writer.add("general.alignment", 32U);
  writer.add("tokenizer.ggml.model", "gpt2");
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  writer.add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 3});
  writer.add("tokenizer.ggml.scores", std::vector<float>{0, 1});
  writer.add("tokenizer.ggml.eos_token_id", 1U);
  writer.add_tensor("token_embd.weight", WeightFormat::kF32, {4, 2}, std::string(32, '\0'));
  writer.add_tensor("blk.0.ffn_up.weight", WeightFormat::kQ4_1, {32, 2}, std::string(40, '\0'));
  const std::string good = writer.finish();
  ASSERT_EQ(error_of(good), "");
  int refused = 0, tried = 0;
  for (const auto& field : writer.fields()) {
    const uint64_t most = field.size == 4 ? UINT32_MAX : UINT64_MAX;
    for (const uint64_t value :
         {uint64_t{0}, uint64_t{1}, most, most - 1, most / 2, most / 2 + 1, uint64_t{good.size()}}) {
      std::string bytes = good;
      std::memcpy(bytes.data() + field.place, &value, field.size);
      ++tried;
      refused += read(bytes).ok() ? 0 : 1;
    }
  }
  EXPECT_GT(tried, 300);
  EXPECT_GT(refused, tried / 2);
}

TEST(Gguf, a_file_cut_off_anywhere_is_refused) {
  const TinyShape shape{
      .layers = 1, .width = 16, .query_heads = 2, .kv_heads = 1, .head_size = 8, .mlp_width = 16};
  const std::string good = tiny_gguf(shape);
  ASSERT_EQ(error_of(good), "");
  for (size_t size = 0; size < good.size(); size += 61) ASSERT_NE(error_of(good.substr(0, size)), "") << size;
  ASSERT_NE(error_of(good.substr(0, good.size() - 1)), "");
}

TEST(GgufTensorName, translates_what_the_table_has_and_nothing_else) {
  EXPECT_EQ(gguf_tensor_name("model.layers.12.self_attn.q_proj.bias"), "blk.12.attn_q.bias");
  EXPECT_EQ(gguf_tensor_name("model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(gguf_tensor_name("lm_head.weight"), "output.weight");
  for (const char* wrong :
       {"", ".weight", "model.layers..mlp.up_proj.weight", "model.layers.1a.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj", "model.layers.1", "blk.0.attn_q.weight"}) {
    EXPECT_EQ(gguf_tensor_name(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace sluice
