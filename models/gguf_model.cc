#include "models/gguf_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/log.h"
#include "models/mapped_file.h"

namespace sluice {
namespace {

struct NamePair {
  std::string_view hugging_face;
  std::string_view gguf;
};

// Without the layer's prefix and without ".weight" or ".bias".
constexpr std::array kLayerNames = {
    NamePair{"input_layernorm", "attn_norm"},    NamePair{"post_attention_layernorm", "ffn_norm"},
    NamePair{"self_attn.q_proj", "attn_q"},      NamePair{"self_attn.k_proj", "attn_k"},
    NamePair{"self_attn.v_proj", "attn_v"},      NamePair{"self_attn.o_proj", "attn_output"},
    NamePair{"self_attn.q_norm", "attn_q_norm"}, NamePair{"self_attn.k_norm", "attn_k_norm"},
    NamePair{"mlp.gate_proj", "ffn_gate"},       NamePair{"mlp.up_proj", "ffn_up"},
    NamePair{"mlp.down_proj", "ffn_down"},
};
constexpr std::array kModelNames = {
    NamePair{"model.embed_tokens", "token_embd"},
    NamePair{"model.norm", "output_norm"},
    NamePair{"lm_head", "output"},
};

Error corrupt(const GgufFile& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file.file() + "' " + what};
}
Error unsupported(const GgufFile& file, const std::string& what) {
  return {ErrorCode::kUnsupported, "'" + file.file() + "' " + what};
}

class GgufTensors : public TensorSource {
 public:
  GgufTensors(std::string file, std::vector<StoredTensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {
    for (const auto& tensor : tensors_) total_bytes_ += tensor.bytes.size();
  }
  // The tensors lie in this mapping, which lives as long as they do.
  void keep(MappedFile mapping) { mapping_ = std::move(mapping); }

  bool has(std::string_view name) const override { return find(name) != nullptr; }
  Result<HostWeight> matrix(std::string_view name, int64_t rows, int64_t columns) const override {
    SLUICE_ASSIGN(const auto* tensor, get(name));
    return as_matrix(*tensor, rows, columns, file_);
  }
  Result<std::vector<float>> vector(std::string_view name, int64_t length) const override {
    SLUICE_ASSIGN(const auto* tensor, get(name));
    return as_vector(*tensor, length, file_);
  }
  size_t total_bytes() const override { return total_bytes_; }

 private:
  const StoredTensor* find(std::string_view name) const {
    const auto own_name = gguf_tensor_name(name);
    return own_name ? find_tensor(tensors_, *own_name) : nullptr;
  }
  Result<const StoredTensor*> get(std::string_view name) const {
    if (mapping_) SLUICE_TRY(mapping_->check_unchanged());
    if (const auto* tensor = find(name)) return tensor;
    return Error{ErrorCode::kCorrupt, "'" + file_ + "' has no tensor '" +
                                          gguf_tensor_name(name).value_or(std::string(name)) +
                                          "', which the model needs."};
  }

  std::string file_;
  std::vector<StoredTensor> tensors_;
  std::optional<MappedFile> mapping_;
  size_t total_bytes_ = 0;
};

// Reads the keys of one architecture, "llama.block_count"; remembers nothing.
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}
  std::string name(std::string_view key) const { return prefix_ + std::string(key); }

