#include "models/decoder.h"

namespace sluice {
namespace {

class Decoder : public Model {
 public:
  Decoder(const ModelConfig& config, const Sharding& sharding, Backend& backend)
      : Model(config, sharding.held()),
        backend_(backend),
        shape_(held_.attention_shape()),
        embedding_columns_(sharding.range(Dealt::kWidth)),
        vocabulary_(sharding.range(Dealt::kVocabulary)) {}

  Status load(const DecoderTraits& traits, WeightLoader& loader) {
    const std::vector<WeightLoader::Part> embedding{{"model.embed_tokens.weight", config_.vocabulary}};
    SLUICE_ASSIGN(embedding_, loader.matrix(embedding, config_.width));
    for (int l = 0; l < config_.layers; ++l) {
      SLUICE_ASSIGN(auto layer, load_layer(traits, loader, "model.layers." + std::to_string(l) + "."));
      layers_.push_back(std::move(layer));
    }
    SLUICE_ASSIGN(final_norm_, load_norm(loader, "model.norm.weight", config_.width));
    constexpr std::string_view kHead = "lm_head.weight";
    if (!config_.tied_embedding || backend_.rank().count > 1) {  // of several ranks, each cuts the two apart
      const std::string name = config_.tied_embedding ? "model.embed_tokens.weight" : std::string(kHead);
      const std::vector<WeightLoader::Part> head{{name, config_.vocabulary, kHead}};
      SLUICE_ASSIGN(head_, loader.matrix(head, config_.width));
    }
    SLUICE_ASSIGN(activations_, Activations::allocate(backend_, held_, loader.options()));
    frequencies_ = rope_frequencies(config_.rope, config_.head_size);
    weight_bytes_ = loader.packed_bytes();
    return {};
  }

  void forward(const StepBatch& batch, std::span<const KvView> cache, const StepOutputs& out) override {
    const Activations a = activations_.cut(batch.tokens(), static_cast<int64_t>(batch.sample_rows.size()));
    const StepArguments step{backend_, held_, shape_, batch, a};
    embed(batch.token_ids, a.residual);
    backend_.rope_angles(batch.positions, frequencies_.inverse, frequencies_.attention_factor, a.angles);
    backend_.rms_norm(a.residual, layers_[0].attention_norm.values(), config_.norm_eps, a.normed);
    for (size_t l = 0; l < layers_.size(); ++l) {
      const DecoderLayer& layer = layers_[l];
      const Norm& next_norm = l + 1 < layers_.size() ? layers_[l + 1].attention_norm : final_norm_;
      attend(step, layer.attention, cache[l]);
      backend_.add_rms_norm(a.residual, a.delta, layer.mlp_norm.values(), config_.norm_eps, a.normed);
      gated_mlp(step, layer.mlp);
      backend_.add_rms_norm(a.residual, a.delta, next_norm.values(), config_.norm_eps, a.normed);
    }
    if (!batch.hidden_rows.empty()) backend_.gather_rows(a.normed, batch.hidden_rows, out.hidden);
    if (batch.sample_rows.empty()) return;
    backend_.gather_rows(a.normed, batch.sample_rows, a.last);
    const TensorView logits = out.logits.slice(vocabulary_.first, vocabulary_.count);
    backend_.matmul(head_ ? *head_ : *embedding_, a.last, nullptr, logits);
    backend_.all_gather(logits, out.logits);
  }

  size_t weight_bytes() const override { return weight_bytes_; }

 private:
  void embed(std::span<const int32_t> token_ids, TensorView out) {
    const TensorView mine = out.slice(embedding_columns_.first, embedding_columns_.count);
    backend_.embed(*embedding_, token_ids, mine);
    if (mine.columns < out.columns) backend_.all_gather(mine, out);
  }

  Result<Norm> load_norm(WeightLoader& loader, const std::string& name, int64_t length) {
    const std::vector<WeightLoader::Part> part{{name, length}};
    SLUICE_ASSIGN(auto scale, loader.vector(part));
    return Norm{std::move(scale), config_.norm_eps};
  }

  Result<DecoderLayer> load_layer(const DecoderTraits& traits, WeightLoader& loader,
                                  const std::string& prefix) {
    const int64_t head = config_.head_size, queries = config_.query_heads * head,
                  keys = config_.kv_heads * head;
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    using Parts = std::vector<WeightLoader::Part>;
    const Parts qkv{{attention + "q_proj.weight", queries},
                    {attention + "k_proj.weight", keys},
                    {attention + "v_proj.weight", keys}};
    const Parts output{{attention + "o_proj.weight", config_.width}};
    const Parts gate_up{{mlp + "gate_proj.weight", config_.mlp_width},
                        {mlp + "up_proj.weight", config_.mlp_width}};
    const Parts down{{mlp + "down_proj.weight", config_.width}};

    DecoderLayer layer;
    SLUICE_ASSIGN(layer.attention_norm, load_norm(loader, prefix + "input_layernorm.weight", config_.width));
    SLUICE_ASSIGN(layer.attention.qkv.weight, loader.matrix(qkv, config_.width));
    if (traits.qkv_bias) {
      const Parts bias{{attention + "q_proj.bias", queries},
                       {attention + "k_proj.bias", keys},
                       {attention + "v_proj.bias", keys}};
      SLUICE_ASSIGN(layer.attention.qkv.bias, loader.vector(bias));
    }
    if (traits.head_norms) {
      SLUICE_ASSIGN(layer.attention.query_norm, load_norm(loader, attention + "q_norm.weight", head));
      SLUICE_ASSIGN(layer.attention.key_norm, load_norm(loader, attention + "k_norm.weight", head));
    }
    SLUICE_ASSIGN(layer.attention.output.weight, loader.matrix(output, queries));
    SLUICE_ASSIGN(layer.mlp_norm,
                  load_norm(loader, prefix + "post_attention_layernorm.weight", config_.width));
    SLUICE_ASSIGN(layer.mlp.gate_up.weight, loader.matrix(gate_up, config_.width));
    SLUICE_ASSIGN(layer.mlp.down.weight, loader.matrix(down, config_.mlp_width));
    return layer;
  }

  Backend& backend_;
  const AttentionShape shape_;
  const Range embedding_columns_, vocabulary_;  // of this rank
  std::unique_ptr<Weight> embedding_, head_;    // head_ null: tied
  std::vector<DecoderLayer> layers_;
  Norm final_norm_;
  RopeFrequencies frequencies_;
  Activations activations_;
  size_t weight_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<Model>> load_decoder(const ModelConfig& config, const DecoderTraits& traits,
                                            WeightLoader& loader) {
  auto decoder = std::make_unique<Decoder>(config, loader.sharding(), loader.backend());
  SLUICE_TRY(decoder->load(traits, loader));
  return std::unique_ptr<Model>(std::move(decoder));
}

}  // namespace sluice
