#include "tests/support/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/hash.h"
#include "kernels/quant_blocks.h"
#include "kernels/random.h"
#include "models/gguf_model.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_folder.h"

namespace sluice {
namespace {

using nlohmann::json;

struct Tensor {
  std::string name;  // Hugging Face's
  int64_t rows = 0;  // 0: a vector
  int64_t columns = 0;
  float mean = 0;
  float deviation = 1;
};

std::vector<Tensor> tensors_of(const TinyShape& shape) {
  const int64_t q = static_cast<int64_t>(shape.query_heads) * shape.head_size;
  const int64_t kv = static_cast<int64_t>(shape.kv_heads) * shape.head_size;
  std::vector<Tensor> tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    tensors.push_back({name + ".weight", rows, columns, 0.0F, 1.5F / std::sqrt(static_cast<float>(columns))});
  };
  const auto scale = [&](const std::string& name, int64_t length) {
    tensors.push_back({name + ".weight", 0, length, 1.0F, 0.1F});
  };
  tensors.push_back({"model.embed_tokens.weight", kTinyVocabulary, shape.width, 0.0F, 1.0F});
  for (int layer = 0; layer < shape.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    scale(prefix + "input_layernorm", shape.width);
    matrix(prefix + "self_attn.q_proj", q, shape.width);
    matrix(prefix + "self_attn.k_proj", kv, shape.width);
    matrix(prefix + "self_attn.v_proj", kv, shape.width);
    if (shape.architecture == "qwen2") {
      tensors.push_back({prefix + "self_attn.q_proj.bias", 0, q, 0.0F, 0.2F});
      tensors.push_back({prefix + "self_attn.k_proj.bias", 0, kv, 0.0F, 0.2F});
      tensors.push_back({prefix + "self_attn.v_proj.bias", 0, kv, 0.0F, 0.2F});
    }
    if (shape.architecture == "qwen3") {
      scale(prefix + "self_attn.q_norm", shape.head_size);
      scale(prefix + "self_attn.k_norm", shape.head_size);
    }
    matrix(prefix + "self_attn.o_proj", shape.width, q);
    scale(prefix + "post_attention_layernorm", shape.width);
    matrix(prefix + "mlp.gate_proj", shape.mlp_width, shape.width);
    matrix(prefix + "mlp.up_proj", shape.mlp_width, shape.width);
    matrix(prefix + "mlp.down_proj", shape.width, shape.mlp_width);
  }
  scale("model.norm", shape.width);
  if (!shape.tied_embedding) matrix("lm_head", kTinyVocabulary, shape.width);
  return tensors;
}

// A tensor's numbers depend on the seed and its name alone.
std::vector<float> values_of(const TinyShape& shape, const Tensor& tensor) {
  const uint64_t seed = hash_bytes(tensor.name.data(), tensor.name.size(), shape.seed);
  std::vector<float> values(static_cast<size_t>(std::max<int64_t>(tensor.rows, 1) * tensor.columns));
  for (size_t i = 0; i < values.size(); ++i) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - random_uniform(seed, 2 * i)));
    const double angle = 6.283185307179586 * random_uniform(seed, 2 * i + 1);
    values[i] = tensor.mean + tensor.deviation * static_cast<float>(radius * std::cos(angle));
  }
  return values;
}

WeightFormat format_in_file(const TinyShape& shape, const Tensor& tensor) {
  return tensor.rows == 0 ? WeightFormat::kF32 : shape.format;
}

bool is_k_format(WeightFormat format) {
  return facts_of(format).block_weights == 256;
}

// Random blocks with scales small enough for weights around 1 / sqrt(columns).
std::string random_blocks(WeightFormat format, size_t blocks, uint64_t seed) {
  const auto size = static_cast<size_t>(facts_of(format).block_bytes);
  std::string bytes(blocks * size, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random_bits(seed, i));
  // Where each format keeps its f16 scales: tests/golden/make_quant_golden.py.
  std::vector<size_t> halves;
  float mean = 0.00035F;
  switch (format) {
    case WeightFormat::kQ2_K:
      halves = {80, 82}, mean = 0.01F;
      break;
    case WeightFormat::kQ3_K:
      halves = {108}, mean = 0.002F;
      break;
    case WeightFormat::kQ6_K:
      halves = {208}, mean = 0.00006F;
      break;
    default:
      halves = {0, 2};
      break;
  }
  for (size_t block = 0; block < blocks; ++block) {
    for (const size_t half : halves) {
      const auto scale =
          f32_to_f16(mean * static_cast<float>(0.5 + random_uniform(seed ^ 1, block * 256 + half)));
      std::memcpy(bytes.data() + block * size + half, &scale, sizeof(scale));
    }
  }
  return bytes;
}

