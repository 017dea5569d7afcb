// Whole models on the device, emulated or real, against the reference backend: prompts in one piece and in
// several, then greedy answers, token by token.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/runtime.h"
#include "kernels/reference/reference_backend.h"
#include "models/model.h"
#include "models/model_files.h"
#include "tests/support/solo_sequence.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

struct World {
  World() = default;
  World(const TinyShape& shape, std::unique_ptr<Backend> made) : backend(std::move(made)) {
    const auto file =
        std::filesystem::temp_directory_path() / ("sluice_cuda_model_" + std::to_string(getpid()) + ".gguf");
    write_tiny_gguf(shape, file);
    files = std::make_unique<ModelFiles>(std::move(open_model_files(file)).value());
    model = std::move(load_model(files->config, *files->tensors, *backend,
                                 {.max_tokens_per_step = 64, .max_rows_to_sample = 64}))
                .value();
    std::filesystem::remove(file);
  }
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ModelFiles> files;
  std::unique_ptr<Model> model;
};

std::unique_ptr<Backend> gpu(bool deterministic = false) {
  return std::move(cuda::make_cuda_backend({.deterministic = deterministic})).value();
}

using Logits = std::vector<std::vector<float>>;

// Root mean square of the difference over that of what was wanted.
double distance(const Logits& got, const Logits& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    for (size_t v = 0; v < want[i].size(); ++v) {
      difference += std::pow(static_cast<double>(got[i][v]) - want[i][v], 2);
      size += std::pow(static_cast<double>(want[i][v]), 2);
    }
  }
  return std::sqrt(difference / size);
}

Logits run(World& world, DType cache, const std::vector<int32_t>& ids, size_t cut) {
  SoloSequence sequence(*world.model, *world.backend, cache, 96);
  Logits all;
  for (size_t first = 0; first < ids.size(); first += cut) {
    const size_t last = std::min(first + cut, ids.size());
    for (auto& row :
         sequence.append({ids.begin() + static_cast<long>(first), ids.begin() + static_cast<long>(last)}))
      all.push_back(std::move(row));
  }
  return all;
}

std::vector<int32_t> prompt(size_t length) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < length; ++i) ids.push_back(static_cast<int32_t>(3 + i * 37 % 250));
  return ids;
}

// Greedy answers, token by token, where the reference is sure.
void answer_alike(World& reference, World& device, std::vector<int32_t> next) {
  SoloSequence wanted(*reference.model, *reference.backend, DType::kBF16, 96);
  SoloSequence got(*device.model, *device.backend, DType::kBF16, 96);
  int sure = 0;
  for (int step = 0; step < 12; ++step) {
    std::vector<float> want = wanted.append(next).back(), have = got.append(next).back();
    const auto best = std::max_element(want.begin(), want.end());
    const auto chosen = std::max_element(have.begin(), have.end());
    next = {static_cast<int32_t>(best - want.begin())};
    // bf16 may turn a near tie.
    const bool near = *best - want[static_cast<size_t>(chosen - have.begin())] < 0.03F * std::fabs(*best);
    sure += near ? 0 : 1;
    EXPECT_TRUE(near || chosen - have.begin() == next[0]) << "step " << step;
    sure += chosen - have.begin() == next[0] ? 1 : 0;
  }
  EXPECT_GT(sure, 6);
}

class Models : public ::testing::TestWithParam<TinyShape> {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
  }
};

TEST_P(Models, give_the_logits_of_the_reference) {
  const auto ids = prompt(37);
  World reference(GetParam(), make_reference_backend()), device(GetParam(), gpu());
  const Logits want = run(reference, DType::kBF16, ids, ids.size());
  for (const size_t cut : {ids.size(), size_t{16}, size_t{1}})
    EXPECT_LT(distance(run(device, DType::kBF16, ids, cut), want), 0.02) << "chunks of " << cut;
  for (const DType cache : {DType::kF16, DType::kF8}) {
    // Of fp8, three values in a hundred are rounded the other way: what is stored differs by bf16's last bit.
    const double bound = cache == DType::kF8 ? 0.06 : 0.02;
    EXPECT_LT(distance(run(device, cache, ids, 16), run(reference, cache, ids, ids.size())), bound)
        << name_of(cache);
  }
}

TEST_P(Models, answer_as_the_reference_does_where_it_is_sure) {
  World reference(GetParam(), make_reference_backend()), device(GetParam(), gpu());
  answer_alike(reference, device, prompt(5));
}

// Deterministic, a token's bits are the same however its prompt was cut.
TEST_P(Models, repeat_their_bits_when_they_are_deterministic) {
  const auto ids = prompt(40);
  World device(GetParam(), gpu(true));
  const Logits whole = run(device, DType::kBF16, ids, ids.size());
  for (const size_t cut : {size_t{16}, size_t{1}})
    EXPECT_EQ(run(device, DType::kBF16, ids, cut), whole) << "chunks of " << cut;
}

