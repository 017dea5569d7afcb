// A model divided among ranks answers as one: the table of who holds what, and logits of whole models.
#include "models/sharding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/make_backend.h"
#include "models/model.h"
#include "models/model_files.h"
#include "tests/support/solo_sequence.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::HasSubstr;

// Matrices of any size without content, all of one format.
class NoTensors final : public TensorSource {
 public:
  explicit NoTensors(WeightFormat format) : format_(format) {}
  bool has(std::string_view) const override { return true; }
  Result<HostWeight> matrix(std::string_view, int64_t rows, int64_t columns) const override {
    return HostWeight{nullptr, format_, rows, columns};
  }
  Result<std::vector<float>> vector(std::string_view, int64_t length) const override {
    return std::vector<float>(static_cast<size_t>(length));
  }
  size_t total_bytes() const override { return 0; }

 private:
  const WeightFormat format_;
};

ModelConfig config_of(int query_heads, int kv_heads, int head_size, int width, int mlp_width,
                      int vocabulary) {
  return {.layers = 1,
          .width = width,
          .query_heads = query_heads,
          .kv_heads = kv_heads,
          .head_size = head_size,
          .mlp_width = mlp_width,
          .vocabulary = vocabulary};
}

std::vector<Sharding> divide(const ModelConfig& config, WeightFormat format, int ranks) {
  std::vector<Sharding> all;
  for (int r = 0; r < ranks; ++r)
    all.push_back(std::move(Sharding::of(config, NoTensors(format), {r, ranks})).value());
  return all;
}

// Every row or column is held exactly once, in the ranks' order.
void expect_dealt_out(const std::vector<Sharding>& ranks, Dealt what, int64_t total) {
  int64_t next = 0;
  for (const Sharding& rank : ranks) {
    EXPECT_EQ(rank.range(what).first, next);
    EXPECT_GT(rank.range(what).count, 0);
    next += rank.range(what).count;
  }
  EXPECT_EQ(next, total);
}

TEST(Sharding, deals_out_heads_columns_and_words) {
  const ModelConfig llama = config_of(32, 8, 128, 4096, 14336, 128256);  // Llama 3 8B
  for (const int ranks : {2, 4, 8}) {
    for (const auto format : {WeightFormat::kBF16, WeightFormat::kQ8_0, WeightFormat::kQ4_K}) {
      const auto all = divide(llama, format, ranks);
      expect_dealt_out(all, Dealt::kQueries, 4096);
      expect_dealt_out(all, Dealt::kKeys, 1024);
      expect_dealt_out(all, Dealt::kMlp, 14336);
      expect_dealt_out(all, Dealt::kWidth, 4096);
      expect_dealt_out(all, Dealt::kVocabulary, 128256);
      for (const Sharding& rank : all) {
        EXPECT_EQ(rank.held().query_heads, 32 / ranks);
        EXPECT_EQ(rank.held().kv_heads, 8 / ranks);
        EXPECT_EQ(rank.held().mlp_width, 14336 / ranks);
        EXPECT_EQ(rank.held().width, 4096);
        EXPECT_EQ(rank.held().vocabulary, 128256);
      }
    }
  }
  const Sharding third = divide(llama, WeightFormat::kBF16, 4)[2];
  const auto query = third.piece("model.layers.3.self_attn.q_proj.weight", 4096, 4096);
  EXPECT_EQ(query.rows, (Range{2048, 1024}));
  EXPECT_EQ(query.columns, (Range{0, 4096}));
  EXPECT_EQ(third.piece("self_attn.v_proj.bias", 1024, 1).rows, (Range{512, 256}));
  EXPECT_EQ(third.piece("self_attn.o_proj.weight", 4096, 4096).columns, (Range{2048, 1024}));
  EXPECT_EQ(third.piece("mlp.up_proj.weight", 14336, 4096).rows, (Range{7168, 3584}));
  EXPECT_EQ(third.piece("mlp.down_proj.weight", 4096, 14336).columns, (Range{7168, 3584}));
  EXPECT_EQ(third.piece("lm_head.weight", 128256, 4096).rows, (Range{64128, 32064}));
  EXPECT_EQ(third.piece("self_attn.q_norm.weight", 128, 1).rows, (Range{0, 128}));
}

