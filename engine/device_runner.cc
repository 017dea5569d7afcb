#include "engine/device_runner.h"

#include <utility>

#include "base/check.h"
#include "engine/sentence.h"

namespace sluice {

Result<std::unique_ptr<ModelRunner>> DeviceRunner::make(const EngineOptions& asked,
                                                        std::vector<int32_t> eos_ids,
                                                        std::unique_ptr<Backend> backend,
                                                        std::unique_ptr<Model> model) {
  SLUICE_TRY(check(asked));
  const ModelConfig& config = model->config();
  EngineOptions options = asked;
  if (options.max_model_len == 0) options.max_model_len = config.context_length;
  if (options.max_model_len > config.context_length) {
    return invalid_argument("--max-model-len", sentence("--max-model-len is ", options.max_model_len,
                                                        ", but the model was made for at most ",
                                                        config.context_length, " tokens."));
  }
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
  SLUICE_ASSIGN(runner->cache_, KvCache::make(options, config, *backend));
  // Untouched pages cost no memory, so a server that is never asked for a hidden state pays nothing.
  SLUICE_ASSIGN(runner->hidden_on_device_,
                backend->allocate(sizeof(float) * static_cast<size_t>(config.width) *
                                  static_cast<size_t>(options.max_num_batched_tokens)));
  runner->tokens_.resize(static_cast<size_t>(options.max_num_seqs));
  runner->facts_ = {.vocabulary = config.vocabulary,
                    .width = static_cast<int>(config.width),
                    .block_tokens = options.block_size,
                    .block_count = runner->cache_->size().block_count,
                    .max_model_len = options.max_model_len,
                    .max_tokens_per_step = options.max_num_batched_tokens,
                    .max_sequences = options.max_num_seqs,
                    .eos_ids = std::move(eos_ids),
                    .device = backend->facts().name};
  runner->backend_ = std::move(backend);
  runner->model_ = std::move(model);
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

void DeviceRunner::launch(const RunnerStep& step) {
  rows_in_flight_ = step.batch.sample_rows.size();
  SLUICE_CHECK_LE(rows_in_flight_, tokens_.size());
  SLUICE_CHECK_EQ(rows_in_flight_, step.sampling.size());
  const StepBatch& staged = backend_->stage(step.batch);
  const TensorView logits =
      TensorView::of(logits_->data(), DType::kF32, static_cast<int64_t>(rows_in_flight_), facts_.vocabulary);
  hidden_in_flight_ = step.batch.hidden_rows.size() * static_cast<size_t>(facts_.width);
  if (hidden_in_flight_ > hidden_.size()) hidden_.resize(hidden_in_flight_);
  const TensorView hidden = TensorView::of(hidden_on_device_->data(), DType::kF32,
                                           static_cast<int64_t>(step.batch.hidden_rows.size()), facts_.width);
  model_->forward(staged, cache_->layers(), {logits, hidden});
  if (step.await_masks) step.await_masks();
  if (rows_in_flight_ > 0) backend_->sample(logits, step.sampling, std::span(tokens_).first(rows_in_flight_));
}

std::span<const SampledToken> DeviceRunner::collect() {
  backend_->synchronize();
  if (hidden_in_flight_ > 0)
    backend_->copy_to_host(hidden_.data(), hidden_on_device_->data(), hidden_in_flight_ * sizeof(float));
  return std::span(tokens_).first(rows_in_flight_);
}

}  // namespace sluice