  Result<int> count(std::string_view key, std::optional<int64_t> absent = std::nullopt) const {
    SLUICE_ASSIGN(auto value, file_.integer(name(key)));
    if (!value) value = absent;
    if (!value) return corrupt(file_, "has no metadata key '" + name(key) + "'.");
    if (*value < 0 || *value > INT32_MAX) {
      return corrupt(file_, "has " + name(key) + " = " + std::to_string(*value) + ", which is out of range.");
    }
    return static_cast<int>(*value);
  }
  Result<std::optional<float>> number(std::string_view key) const {
    SLUICE_ASSIGN(const auto value, file_.number(name(key)));
    if (!value) return std::optional<float>();
    return std::optional<float>(static_cast<float>(*value));
  }
  Result<std::string> text(std::string_view key) const {
    SLUICE_ASSIGN(const auto value, file_.text(name(key)));
    return std::string(value.value_or(""));
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

Status read_rope(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  // llama.cpp's converter permutes Q and K of Llama so that rotated pairs lie side by side; the others keep
  // theirs.
  rope.style = config.architecture == "llama" ? RopeStyle::kInterleaved : RopeStyle::kHalf;
  SLUICE_ASSIGN(const auto theta, keys.number("rope.freq_base"));
  rope.theta = theta.value_or(10000.0F);
  SLUICE_ASSIGN(const int rotated, keys.count("rope.dimension_count", config.head_size));
  if (rotated != config.head_size) {
    return unsupported(file, "rotates " + std::to_string(rotated) + " of " +
                                 std::to_string(config.head_size) +
                                 " dimensions of a head; only models that rotate all of them are served.");
  }
  SLUICE_ASSIGN(std::string type, keys.text("rope.scaling.type"));
  SLUICE_ASSIGN(auto factor, keys.number("rope.scaling.factor"));
  if (!factor) {
    SLUICE_ASSIGN(factor, keys.number("rope.scale_linear"));  // the key of older files
    if (factor && type.empty()) type = "linear";
  }
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
  } else if (!type.empty() && type != "none") {
    return unsupported(
        file, "scales its rotary positions by '" + log::safe(type) + "'; known are none, linear and yarn.");
  }
  if (rope.scaling != RopeScaling::kNone) rope.factor = factor.value_or(1.0F);
  if (rope.factor == 0.0F) {  // how some files write "none"
    rope.factor = 1.0F;
    rope.scaling = RopeScaling::kNone;
  }
  if (rope.scaling == RopeScaling::kYarn) {
    SLUICE_ASSIGN(rope.original_context,
                  keys.count("rope.scaling.original_context_length", config.context_length));
    SLUICE_ASSIGN(const auto beta_fast, keys.number("rope.scaling.yarn_beta_fast"));
    SLUICE_ASSIGN(const auto beta_slow, keys.number("rope.scaling.yarn_beta_slow"));
    SLUICE_ASSIGN(const auto attention, keys.number("rope.scaling.attn_factor"));
    rope.beta_fast = beta_fast.value_or(rope.beta_fast);
    rope.beta_slow = beta_slow.value_or(rope.beta_slow);
    // GGUF's factor multiplies YaRN's own (arXiv:2309.00071, section 3.4); ours replaces it.
    if (attention && *attention != 1.0F)
      rope.attention_factor = *attention * (0.1F * std::log(rope.factor) + 1.0F);
  }
  if (const auto* divisors = find_tensor(file.tensors(), "rope_freqs.weight")) {
    SLUICE_ASSIGN(rope.frequency_divisors, as_vector(*divisors, config.head_size / 2, file.file()));
  }
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (find_tensor(file.tensors(), name) != nullptr) {
      return unsupported(file, std::string("has a tensor '") + name + "': LongRoPE is not known here.");
    }
  }
  return {};
}

Status read_heads(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  SLUICE_ASSIGN(config.query_heads, keys.count("attention.head_count"));
  SLUICE_ASSIGN(config.kv_heads, keys.count("attention.head_count_kv", config.query_heads));
  const int even_share = config.query_heads > 0 ? config.width / config.query_heads : 0;
  SLUICE_ASSIGN(config.head_size, keys.count("attention.key_length", even_share));
  SLUICE_ASSIGN(const int value_length, keys.count("attention.value_length", config.head_size));
  if (value_length != config.head_size) {
    return unsupported(file, "has keys of " + std::to_string(config.head_size) + " and values of " +
                                 std::to_string(value_length) + " numbers; both must be of one size.");
  }
  SLUICE_ASSIGN(config.sliding_window, keys.count("attention.sliding_window", 0));
  return {};
}

}  // namespace

std::optional<std::string> gguf_tensor_name(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view kind = name.substr(dot);
  if (kind != ".weight" && kind != ".bias") return std::nullopt;
  const std::string_view stem = name.substr(0, dot);
  for (const auto& pair : kModelNames) {
    if (stem == pair.hugging_face) return std::string(pair.gguf) + std::string(kind);
  }
  constexpr std::string_view kPrefix = "model.layers.";
  if (!stem.starts_with(kPrefix)) return std::nullopt;
  const std::string_view rest = stem.substr(kPrefix.size());
  const size_t end = rest.find('.');
  if (end == 0 || end == std::string_view::npos || rest.find_first_not_of("0123456789") != end)
    return std::nullopt;
  for (const auto& pair : kLayerNames) {
    if (rest.substr(end + 1) != pair.hugging_face) continue;
    return "blk." + std::string(rest.substr(0, end)) + "." + std::string(pair.gguf) + std::string(kind);
  }
  return std::nullopt;
}