TEST(Sharding, cuts_columns_between_blocks_though_the_shares_differ) {
  // 19 blocks of 256: ranks of 9 and 10.
  const auto all = divide(config_of(14, 2, 64, 896, 4864, 151936), WeightFormat::kQ4_K, 1);
  EXPECT_EQ(all[0].range(Dealt::kMlp), (Range{0, 4864}));
  const auto two = divide(config_of(8, 2, 64, 1024, 4864, 1001), WeightFormat::kQ4_K, 2);
  expect_dealt_out(two, Dealt::kMlp, 4864);
  EXPECT_EQ(two[0].held().mlp_width, 2304);
  EXPECT_EQ(two[1].held().mlp_width, 2560);
  expect_dealt_out(two, Dealt::kVocabulary, 1001);
  // An embedding of one block is not cut.
  const auto narrow = divide(config_of(8, 2, 64, 256, 512, 1001), WeightFormat::kQ4_K, 2);
  EXPECT_EQ(narrow[1].range(Dealt::kWidth), (Range{0, 256}));
}

TEST(Sharding, gives_several_ranks_the_same_kv_head_when_there_are_fewer) {
  const auto all = divide(config_of(16, 2, 32, 512, 1024, 1000), WeightFormat::kBF16, 8);
  expect_dealt_out(all, Dealt::kQueries, 512);
  for (int r = 0; r < 8; ++r) {
    EXPECT_EQ(all[static_cast<size_t>(r)].range(Dealt::kKeys), (Range{r / 4 * 32, 32})) << r;
    EXPECT_EQ(all[static_cast<size_t>(r)].held().kv_heads, 1);
    EXPECT_EQ(all[static_cast<size_t>(r)].held().query_heads, 2);
  }
}

TEST(Sharding, gives_unequal_shares_of_heads_that_do_not_divide) {  // SmolLM2 135M: 9 heads, 3 of keys
  const auto two = divide(config_of(9, 3, 64, 576, 1536, 49152), WeightFormat::kQ8_0, 2);
  expect_dealt_out(two, Dealt::kQueries, 576);
  expect_dealt_out(two, Dealt::kKeys, 192);
  EXPECT_EQ(two[0].held().query_heads, 3 * two[0].held().kv_heads);
}

TEST(Sharding, says_why_a_model_cannot_be_divided_and_among_how_many_it_can) {
  const auto refusal = [](const ModelConfig& config, WeightFormat format, int ranks) {
    const auto refused = Sharding::of(config, NoTensors(format), {0, ranks});
    EXPECT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().param, "--tensor-parallel-size");
    return refused.error().message;
  };
  EXPECT_EQ(refusal(config_of(9, 3, 64, 576, 1536, 49152), WeightFormat::kBF16, 4),
            "The model cannot be divided among 4 ranks: its 9 query heads share 3 key and value heads. Set "
            "--tensor-parallel-size to one of 1, 2, 3, 6, 9.");
  EXPECT_THAT(refusal(config_of(9, 3, 64, 768, 1536, 49152), WeightFormat::kQ4_K, 3),
              HasSubstr("do not begin at a block of 256 weights"));
  EXPECT_THAT(refusal(config_of(8, 8, 256, 2048, 512, 1000), WeightFormat::kQ6_K, 4),
              HasSubstr("its mlp's 512 columns are stored in blocks of 256"));
}

using Logits = std::vector<std::vector<float>>;

