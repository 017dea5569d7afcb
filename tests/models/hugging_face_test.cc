#include "models/hugging_face.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using nlohmann::json;

json good_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"num_hidden_layers", 2},
          {"hidden_size", 64},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 128},
          {"vocab_size", 320},
          {"max_position_embeddings", 512}};
}

Result<ModelConfig> parse(const json& config) {
  return parse_hugging_face_config(config.dump(), "config.json");
}

Result<ModelConfig> parse_with(const json& changes) {
  json config = good_config();
  config.update(changes);
  return parse(config);
}

TEST(HuggingFaceDirectory, opens_every_architecture_from_one_file_or_shards) {
  for (const char* architecture : {"llama", "qwen2", "qwen3"}) {
    for (const int shards : {1, 3}) {
      const TempFolder folder;
      const TinyShape shape{.architecture = architecture, .format = WeightFormat::kBF16};
      write_tiny_directory(shape, folder.path(), shards);
      const auto files = open_model_files(folder.path());
      ASSERT_TRUE(files.ok()) << files.error().message;
      EXPECT_EQ(files->config.architecture, architecture);
      EXPECT_EQ(files->config.rope.style, RopeStyle::kHalf);
      EXPECT_FALSE(files->config.tied_embedding);
      EXPECT_EQ(files->tokenizer.bos_token, "<|im_start|>");
      EXPECT_EQ(files->tokenizer.eos_token, "<|im_end|>");
      EXPECT_EQ(files->tokenizer.bos_id, 1);
      EXPECT_EQ(files->tokenizer.eos_ids, (std::vector<int32_t>{0, 2}));
      EXPECT_EQ(files->tokenizer.chat_template, tiny_chat_template());
      EXPECT_FALSE(files->tokenizer.tokenizer_json.empty());
      EXPECT_EQ(files->generation.temperature, 0.7F);
      EXPECT_FALSE(files->generation.top_p);
      const auto up = files->tensors->matrix("model.layers.1.mlp.up_proj.weight", 128, 64);
      ASSERT_TRUE(up.ok()) << up.error().message;
      EXPECT_EQ(up->format, WeightFormat::kBF16);
    }
  }
}

TEST(HuggingFaceDirectory, a_missing_head_means_that_the_embedding_is_tied) {
  const TempFolder folder;
  write_tiny_directory({.tied_embedding = true}, folder.path());
  json config = json::parse(read_file(folder / "config.json"));
  config["tie_word_embeddings"] = false;
  write_file(folder / "config.json", config.dump());
  const auto files = open_model_files(folder.path());
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_TRUE(files->config.tied_embedding);
}

TEST(HuggingFaceDirectory, a_folder_without_config_or_weights_says_so) {
  const TempFolder folder;
  EXPECT_EQ(open_model_files(folder.path()).error().code, ErrorCode::kNotFound);
  write_file(folder / "config.json", good_config().dump());
  EXPECT_NE(open_model_files(folder.path()).error().message.find("safetensors"), std::string::npos);
}

TEST(HuggingFaceConfig, fills_in_what_older_files_leave_out) {
  auto config = good_config();
  config.erase("num_key_value_heads");
  const auto parsed = parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->kv_heads, 4);
  EXPECT_EQ(parsed->head_size, 16);
  EXPECT_EQ(parsed->norm_eps, 1e-6F);
  EXPECT_EQ(parsed->rope.theta, 10000.0F);
  EXPECT_EQ(parsed->sliding_window, 0);
}

TEST(HuggingFaceConfig, reads_rope_scaling_in_its_old_and_new_spelling) {
  const json llama3 = {{"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  json old_form = llama3, new_form = llama3;
  old_form["type"] = "llama3";
  new_form["rope_type"] = "llama3";
  new_form["rope_theta"] = 5e5;
  for (const auto& parsed : {parse_with({{"rope_theta", 5e5}, {"rope_scaling", old_form}}),
                             parse_with({{"rope_parameters", new_form}})}) {
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(parsed->rope.theta, 5e5F);
    EXPECT_EQ(parsed->rope.scaling, RopeScaling::kLlama3);
    EXPECT_EQ(parsed->rope.factor, 8.0F);
    EXPECT_EQ(parsed->rope.original_context, 256);
    EXPECT_EQ(parsed->context_length, 512);
  }
  const auto linear = parse_with({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  ASSERT_TRUE(linear.ok());
  EXPECT_EQ(linear->rope.scaling, RopeScaling::kLinear);
  const auto yarn = parse_with(
      {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 512}}}});
  ASSERT_TRUE(yarn.ok());
  EXPECT_EQ(yarn->rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(yarn->context_length, 2048) << "stretched";
  EXPECT_EQ(yarn->rope.attention_factor, 0.0F) << "computed from the factor";
  const auto mscale = parse_with(
      {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"mscale", 1.0}, {"mscale_all_dim", 0.5}}}});
  ASSERT_TRUE(mscale.ok());
  EXPECT_NEAR(mscale->rope.attention_factor, (0.1 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1), 1e-6);
  for (const char* type : {"dynamic", "longrope", "su"}) {
    const auto other = parse_with({{"rope_scaling", {{"type", type}, {"factor", 2.0}}}});
    ASSERT_FALSE(other.ok());
    EXPECT_EQ(other.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(other.error().message.find(type), std::string::npos);
  }
}