Result<ModelConfig> gguf_config(const GgufFile& file) {
  ModelConfig config;
  SLUICE_ASSIGN(const auto pieces, file.integer("split.count"));
  if (pieces.value_or(0) > 1) {
    return unsupported(file, "is one of " + std::to_string(*pieces) +
                                 " pieces of a split model; join them into one file first "
                                 "(llama-gguf-split --merge).");
  }
  SLUICE_ASSIGN(const auto architecture, file.text("general.architecture"));
  if (!architecture) return corrupt(file, "has no metadata key 'general.architecture'.");
  config.architecture = *architecture;
  if (config.architecture != "llama" && config.architecture != "qwen2" && config.architecture != "qwen3") {
    return unsupported(file, "is of architecture '" + log::safe(config.architecture) +
                                 "'; known are llama, qwen2 and qwen3.");
  }
  SLUICE_ASSIGN(const auto name, file.text("general.name"));
  config.name = name.value_or("");

  const Keys keys(file, config.architecture);
  SLUICE_ASSIGN(const int experts, keys.count("expert_count", 0));
  if (experts > 0)
    return unsupported(
        file, "is a mixture of " + std::to_string(experts) + " experts; only dense models are served.");
  SLUICE_ASSIGN(config.layers, keys.count("block_count"));
  SLUICE_ASSIGN(config.width, keys.count("embedding_length"));
  SLUICE_ASSIGN(config.mlp_width, keys.count("feed_forward_length"));
  SLUICE_ASSIGN(config.context_length, keys.count("context_length"));
  SLUICE_ASSIGN(const auto epsilon, keys.number("attention.layer_norm_rms_epsilon"));
  if (!epsilon)
    return corrupt(file, "has no metadata key '" + keys.name("attention.layer_norm_rms_epsilon") + "'.");
  config.norm_eps = *epsilon;
  SLUICE_TRY(read_heads(file, keys, config));
  SLUICE_TRY(read_rope(file, keys, config));

  for (const char* tensor : {"blk.0.attn_output.bias", "blk.0.ffn_up.bias", "blk.0.attn_qkv.weight"}) {
    if (find_tensor(file.tensors(), tensor) != nullptr) {
      return unsupported(file, std::string("has a tensor '") + tensor + "', which no served model has.");
    }
  }
  const auto* embedding = find_tensor(file.tensors(), "token_embd.weight");
  if (embedding == nullptr) return corrupt(file, "has no tensor 'token_embd.weight'.");
  if (embedding->rows > INT32_MAX)
    return corrupt(file, "has an embedding of " + std::to_string(embedding->rows) + " rows.");
  config.vocabulary = static_cast<int>(embedding->rows);
  config.tied_embedding = find_tensor(file.tensors(), "output.weight") == nullptr;
  return config;
}

Result<ModelFiles> read_gguf(std::span<const std::byte> bytes, const std::string& name) {
  SLUICE_ASSIGN(auto file, GgufFile::parse(bytes, name));
  ModelFiles files;
  SLUICE_ASSIGN(files.config, gguf_config(file));
  if (auto status = check(files.config); !status)
    return corrupt(file, "cannot be served: " + status.error().message);
  SLUICE_ASSIGN(files.tokenizer, gguf_tokenizer(file));
  const auto& vocabulary = files.tokenizer.vocabulary;
  if (vocabulary && vocabulary->tokens.size() > static_cast<size_t>(files.config.vocabulary)) {
    return corrupt(file, "has " + std::to_string(vocabulary->tokens.size()) +
                             " tokens, but its embedding has only " +
                             std::to_string(files.config.vocabulary) + " rows.");
  }
  files.tensors = std::make_unique<GgufTensors>(name, file.take_tensors());
  files.path = name;
  files.quantised_by = "gguf";
  return files;
}

Result<ModelFiles> open_gguf(const std::string& path) {
  SLUICE_ASSIGN(auto mapping, MappedFile::open(path));
  SLUICE_ASSIGN(auto files, read_gguf(mapping.bytes(), path));
  static_cast<GgufTensors&>(*files.tensors).keep(std::move(mapping));
  return files;
}

}  // namespace sluice
