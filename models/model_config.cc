#include "models/model_config.h"

#include <cmath>

namespace sluice {
namespace {

struct Bound {
  const char* name;
  int64_t value, least, most;
};

Error out_of_bounds(const Bound& bound) {
  return invalid_argument(bound.name, std::string(bound.name) + " is " + std::to_string(bound.value) +
                                          "; it must be from " + std::to_string(bound.least) + " to " +
                                          std::to_string(bound.most) + ".");
}

bool positive(float value) {
  return std::isfinite(value) && value > 0.0F;
}

Status check_rope(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const std::pair<const char*, float> numbers[] = {
      {"rope theta", rope.theta},
      {"rope factor", rope.factor},
      {"rope low frequency factor", rope.low_frequency_factor},
      {"rope high frequency factor", rope.high_frequency_factor},
      {"rope beta_fast", rope.beta_fast},
      {"rope beta_slow", rope.beta_slow},
  };
  for (const auto& [name, value] : numbers) {
    if (!positive(value)) return invalid_argument(name, std::string(name) + " must be a number above 0.");
  }
  if (!std::isfinite(rope.attention_factor) || rope.attention_factor < 0.0F) {
    return invalid_argument("rope attention factor", "rope attention factor must be 0 or a number above it.");
  }
  if (rope.scaling == RopeScaling::kLlama3 && rope.high_frequency_factor <= rope.low_frequency_factor) {
    return invalid_argument(
        "rope high frequency factor",
        "rope high frequency factor must be larger than the low one, which divides by their difference.");
  }
  const bool needs_original = rope.scaling == RopeScaling::kLlama3 || rope.scaling == RopeScaling::kYarn;
  if (needs_original && rope.original_context <= 0) {
    return invalid_argument("rope original context",
                            "This rope scaling needs the original context length, above 0.");
  }
  if (rope.frequency_divisors.empty()) return {};
  if (rope.frequency_divisors.size() != static_cast<size_t>(config.head_size / 2)) {
    return invalid_argument("rope frequency divisors",
                            "There are " + std::to_string(rope.frequency_divisors.size()) +
                                " rope frequency divisors; a head of " + std::to_string(config.head_size) +
                                " needs half as many.");
  }
  for (const float divisor : rope.frequency_divisors) {
    if (!positive(divisor))
      return invalid_argument("rope frequency divisors", "A rope frequency divisor is not above 0.");
  }
  return {};
}

}  // namespace

AttentionShape ModelConfig::attention_shape() const {
  return {query_heads, kv_heads, head_size, 1.0F / std::sqrt(static_cast<float>(head_size)), sliding_window};
}

Status check(const ModelConfig& config) {
  // Wide enough for any known model, narrow enough that no product of a few of them leaves 64 bits.
  const Bound bounds[] = {
      {"layers", config.layers, 1, 4096},
      {"width", config.width, 1, 1 << 20},
      {"query heads", config.query_heads, 1, 4096},
      {"kv heads", config.kv_heads, 1, 4096},
      {"head size", config.head_size, 4, 4096},
      {"mlp width", config.mlp_width, 1, 1 << 24},
      {"vocabulary", config.vocabulary, 1, 1 << 26},
      {"context length", config.context_length, 1, 1 << 28},
      {"sliding window", config.sliding_window, 0, INT32_MAX},
  };
  for (const auto& bound : bounds) {
    if (bound.value < bound.least || bound.value > bound.most) return out_of_bounds(bound);
  }
  if (config.query_heads % config.kv_heads != 0) {
    return invalid_argument("kv heads", std::to_string(config.query_heads) +
                                            " query heads cannot be shared evenly among " +
                                            std::to_string(config.kv_heads) + " kv heads.");
  }
  if (config.head_size % 4 != 0) {
    return invalid_argument(
        "head size", "head size is " + std::to_string(config.head_size) + "; it must be a multiple of 4.");
  }
  if (!std::isfinite(config.norm_eps) || config.norm_eps < 0.0F || config.norm_eps > 1.0F) {
    return invalid_argument("norm eps", "norm eps must be from 0 to 1.");
  }
  return check_rope(config);
}

}  // namespace sluice