std::string encode(const TinyShape& shape, const Tensor& tensor, WeightFormat format) {
  const auto facts = facts_of(format);
  const auto count = static_cast<size_t>(std::max<int64_t>(tensor.rows, 1) * tensor.columns);
  SLUICE_CHECK_EQ(tensor.columns % facts.block_weights, 0);
  if (is_k_format(format)) {
    const uint64_t seed = hash_bytes(tensor.name.data(), tensor.name.size(), shape.seed);
    return random_blocks(format, count / static_cast<size_t>(facts.block_weights), seed);
  }
  const auto values = values_of(shape, tensor);
  std::string bytes(count / static_cast<size_t>(facts.block_weights) * static_cast<size_t>(facts.block_bytes),
                    '\0');
  quantize(format, values.data(), static_cast<int64_t>(count), reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

// llama.cpp's converter moves row j * D/2 + i of a head (j = 0, 1) to row 2i + j, for Llama's Q and K.
std::string interleave_heads(const std::string& bytes, int64_t rows, int head_size) {
  const size_t row_bytes = bytes.size() / static_cast<size_t>(rows);
  const auto half = static_cast<size_t>(head_size) / 2;
  std::string out(bytes.size(), '\0');
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const size_t head = row / (2 * half) * (2 * half);
    const size_t in_head = row % (2 * half);
    const size_t to = head + (in_head % half) * 2 + in_head / half;
    std::copy_n(bytes.data() + row * row_bytes, row_bytes, out.data() + to * row_bytes);
  }
  return out;
}

std::string utf8(uint32_t code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// GPT-2's alphabet: printable bytes stand for themselves, the others for code points from 256 on.
std::vector<std::string> byte_letters() {
  std::vector<std::string> letters;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    letters.push_back(utf8(printable ? byte : next++));
  }
  return letters;
}

json tokenizer_json(const TinyVocabulary& vocabulary) {
  json vocab = json::object();
  json added = json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (id < 3) {
      added.push_back({{"id", id},
                       {"content", vocabulary.tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    }
    vocab[vocabulary.tokens[id]] = id;
  }
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocab},
            {"merges", vocabulary.merges}}}};
}