TEST(HuggingFaceConfig, a_sliding_window_is_for_all_layers_or_none) {
  const auto window_of = [](json changes) {
    const auto parsed = parse_with(changes);
    return parsed.ok() ? parsed->sliding_window : -1;
  };
  const json mistral = {"MistralForCausalLM"}, qwen = {"Qwen2ForCausalLM"};
  EXPECT_EQ(window_of({{"architectures", mistral}, {"sliding_window", 128}}), 128);
  EXPECT_EQ(window_of({{"architectures", mistral}, {"sliding_window", nullptr}}), 0);
  EXPECT_EQ(window_of({{"architectures", qwen}, {"sliding_window", 128}, {"use_sliding_window", false}}), 0);
  EXPECT_EQ(window_of({{"architectures", qwen},
                       {"sliding_window", 128},
                       {"use_sliding_window", true},
                       {"max_window_layers", 0}}),
            128);
  EXPECT_EQ(window_of({{"architectures", qwen},
                       {"sliding_window", 128},
                       {"use_sliding_window", true},
                       {"max_window_layers", 2}}),
            0);
  EXPECT_EQ(window_of({{"architectures", qwen},
                       {"sliding_window", 128},
                       {"use_sliding_window", true},
                       {"max_window_layers", 1}}),
            -1);
}

TEST(HuggingFaceConfig, says_what_is_not_served) {
  const auto refused = [](json changes) {
    const auto parsed = parse_with(changes);
    EXPECT_FALSE(parsed.ok()) << changes;
    if (parsed.ok()) return std::string();
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported) << parsed.error().message;
    return parsed.error().message;
  };
  EXPECT_NE(refused({{"architectures", {"MixtralForCausalLM"}}}).find("known are LlamaForCausalLM"),
            std::string::npos);
  EXPECT_NE(refused({{"mlp_bias", true}}).find("mlp_bias"), std::string::npos);
  EXPECT_NE(refused({{"hidden_act", "relu"}}).find("relu"), std::string::npos);
  EXPECT_NE(refused({{"partial_rotary_factor", 0.5}}).find("part of each head"), std::string::npos);
}

TEST(HuggingFaceConfig, refuses_values_that_cannot_be) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
                          "intermediate_size", "vocab_size", "max_position_embeddings"}) {
    for (const json& value :
         {json(0), json(-1), json(1LL << 40), json("2"), json(2.5), json(json::array({2}))}) {
      const auto parsed = parse_with({{key, value}});
      ASSERT_FALSE(parsed.ok()) << key << " = " << value;
      EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt) << parsed.error().message;
    }
  }
  EXPECT_FALSE(parse_with({{"num_key_value_heads", 3}}).ok());
  EXPECT_FALSE(parse_with({{"head_dim", 6}}).ok());
  EXPECT_FALSE(parse_with({{"rms_norm_eps", -1}}).ok());
  EXPECT_FALSE(parse_with({{"rope_theta", 0}}).ok());
  EXPECT_FALSE(parse_hugging_face_config("{", "config.json").ok());
  EXPECT_FALSE(parse_hugging_face_config("[1]", "config.json").ok());
}

TEST(HuggingFaceTexts, prefers_the_template_file_then_the_default_of_a_named_list) {
  const std::string list =
      R"({"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})";
  const auto template_of = [](HuggingFaceTexts texts) {
    ModelFiles files;
    files.config.vocabulary = 320;
    EXPECT_TRUE(read_hugging_face_texts(texts, "m", files).ok());
    return files.tokenizer.chat_template;
  };
  EXPECT_EQ(template_of({.tokenizer_config = list}), "D");
  EXPECT_EQ(template_of({.tokenizer_config = list, .chat_template = "J"}), "J");
  EXPECT_EQ(template_of({.tokenizer_config = R"({"chat_template":[{"name":"tool_use","template":"T"}]})"}),
            "T");
  EXPECT_EQ(template_of({}), "");
}

TEST(HuggingFaceTexts, gathers_the_ends_of_an_answer_from_all_files) {
  ModelFiles files;
  files.config.vocabulary = 320;
  const HuggingFaceTexts texts{
      .config = R"({"eos_token_id": 7, "bos_token_id": null})",
      .generation_config = R"({"eos_token_id": [9, 8], "top_k": 20, "top_p": 0.8, "bos_token_id": 5})",
      .tokenizer_config =
          R"({"eos_token": {"content": "</s>"}, "added_tokens_decoder": {"3": {"content": "</s>"}, "x": 1}})",
      .special_tokens_map = R"({"bos_token": "<s>", "eos_token": "other"})"};
  const auto status = read_hugging_face_texts(texts, "m", files);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(files.tokenizer.eos_ids, (std::vector<int32_t>{3, 7, 8, 9}));
  EXPECT_EQ(files.tokenizer.bos_id, 5);
  EXPECT_EQ(files.tokenizer.eos_token, "</s>");
  EXPECT_EQ(files.tokenizer.bos_token, "<s>");
  EXPECT_EQ(files.generation.top_k, 20);
  EXPECT_EQ(files.generation.top_p, 0.8F);
}

TEST(HuggingFaceTexts, refuses_ids_beyond_the_vocabulary_and_knobs_out_of_range) {
  const auto refused = [](HuggingFaceTexts texts) {
    ModelFiles files;
    files.config.vocabulary = 320;
    return !read_hugging_face_texts(texts, "m", files).ok();
  };
  EXPECT_TRUE(refused({.config = R"({"eos_token_id": 320})"}));
  EXPECT_TRUE(refused({.config = R"({"eos_token_id": "2"})"}));
  EXPECT_TRUE(refused({.generation_config = R"({"top_p": 1.5})"}));
  EXPECT_TRUE(refused({.generation_config = R"({"temperature": -1})"}));
  EXPECT_TRUE(refused({.tokenizer_config = R"({"chat_template": 5})"}));
  EXPECT_TRUE(refused({.tokenizer_config = "not json"}));
  EXPECT_FALSE(refused({.config = R"({"eos_token_id": -1})"}));
}

}  // namespace
}  // namespace sluice
