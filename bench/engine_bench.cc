#include "bench/engine_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/core.h"
#include "engine/device_runner.h"
#include "models/dummy_tensors.h"
#include "models/model_files.h"
#include "models/online_quantisation.h"

namespace sluice::bench {
namespace {

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

class Forgetful final : public EventSink {
 public:
  void post(std::vector<TokenEvent>&& events) noexcept override { events.clear(); }
};

// What a step computes and reads, told from shapes: each weight is read once and multiplied with each token,
// but for the embedding, of which rows are looked up, unless it is the head too.
struct Work {
  Work(const ModelConfig& c, double packed_bytes, DType cache) {
    const double width = c.width, head = c.head_size;
    layer_weights = width * head * (c.query_heads + 2.0 * c.kv_heads) + head * c.query_heads * width +
                    3.0 * width * c.mlp_width;
    layers = c.layers;
    head_weights = width * c.vocabulary;
    const double stored = layers * layer_weights + head_weights * (c.tied_embedding ? 1 : 2);
    bytes_per_weight = packed_bytes / stored;
    kv_bytes_per_token = 2.0 * c.layers * c.kv_heads * head * static_cast<double>(bytes_of(cache));
    attention_per_pair = 4.0 * c.layers * c.query_heads * head;
  }
  double step_bytes(double batch, double context) const {
    return bytes_per_weight * (layers * layer_weights + head_weights) + batch * context * kv_bytes_per_token;
  }
  double step_operations(double batch, double context) const {
    return batch * (2 * (layers * layer_weights + head_weights) + attention_per_pair * context);
  }
  // Logits are wanted of the last token alone.
  double prompt_operations(double tokens) const {
    return 2 * tokens * layers * layer_weights + 2 * head_weights +
           attention_per_pair * tokens * (tokens + 1) / 2;
  }

  double layer_weights, layers, head_weights, bytes_per_weight, kv_bytes_per_token, attention_per_pair;
};

class Rig {
 public:
  static Result<std::unique_ptr<Rig>> make(const EngineBenchOptions& asked, EngineFigures& figures,
                                           const std::function<void(const std::string&)>& say) {
    const auto start = Clock::now();
    Result<ModelFiles> opened =
        asked.dummy ? open_dummy_model(asked.model, asked.dummy_format) : open_model_files(asked.model);
    SLUICE_ASSIGN(ModelFiles files, std::move(opened));
    SLUICE_TRY(quantise_as(asked.quantization, files));
    SLUICE_ASSIGN(std::unique_ptr<Backend> backend, make_backend(asked.backend));
    figures.device = backend->facts().kind + ", " + backend->facts().name;
    figures.model = asked.model;
    figures.kv_cache = std::string(name_of(asked.engine.kv_cache_dtype));
    figures.peaks = peaks_of(*backend);
    say(peaks_line(figures.device, figures.peaks));
    EngineOptions engine = asked.engine;
    engine.max_num_seqs = std::ranges::max(asked.batches);
    engine.max_num_batched_tokens = std::max(engine.max_num_batched_tokens, engine.max_num_seqs);
    const int longest = asked.prompts.empty() ? 0 : std::ranges::max(asked.prompts);
    engine.max_model_len = std::max(longest + 1, asked.context + asked.steps * 2 + 16);
    engine.enable_prefix_caching = false;
    if (engine.max_model_len > files.config.context_length) {
      return invalid_argument("--context", fmt::format("The model was made for {} tokens; {} are asked for.",
                                                       files.config.context_length, engine.max_model_len));
    }
    SLUICE_ASSIGN(std::unique_ptr<Model> model,
                  load_model(files.config, *files.tensors, *backend,
                             {.max_tokens_per_step = engine.max_num_batched_tokens,
                              .max_rows_to_sample = engine.max_num_seqs}));
    figures.weight_bytes = static_cast<double>(model->weight_bytes());
    figures.weights =
        asked.dummy ? "random " + std::string(facts_of(asked.dummy_format).name) : "the model's";
    if (!asked.quantization.empty()) figures.weights += ", " + asked.quantization;
    const Work work(files.config, figures.weight_bytes, engine.kv_cache_dtype);
    SLUICE_ASSIGN(std::unique_ptr<ModelRunner> runner,
                  DeviceRunner::make(engine, {}, std::move(backend), std::move(model)));
    say(fmt::format("{:.2f} GB of weights, ready after {:.1f} s", figures.weight_bytes / 1e9,
                    seconds_since(start)));
    return std::unique_ptr<Rig>(new Rig(engine, std::move(runner), work, figures.peaks));
  }

