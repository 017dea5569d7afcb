#include "engine/device_runner.h"

#include <utility>

#include "base/check.h"
#include "engine/sentence.h"

namespace sluice {

namespace {

// Checked, and with the model's own context length where none was asked for.
Result<EngineOptions> complete(EngineOptions options, const ModelConfig& config) {
  SLUICE_TRY(check(options));
  if (options.max_model_len == 0) options.max_model_len = config.context_length;
  if (options.max_model_len > config.context_length) {
    return invalid_argument("--max-model-len", sentence("--max-model-len is ", options.max_model_len,
                                                        ", but the model was made for at most ",
                                                        config.context_length, " tokens."));
  }
  return options;
}

}  // namespace

Result<KvCacheSize> DeviceRunner::cache_size(const EngineOptions& asked, const Backend& backend,
                                             const Model& model) {
  SLUICE_ASSIGN(const EngineOptions options, complete(asked, model.config()));
  return KvCache::fitting(options, model.held(), backend);
}

Result<std::unique_ptr<ModelRunner>> DeviceRunner::make(const EngineOptions& asked,
                                                        std::vector<int32_t> eos_ids,
                                                        std::unique_ptr<Backend> backend,
                                                        std::unique_ptr<Model> model, int64_t block_count) {
  const ModelConfig& config = model->config();
  SLUICE_ASSIGN(const EngineOptions options, complete(asked, config));
  for (const int32_t id : eos_ids) {
    if (id < 0 || id >= config.vocabulary) {
      return Error{ErrorCode::kCorrupt,
                   sentence("The model names token ", id, " as an end of text, but it knows only ",
                            config.vocabulary, " tokens.")};
    }
  }

  std::unique_ptr<DeviceRunner> runner(new DeviceRunner);
  SLUICE_ASSIGN(runner->logits_, backend->allocate(sizeof(float) * static_cast<size_t>(config.vocabulary) *
                                                   static_cast<size_t>(options.max_num_seqs)));
  SLUICE_ASSIGN(runner->cache_, KvCache::make(options, model->held(), *backend, block_count));
  // Untouched pages cost no memory, so a server that is never asked for a hidden state pays nothing.
  SLUICE_ASSIGN(runner->hidden_on_device_,
                backend->allocate(sizeof(float) * static_cast<size_t>(config.width) *
                                  static_cast<size_t>(options.max_num_batched_tokens)));
  runner->steps_.resize(static_cast<size_t>(backend->steps_in_flight()));
  for (Step& step : runner->steps_) step.tokens.resize(static_cast<size_t>(options.max_num_seqs));
  runner->facts_ = {.vocabulary = config.vocabulary,
                    .width = static_cast<int>(config.width),
                    .block_tokens = options.block_size,
                    .block_count = runner->cache_->size().block_count,
                    .max_model_len = options.max_model_len,
                    .max_tokens_per_step = options.max_num_batched_tokens,
                    .max_sequences = options.max_num_seqs,
                    .steps_in_flight = backend->steps_in_flight(),
                    .max_logprobs = backend->max_logprobs(),
                    .eos_ids = std::move(eos_ids),
                    .device = backend->facts().name};
  runner->samples_ = backend->rank().index == 0 || backend->steps_in_flight() > 1;
  runner->backend_ = std::move(backend);
  runner->model_ = std::move(model);
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

void DeviceRunner::launch(const StepBatch& batch) {
  SLUICE_CHECK_EQ(launched_, sampled_);
  SLUICE_CHECK_LT(launched_ - collected_, steps_.size());
  SLUICE_CHECK(launched_ == collected_ || step(launched_ - 1).hidden == 0);
  Step& now = step(launched_++);
  now.rows = batch.sample_rows.size();
  now.hidden = batch.hidden_rows.size() * static_cast<size_t>(facts_.width);
  SLUICE_CHECK_LE(now.rows, now.tokens.size());
  if (now.hidden > hidden_.size()) hidden_.resize(now.hidden);
  backend_->run(batch, facts_.max_sequences, [this](const StepBatch& staged) {
    const auto logits_rows = static_cast<int64_t>(staged.sample_rows.size());
    const auto hidden_rows = static_cast<int64_t>(staged.hidden_rows.size());
    model_->forward(staged, cache_->layers(),
                    {TensorView::of(logits_->data(), DType::kF32, logits_rows, facts_.vocabulary),
                     TensorView::of(hidden_on_device_->data(), DType::kF32, hidden_rows, facts_.width)});
  });
}

void DeviceRunner::sample(std::span<const SamplingRow> rows) {
  SLUICE_CHECK_EQ(launched_, sampled_ + 1);
  Step& now = step(sampled_++);
  SLUICE_CHECK_EQ(rows.size(), now.rows);
  if (!samples_) return;
  backend_->sample(
      TensorView::of(logits_->data(), DType::kF32, static_cast<int64_t>(now.rows), facts_.vocabulary), rows,
      std::span(now.tokens).first(now.rows));
}

std::span<const SampledToken> DeviceRunner::collect() {
  SLUICE_CHECK_LT(collected_, sampled_);
  const Step& now = step(collected_++);
  if (samples_)
    backend_->finish_sample();
  else
    backend_->synchronize();
  hidden_collected_ = now.hidden;
  if (now.hidden > 0)
    backend_->copy_to_host(hidden_.data(), hidden_on_device_->data(), now.hidden * sizeof(float));
  return std::span(now.tokens).first(now.rows);
}

}  // namespace sluice
