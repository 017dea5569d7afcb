// The part of models/hugging_face.h that turns config.json into a ModelConfig.
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "models/hugging_face.h"
#include "models/json_fields.h"

namespace sluice {
namespace {

using nlohmann::json;

struct KnownArchitecture {
  std::string_view class_name;  // config.json's architectures[0]
  std::string_view model_type;
  std::string_view ours;
};
constexpr std::array kArchitectures = {
    KnownArchitecture{"LlamaForCausalLM", "llama", "llama"},
    KnownArchitecture{"MistralForCausalLM", "mistral", "llama"},
    KnownArchitecture{"Qwen2ForCausalLM", "qwen2", "qwen2"},
    KnownArchitecture{"Qwen3ForCausalLM", "qwen3", "qwen3"},
};

Error corrupt(const std::string& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file + "' " + what};
}
Error unsupported(const std::string& file, const std::string& what) {
  return {ErrorCode::kUnsupported, "'" + file + "' " + what};
}

Result<KnownArchitecture> read_architecture(const JsonFields& fields) {
  std::string name;
  const auto* list = fields.find("architectures");
  if (list != nullptr && list->is_array() && !list->empty() && list->front().is_string()) {
    name = list->front().get_ref<const std::string&>();
  }
  if (name.empty()) {
    SLUICE_ASSIGN(const auto type, fields.text("model_type"));
    name = type.value_or("");
  }
  for (const auto& known : kArchitectures) {
    if (name == known.class_name || name == known.model_type) return known;
  }
  if (name.empty()) return corrupt(fields.file(), "names no architecture.");
  return unsupported(
      fields.file(),
      "is for a model of architecture '" + log::safe(name) +
          "'; known are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM.");
}

Result<int> read_count(const JsonFields& fields, std::string_view key,
                       std::optional<int64_t> absent = std::nullopt) {
  SLUICE_ASSIGN(auto value, fields.integer(key));
  if (!value) value = absent;
  if (!value) return corrupt(fields.file(), "has no field '" + std::string(key) + "'.");
  if (*value < 0 || *value > INT32_MAX) {
    return corrupt(fields.file(),
                   "has " + std::string(key) + " = " + std::to_string(*value) + ", which is out of range.");
  }
  return static_cast<int>(*value);
}

Result<float> read_number(const JsonFields& fields, std::string_view key, float absent) {
  SLUICE_ASSIGN(const auto value, fields.number(key));
  return value ? static_cast<float>(*value) : absent;
}

// YaRN's factor on cos and sin (arXiv:2309.00071, section 3.4), with the two exponents that DeepSeek added.
float yarn_attention(float factor, double mscale) {
  return factor <= 1.0F ? 1.0F
                        : static_cast<float>(0.1 * mscale * std::log(static_cast<double>(factor)) + 1.0);
}

Status read_yarn(const JsonFields& fields, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  SLUICE_ASSIGN(rope.original_context,
                read_count(fields, "original_max_position_embeddings", config.context_length));
  const float ratio = rope.original_context > 0 ? static_cast<float>(config.context_length) /
                                                      static_cast<float>(rope.original_context)
                                                : 1.0F;
  SLUICE_ASSIGN(rope.factor, read_number(fields, "factor", ratio));
  SLUICE_ASSIGN(rope.beta_fast, read_number(fields, "beta_fast", rope.beta_fast));
  SLUICE_ASSIGN(rope.beta_slow, read_number(fields, "beta_slow", rope.beta_slow));
  SLUICE_ASSIGN(const auto attention, fields.number("attention_factor"));
  SLUICE_ASSIGN(const auto mscale, fields.number("mscale"));
  SLUICE_ASSIGN(const auto mscale_all, fields.number("mscale_all_dim"));
  if (attention) {
    rope.attention_factor = static_cast<float>(*attention);
  } else if (mscale.value_or(0) != 0 && mscale_all.value_or(0) != 0) {
    rope.attention_factor = yarn_attention(rope.factor, *mscale) / yarn_attention(rope.factor, *mscale_all);
  }
  SLUICE_ASSIGN(const auto truncate, fields.boolean("truncate"));
  if (!truncate.value_or(true))
    return unsupported(fields.file(), "asks for YaRN without truncation, which is not known here.");
  // Models whose config leaves the context at what they were trained for, and say by how much to stretch it.
  const double stretched = static_cast<double>(rope.original_context) * static_cast<double>(rope.factor);
  if (stretched > config.context_length && stretched <= INT32_MAX)
    config.context_length = static_cast<int>(stretched);
  return {};
}

// Newer files keep everything about rope in `rope_parameters`, older ones in `rope_theta` and `rope_scaling`.
Status read_rope(const JsonFields& fields, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  rope.style = RopeStyle::kHalf;
  SLUICE_ASSIGN(rope.theta, read_number(fields, "rope_theta", rope.theta));
  SLUICE_ASSIGN(const float rotated, read_number(fields, "partial_rotary_factor", 1.0F));
  const json* object = fields.find("rope_parameters");
  const char* key = "rope_parameters";
  if (object == nullptr) {
    object = fields.find("rope_scaling");
    key = "rope_scaling";
  }
  const json none = json::object();
  if (object == nullptr) object = &none;
  if (!object->is_object()) return fields.wrong_kind(key, "an object");
  const JsonFields scaling(*object, fields.file());
  if (scaling.find("full_attention") != nullptr || scaling.find("sliding_attention") != nullptr) {
    return unsupported(fields.file(),
                       "has different rope parameters for different layers, which is not known here.");
  }
  SLUICE_ASSIGN(rope.theta, read_number(scaling, "rope_theta", rope.theta));
  SLUICE_ASSIGN(const float scaling_rotated, read_number(scaling, "partial_rotary_factor", rotated));
  if (scaling_rotated != 1.0F)
    return unsupported(fields.file(), "rotates only a part of each head, which is not known here.");

  SLUICE_ASSIGN(auto type, scaling.text("rope_type"));
  if (!type) {
    SLUICE_ASSIGN(type, scaling.text("type"));
  }
  if (!type || *type == "default") return {};
  if (*type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    SLUICE_ASSIGN(rope.factor, read_number(scaling, "factor", 0.0F));
  } else if (*type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    SLUICE_ASSIGN(rope.factor, read_number(scaling, "factor", 0.0F));
    SLUICE_ASSIGN(rope.low_frequency_factor,
                  read_number(scaling, "low_freq_factor", rope.low_frequency_factor));
    SLUICE_ASSIGN(rope.high_frequency_factor,
                  read_number(scaling, "high_freq_factor", rope.high_frequency_factor));
    SLUICE_ASSIGN(rope.original_context, read_count(scaling, "original_max_position_embeddings"));
  } else if (*type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    SLUICE_TRY(read_yarn(scaling, config));
  } else {
    return unsupported(fields.file(), "scales its rotary positions by '" + log::safe(*type) +
                                          "'; known are default, linear, llama3 and yarn.");
  }
  return {};
}

// One window for all layers, or none: a mixture of both is not served.
Status read_sliding_window(const JsonFields& fields, std::string_view model_type, ModelConfig& config) {
  if (model_type == "llama") return {};
  SLUICE_ASSIGN(const int window, read_count(fields, "sliding_window", 0));
  int windowed = window > 0 ? config.layers : 0;  // how many layers have one
  if (model_type != "mistral") {
    SLUICE_ASSIGN(const auto use, fields.boolean("use_sliding_window"));
    SLUICE_ASSIGN(const int full_layers, read_count(fields, "max_window_layers", 28));
    windowed = use.value_or(false) && window > 0 ? std::max(0, config.layers - full_layers) : 0;
  }
  if (const auto* types = fields.find("layer_types"); types != nullptr && types->is_array() && window > 0) {
    windowed = static_cast<int>(std::count(types->begin(), types->end(), "sliding_attention"));
  }
  if (windowed != 0 && windowed != config.layers) {
    return unsupported(fields.file(),
                       "gives " + std::to_string(windowed) + " of " + std::to_string(config.layers) +
                           " layers a sliding window; only the same window for all is served.");
  }
  if (windowed > 0) config.sliding_window = window;
  return {};
}

Status refuse_what_is_not_served(const JsonFields& fields) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    SLUICE_ASSIGN(const auto bias, fields.boolean(key));
    if (bias.value_or(false))
      return unsupported(fields.file(), std::string("has ") + key + ", which is not known here.");
  }
  return {};
}