  DecodeFigures decode(int batch, int context, int steps, int rounds) {
    std::vector<double> step_times, host_times;
    for (int round = 0; round < rounds; ++round) {
      // Room for steps before all decode: prompts are computed chunk by chunk.
      for (int i = 0; i < batch; ++i) add(context, 2 * steps + 8);
      while (!all_decode()) step();
      for (int i = 0; i < 4; ++i) step();  // graphs are recorded the second time
      for (int i = 0; i < steps; ++i) {
        const Took took = step();
        step_times.push_back(took.all);
        host_times.push_back(took.all - took.waiting);
      }
      core_.end_all(FinishReason::kCancelled, Clock::now());
      while (core_.in_flight() > 0) step();
      core_.publish(Clock::now());
    }
    DecodeFigures figures{.batch = batch, .step_s = median(step_times), .host_s = median(host_times)};
    const double middle = context + steps / 2.0;
    figures.bytes = work_.step_bytes(batch, middle);
    figures.operations = work_.step_operations(batch, middle);
    figures.limit_s = limit(figures.bytes, figures.operations);
    return figures;
  }

  PrefillFigures prefill(int tokens, int rounds) {
    std::vector<double> times;
    for (int round = 0; round <= rounds; ++round) {  // the first is for memory to grow
      add(tokens, 1);
      const auto start = Clock::now();
      while (core_.live() > 0) step();
      if (round > 0) times.push_back(seconds_since(start));
    }
    PrefillFigures figures{.tokens = tokens, .seconds = median(times)};
    figures.operations = work_.prompt_operations(tokens);
    figures.limit_s = limit(work_.step_bytes(0, 0), figures.operations);
    return figures;
  }

 private:
  Rig(const EngineOptions& engine, std::unique_ptr<ModelRunner> runner, const Work& work,
      const MachinePeaks& peaks)
      : vocabulary_(runner->facts().vocabulary),
        core_(engine, std::move(runner)),
        work_(work),
        peaks_(peaks) {}

  double limit(double bytes, double operations) const {
    const double compute = peaks_.operations_per_s > 0 ? operations / peaks_.operations_per_s : 0;
    return std::max(bytes / peaks_.bytes_per_s, compute);
  }

  void add(int prompt, int answer) {
    Request request;
    request.prompt.resize(static_cast<size_t>(prompt));
    for (int32_t& token : request.prompt)
      token = static_cast<int32_t>(random_() % static_cast<uint64_t>(vocabulary_));
    request.sampling.max_tokens = answer;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.sink = sink_;
    core_.add(++last_id_, std::move(request));
  }

  bool all_decode() const {
    bool all = true;
    core_.for_each_live([&](const Sequence& s) { all &= s.generated() > 0; });
    return all;
  }

  struct Took {
    double all, waiting;
  };
  // From the end of one step to that of the next.
  Took step() {
    const auto begin = core_.in_flight() == 0 ? Clock::now() : last_end_;
    core_.launch(Clock::now());
    const auto waits = Clock::now();
    core_.wait();
    const double waiting = seconds_since(waits);
    const auto end = Clock::now();
    const double all = std::chrono::duration<double>(end - begin).count();
    core_.complete(end, all);
    core_.publish(end);
    last_end_ = end;
    return {all, waiting};
  }