// Of each rank, after appending `ids` in pieces of `cut`.
std::vector<Logits> logits_of(const std::string& path, const BackendOptions& options,
                              const std::vector<int32_t>& ids, size_t cut) {
  const auto files = std::move(open_model_files(path)).value();
  auto backends = std::move(make_backends(options)).value();
  std::vector<Logits> all(backends.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < backends.size(); ++r) {
    threads.emplace_back([&, r] {
      auto model = load_model(files.config, *files.tensors, *backends[r],
                              {.max_tokens_per_step = 64, .max_rows_to_sample = 64});
      ASSERT_TRUE(model.ok()) << model.error().message;
      SoloSequence sequence(**model, *backends[r], DType::kF32, 64);
      for (size_t first = 0; first < ids.size(); first += cut) {
        const size_t last = std::min(first + cut, ids.size());
        for (auto& row :
             sequence.append({ids.begin() + static_cast<long>(first), ids.begin() + static_cast<long>(last)}))
          all[r].push_back(std::move(row));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return all;
}

void expect_one_answer(const std::string& path, const std::string& device, int ranks,
                       const std::vector<int32_t>& ids, float tolerance) {
  const auto alone = logits_of(path, {.device = device, .threads = 2}, ids, 64)[0];
  Logits first;
  for (const size_t cut : {size_t{64}, size_t{1}, size_t{5}}) {
    const auto shared = logits_of(path, {.device = device, .ranks = ranks, .threads = ranks}, ids, cut);
    ASSERT_EQ(shared.size(), static_cast<size_t>(ranks));
    if (first.empty()) first = shared[0];
    for (const Logits& of_rank : shared) EXPECT_EQ(of_rank, first) << "the same bits, whatever the cut";
  }
  ASSERT_EQ(first.size(), alone.size());
  for (size_t t = 0; t < first.size(); ++t) {
    for (size_t v = 0; v < first[t].size(); ++v)
      ASSERT_NEAR(first[t][v], alone[t][v], tolerance) << path << ", " << ranks << " ranks, " << device;
  }
}

class Divided : public testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(Divided, golden_models_answer_as_on_one_rank) {
  const auto& [device, ranks] = GetParam();
  for (const std::string name : {"llama", "llama3", "mistral", "qwen2", "qwen3"}) {
    const std::string folder = "tests/golden/models/" + name;
    const auto golden = nlohmann::json::parse(std::ifstream(folder + "/logits.json"));
    // CPUs multiply bf16 with bf16 activations, which round differently when a sum ends elsewhere.
    const bool rounds = std::string(device) == "cpu" && name != "llama" && name != "qwen3";
    expect_one_answer(folder, device, ranks, golden.at("ids"), rounds ? 0.1F : 2e-4F);
  }
}

TEST_P(Divided, gguf_models_of_every_format_answer_as_on_one_rank) {
  const auto& [device, ranks] = GetParam();
  const std::vector<int32_t> ids{1, 70, 80, 90, 260, 2, 14, 3, 300};
  using enum WeightFormat;
  for (const auto format :
       {kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K}) {
    const bool wide = facts_of(format).block_weights == 256;
    const bool tied = static_cast<int>(format) % 2 == 0;
    const TempFolder folder;
    TinyShape shape{.architecture = tied ? "qwen2" : "llama", .tied_embedding = tied, .format = format};
    shape.layers = 1;
    shape.query_heads = wide ? 8 : 4;
    shape.head_size = wide ? 128 : 32;          // two, and one, heads a block
    shape.width = wide ? 256 : 64;              // of the wide ones: one block, which is not cut
    shape.mlp_width = wide ? 5 * 256 : 5 * 32;  // unequal shares
    write_tiny_gguf(shape, folder / "tiny.gguf");
    const bool exact = std::string(device) == "reference" || format == kF32;
    expect_one_answer(folder / "tiny.gguf", device, ranks, ids, exact ? 5e-4F : 0.15F);
  }
}

TEST(QuantisedCheckpoints, answer_on_two_ranks_as_on_one) {
  for (const std::string name : {"awq", "gptq", "packed", "f8_tensor", "f8_rows", "f8_blocks"}) {
    const std::string folder = "tests/golden/quantised/" + name;
    const auto golden = nlohmann::json::parse(std::ifstream(folder + "/logits.json"));
    expect_one_answer(folder, "reference", 2, golden.at("ids"), 5e-4F);
    // Four bits meet activations of eight bits, in groups of 32 wherever a rank begins: the same ones.
    expect_one_answer(folder, "cpu", 2, golden.at("ids"), name.starts_with("f8") ? 5e-4F : 0.2F);
  }
}

TEST(QuantisedCheckpoints, whose_inputs_are_sorted_are_not_divided) {
  const auto files = std::move(open_model_files("tests/golden/quantised/gptq_order")).value();
  auto backends = std::move(make_backends({.device = "reference", .ranks = 2})).value();
  const auto model = load_model(files.config, *files.tensors, *backends[0],
                                {.max_tokens_per_step = 64, .max_rows_to_sample = 64});
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.error().message, HasSubstr("desc_act"));
}

INSTANTIATE_TEST_SUITE_P(Ranks, Divided,
                         testing::Combine(testing::Values("reference", "cpu"), testing::Values(2, 4)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace sluice