Status read_activation(const JsonFields& fields, ModelConfig& config) {
  SLUICE_ASSIGN(const auto name, fields.text("hidden_act"));
  if (!name || *name == "silu" || *name == "swish") return {};
  if (*name != "gelu_pytorch_tanh") {
    return unsupported(fields.file(),
                       "has hidden_act '" + log::safe(*name) + "'; known are silu and gelu_pytorch_tanh.");
  }
  config.activation = Activation::kGeluTanh;
  return {};
}

}  // namespace

Result<ModelConfig> parse_hugging_face_config(std::string_view text, const std::string& file) {
  SLUICE_ASSIGN(const json object, parse_json_object(text, file));
  const JsonFields fields(object, file);
  SLUICE_ASSIGN(const auto architecture, read_architecture(fields));
  SLUICE_TRY(refuse_what_is_not_served(fields));

  ModelConfig config;
  config.architecture = architecture.ours;
  SLUICE_ASSIGN(const auto name, fields.text("_name_or_path"));
  config.name = name.value_or("");
  SLUICE_ASSIGN(config.layers, read_count(fields, "num_hidden_layers"));
  SLUICE_ASSIGN(config.width, read_count(fields, "hidden_size"));
  SLUICE_ASSIGN(config.query_heads, read_count(fields, "num_attention_heads"));
  SLUICE_ASSIGN(config.kv_heads, read_count(fields, "num_key_value_heads", config.query_heads));
  const int even_share = config.query_heads > 0 ? config.width / config.query_heads : 0;
  SLUICE_ASSIGN(config.head_size,
                read_count(fields, "head_dim", architecture.ours == "qwen3" ? 128 : even_share));
  SLUICE_ASSIGN(config.mlp_width, read_count(fields, "intermediate_size"));
  SLUICE_ASSIGN(config.vocabulary, read_count(fields, "vocab_size"));
  SLUICE_ASSIGN(config.context_length, read_count(fields, "max_position_embeddings"));
  SLUICE_ASSIGN(config.norm_eps, read_number(fields, "rms_norm_eps", 1e-6F));
  SLUICE_ASSIGN(const auto tied, fields.boolean("tie_word_embeddings"));
  config.tied_embedding = tied.value_or(false);
  SLUICE_TRY(read_activation(fields, config));
  SLUICE_TRY(read_rope(fields, config));
  SLUICE_TRY(read_sliding_window(fields, architecture.model_type, config));
  if (auto status = check(config); !status)
    return corrupt(file, "cannot be served: " + status.error().message);
  return config;
}

}  // namespace sluice