  const int vocabulary_;
  EngineCore core_;
  const Work work_;
  const MachinePeaks peaks_;
  std::shared_ptr<Forgetful> sink_ = std::make_shared<Forgetful>();
  std::mt19937_64 random_{1};
  RequestId last_id_ = 0;
  Clock::time_point last_end_;
};

}  // namespace

Result<EngineFigures> bench_engine(const EngineBenchOptions& options,
                                   const std::function<void(const std::string&)>& say) {
  EngineFigures figures;
  SLUICE_ASSIGN(const std::unique_ptr<Rig> rig, Rig::make(options, figures, say));
  for (const int batch : options.batches) {
    figures.decode.push_back(rig->decode(batch, options.context, options.steps, options.rounds));
    say(fmt::format("decode, batch {}: {:.3f} ms a step", batch, figures.decode.back().step_s * 1e3));
  }
  for (const int tokens : options.prompts) {
    figures.prefill.push_back(rig->prefill(tokens, options.rounds));
    say(fmt::format("prompt of {}: {:.1f} ms", tokens, figures.prefill.back().seconds * 1e3));
  }
  return figures;
}

std::string as_table(const EngineFigures& f) {
  std::string text = fmt::format("{}; weights: {}, {:.2f} GB; KV cache: {}\n", f.device, f.weights,
                                 f.weight_bytes / 1e9, f.kv_cache);
  text += fmt::format("measured limits: {:.0f} GB/s", f.peaks.bytes_per_s / 1e9);
  if (f.peaks.operations_per_s > 0)
    text += fmt::format(", {:.1f} T {} a second", f.peaks.operations_per_s / 1e12, f.peaks.operations);
  text += "\n\n batch   ms/step   tokens/s   of limit   host\n";
  for (const DecodeFigures& d : f.decode) {
    text += fmt::format(
        "{:6} {:9.3f} {:10.1f} {:9.0f}% {:>6}\n", d.batch, d.step_s * 1e3, d.tokens_per_s(), d.share() * 100,
        f.device.starts_with("cpu") ? "-" : fmt::format("{:.1f}%", d.host_s / d.step_s * 100));
  }
  text += "\nprompt        ms   tokens/s   of limit\n";
  for (const PrefillFigures& p : f.prefill) {
    text += fmt::format("{:6} {:9.1f} {:10.0f} {:9.0f}%\n", p.tokens, p.seconds * 1e3, p.tokens_per_s(),
                        p.share() * 100);
  }
  return text;
}

std::string as_json(const EngineFigures& f, const EngineBenchOptions& options) {
  nlohmann::ordered_json json = {{"device", f.device},
                                 {"model", f.model},
                                 {"weights", f.weights},
                                 {"weight_bytes", f.weight_bytes},
                                 {"kv_cache_dtype", f.kv_cache},
                                 {"deterministic", options.backend.deterministic},
                                 {"graphs", options.backend.graphs},
                                 {"async_scheduling", options.engine.async_scheduling},
                                 {"context", options.context},
                                 {"steps", options.steps},
                                 {"rounds", options.rounds},
                                 {"peak_bytes_per_s", f.peaks.bytes_per_s},
                                 {"peak_operations_per_s", f.peaks.operations_per_s},
                                 {"peak_operations", f.peaks.operations}};
  for (const DecodeFigures& d : f.decode) {
    json["decode"].push_back({{"batch", d.batch},
                              {"step_s", d.step_s},
                              {"host_s", d.host_s},
                              {"tokens_per_s", d.tokens_per_s()},
                              {"bytes", d.bytes},
                              {"operations", d.operations},
                              {"share_of_limit", d.share()}});
  }
  for (const PrefillFigures& p : f.prefill) {
    json["prefill"].push_back({{"tokens", p.tokens},
                               {"seconds", p.seconds},
                               {"tokens_per_s", p.tokens_per_s()},
                               {"operations", p.operations},
                               {"share_of_limit", p.share()}});
  }
  return json.dump(1) + "\n";
}

}  // namespace sluice::bench