// Quantised Hugging Face checkpoints (tests/golden/make_quantised_golden.py).
class Checkpoints : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
  }
  static World open(std::unique_ptr<Backend> backend) {
    World world;
    world.backend = std::move(backend);
    world.files = std::make_unique<ModelFiles>(
        std::move(open_model_files(std::string("tests/golden/quantised/") + GetParam())).value());
    world.model = std::move(load_model(world.files->config, *world.files->tensors, *world.backend,
                                       {.max_tokens_per_step = 64, .max_rows_to_sample = 64}))
                      .value();
    return world;
  }
};

TEST_P(Checkpoints, give_the_logits_of_the_reference) {
  World reference = open(make_reference_backend()), device = open(gpu());
  EXPECT_LT(device.model->weight_bytes() * 3, reference.model->weight_bytes()) << "they stay quantised";
  std::vector<int32_t> ids = prompt(37);
  for (int32_t& id : ids) id %= 160;
  const Logits want = run(reference, DType::kBF16, ids, ids.size());
  for (const size_t cut : {ids.size(), size_t{16}, size_t{1}})
    EXPECT_LT(distance(run(device, DType::kBF16, ids, cut), want), 0.025) << "chunks of " << cut;
}

TEST_P(Checkpoints, answer_alike_on_every_device) {
  World reference = open(make_reference_backend()), device = open(gpu());
  World cpu = open(std::move(make_cpu_backend(1, "auto")).value());
  answer_alike(reference, device, {7, 90, 33, 12, 150});
  answer_alike(reference, cpu, {7, 90, 33, 12, 150});
}

INSTANTIATE_TEST_SUITE_P(Tiny, Checkpoints,
                         ::testing::Values("awq", "gptq", "gptq_v2", "gptq_order", "packed", "packed_rows",
                                           "f8_tensor", "f8_rows", "f8_blocks"),
                         [](const auto& info) { return std::string(info.param); });

#ifndef SLUICE_EMULATED_GPU
// The default model, where it is at hand (./test says where), against the CPU backend.
TEST(RealModel, gives_the_logits_of_the_cpu) {
  const char* const path = std::getenv("SLUICE_TEST_MODEL");
  std::string why;
  if (cuda::find_devices(why).empty()) GTEST_SKIP() << "there is no GPU here: " << why;
  if (path == nullptr) GTEST_SKIP() << "SLUICE_TEST_MODEL names no model";
  const auto load = [&](std::unique_ptr<Backend> backend) {
    World world;
    world.backend = std::move(backend);
    world.files = std::make_unique<ModelFiles>(std::move(open_model_files(path)).value());
    world.model = std::move(load_model(world.files->config, *world.files->tensors, *world.backend,
                                       {.max_tokens_per_step = 64, .max_rows_to_sample = 64}))
                      .value();
    return world;
  };
  World cpu = load(std::move(make_cpu_backend(0, "auto")).value()), device = load(gpu());
  std::vector<int32_t> ids;
  for (int i = 0; i < 48; ++i) ids.push_back(1000 + i * 331 % 40000);
  const Logits want = run(cpu, DType::kBF16, ids, ids.size());
  for (const size_t cut : {ids.size(), size_t{1}})
    EXPECT_LT(distance(run(device, DType::kBF16, ids, cut), want), 0.05) << "chunks of " << cut;
}
#endif

TinyShape shape(const std::string& architecture, WeightFormat format, int query_heads, int kv_heads,
                int head_size) {
  TinyShape s;
  s.architecture = architecture;
  s.width = 256;
  s.mlp_width = 256;
  s.query_heads = query_heads;
  s.kv_heads = kv_heads;
  s.head_size = head_size;
  s.format = format;
  return s;
}

INSTANTIATE_TEST_SUITE_P(Tiny, Models,
                         ::testing::Values(shape("llama", WeightFormat::kBF16, 4, 2, 64),
                                           shape("qwen2", WeightFormat::kF32, 3, 1, 80),
                                           shape("qwen3", WeightFormat::kQ8_0, 4, 4, 128),
                                           shape("llama", WeightFormat::kQ4_0, 8, 1, 64),
                                           shape("llama", WeightFormat::kQ4_K, 8, 2, 96),
                                           shape("llama", WeightFormat::kQ6_K, 2, 1, 256)),
                         [](const auto& info) {
                           return info.param.architecture + "_" +
                                  std::string(facts_of(info.param.format).name) + "_" +
                                  std::to_string(info.param.head_size);
                         });

}  // namespace
}  // namespace sluice