json config_json(const TinyShape& shape) {
  const std::map<std::string, std::string> classes = {
      {"llama", "LlamaForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}};
  return {{"architectures", {classes.at(shape.architecture)}},
          {"model_type", shape.architecture},
          {"num_hidden_layers", shape.layers},
          {"hidden_size", shape.width},
          {"num_attention_heads", shape.query_heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_size},
          {"intermediate_size", shape.mlp_width},
          {"vocab_size", kTinyVocabulary},
          {"max_position_embeddings", shape.context_length},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", shape.tied_embedding},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

}  // namespace

TinyVocabulary tiny_vocabulary() {
  TinyVocabulary result;
  const auto letters = byte_letters();
  const std::string space = letters[' '];
  result.tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  result.types = {3, 3, 3};
  result.tokens.insert(result.tokens.end(), letters.begin(), letters.end());
  const std::pair<std::string, std::string> pairs[] = {
      {"t", "h"},   {"i", "n"},  {"e", "r"},     {"a", "n"},    {"o", "n"}, {"r", "e"},   {space, "t"},
      {space, "a"}, {"th", "e"}, {space, "th"},  {"o", "u"},    {"i", "s"}, {"a", "t"},   {"e", "s"},
      {space, "s"}, {"in", "g"}, {"an", "d"},    {space, "w"},  {"e", "n"}, {space, "c"}, {"o", "r"},
      {"i", "t"},   {"l", "l"},  {space, "the"}, {space, "and"}};
  for (const auto& [left, right] : pairs) {
    result.merges.push_back(left + " " + right);
    result.tokens.push_back(left + right);
  }
  result.types.resize(result.tokens.size(), 1);
  for (int unused = 0; result.tokens.size() < kTinyVocabulary; ++unused) {
    result.tokens.push_back("<unused" + std::to_string(unused) + ">");
    result.types.push_back(5);
  }
  return result;
}

std::string tiny_chat_template() {
  return "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
         "'<|im_end|>' + '\n'}}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
}

std::string tiny_gguf(const TinyShape& shape) {
  GgufWriter writer;
  const std::string prefix = shape.architecture + ".";
  const auto count = [](int value) { return static_cast<uint32_t>(value); };
  writer.add("general.architecture", shape.architecture);
  writer.add("general.name", "tiny");
  writer.add(prefix + "block_count", count(shape.layers));
  writer.add(prefix + "embedding_length", count(shape.width));
  writer.add(prefix + "feed_forward_length", count(shape.mlp_width));
  writer.add(prefix + "context_length", count(shape.context_length));
  writer.add(prefix + "attention.head_count", count(shape.query_heads));
  writer.add(prefix + "attention.head_count_kv", count(shape.kv_heads));
  writer.add(prefix + "attention.key_length", count(shape.head_size));
  writer.add(prefix + "attention.value_length", count(shape.head_size));
  writer.add(prefix + "rope.dimension_count", count(shape.head_size));
  writer.add(prefix + "rope.freq_base", 10000.0F);
  writer.add(prefix + "attention.layer_norm_rms_epsilon", 1e-5F);
  const auto vocabulary = tiny_vocabulary();
  writer.add("tokenizer.ggml.model", "gpt2");
  writer.add("tokenizer.ggml.pre", "gpt-2");
  writer.add("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.add("tokenizer.ggml.token_type", vocabulary.types);
  writer.add("tokenizer.ggml.merges", vocabulary.merges);
  writer.add("tokenizer.ggml.bos_token_id", 1U);
  writer.add("tokenizer.ggml.eos_token_id", 2U);
  writer.add("tokenizer.ggml.add_bos_token", false);
  writer.add("tokenizer.chat_template", tiny_chat_template());
  for (const auto& tensor : tensors_of(shape)) {
    const auto format = format_in_file(shape, tensor);
    std::string bytes = encode(shape, tensor, format);
    const bool rotated = tensor.name.ends_with("q_proj.weight") || tensor.name.ends_with("k_proj.weight");
    if (shape.architecture == "llama" && rotated)
      bytes = interleave_heads(bytes, tensor.rows, shape.head_size);
    std::vector<uint64_t> dimensions = {static_cast<uint64_t>(tensor.columns)};
    if (tensor.rows > 0) dimensions.push_back(static_cast<uint64_t>(tensor.rows));
    writer.add_tensor(gguf_tensor_name(tensor.name).value(), format, dimensions, std::move(bytes));
  }
  return writer.finish();
}

void write_tiny_gguf(const TinyShape& shape, const std::string& path) {
  write_file(path, tiny_gguf(shape));
}

std::string safetensors_file(const std::vector<SafetensorsEntry>& entries) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& entry : entries) {
    header[entry.name] = {{"dtype", entry.type},
                          {"shape", entry.shape},
                          {"data_offsets", {data.size(), data.size() + entry.bytes.size()}}};
    data += entry.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + text + data;
}

void write_tiny_directory(const TinyShape& shape, const std::string& folder, int shards) {
  SLUICE_CHECK(shape.format == WeightFormat::kF32 || shape.format == WeightFormat::kF16 ||
               shape.format == WeightFormat::kBF16);
  std::vector<std::vector<SafetensorsEntry>> files(static_cast<size_t>(shards));
  json weight_map = json::object();
  size_t total_size = 0;
  const auto shard_name = [&](size_t shard) {
    return shards == 1
               ? std::string("model.safetensors")
               : "model-" + std::to_string(shard + 1) + "-of-" + std::to_string(shards) + ".safetensors";
  };
  const auto tensors = tensors_of(shape);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& tensor = tensors[i];
    const size_t shard = i * files.size() / tensors.size();
    std::vector<uint64_t> dimensions = {static_cast<uint64_t>(tensor.columns)};
    if (tensor.rows > 0) dimensions.insert(dimensions.begin(), static_cast<uint64_t>(tensor.rows));
    const auto format = format_in_file(shape, tensor);
    files[shard].push_back(
        {tensor.name, std::string(facts_of(format).name), dimensions, encode(shape, tensor, format)});
    weight_map[tensor.name] = shard_name(shard);
    total_size += files[shard].back().bytes.size();
  }
  for (size_t shard = 0; shard < files.size(); ++shard)
    write_file(folder + "/" + shard_name(shard), safetensors_file(files[shard]));
  if (shards > 1)
    write_file(folder + "/model.safetensors.index.json",
               json{{"metadata", {{"total_size", total_size}}}, {"weight_map", weight_map}}.dump(1));

  write_file(folder + "/config.json", config_json(shape).dump(1));
  write_file(folder + "/tokenizer.json", tokenizer_json(tiny_vocabulary()).dump(1));
  const json flags = {
      {"lstrip", false}, {"normalized", false}, {"rstrip", false}, {"single_word", false}, {"special", true}};
  json added = json::object();
  for (size_t id = 0; id < 3; ++id) {
    added[std::to_string(id)] = flags;
    added[std::to_string(id)]["content"] = tiny_vocabulary().tokens[id];
  }
  json end = added["2"];
  end["__type"] = "AddedToken";
  const json tokenizer_config = {
      {"bos_token", "<|im_start|>"},           {"eos_token", end},
      {"unk_token", "<|endoftext|>"},          {"added_tokens_decoder", added},
      {"chat_template", tiny_chat_template()}, {"tokenizer_class", "PreTrainedTokenizerFast"}};
  write_file(folder + "/tokenizer_config.json", tokenizer_config.dump(1));
  write_file(folder + "/generation_config.json",
             json{{"bos_token_id", 1}, {"eos_token_id", {2, 0}}, {"temperature", 0.7}}.dump(1));
}

}  // namespace sluice
