// The two kinds of files that tests/support/tiny_model writes are one model: same weights, same answers.
#include "tests/support/tiny_model.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/reference/reference_backend.h"
#include "models/model.h"
#include "models/model_files.h"
#include "tests/support/solo_sequence.h"
#include "tests/support/temp_folder.h"

namespace sluice {
namespace {

std::vector<std::vector<float>> logits_of(const std::string& path) {
  auto files = std::move(open_model_files(path)).value();
  const auto backend = make_reference_backend();
  const auto model = std::move(load_model(files.config, *files.tensors, *backend,
                                          {.max_tokens_per_step = 16, .max_rows_to_sample = 16}))
                         .value();
  SoloSequence sequence(*model, *backend, DType::kF32, 32);
  return sequence.append({1, 70, 80, 90, 260, 2, 14, 3, 300});
}

TEST(TinyModel, answers_alike_from_a_gguf_and_from_a_directory) {
  for (const char* architecture : {"llama", "qwen2", "qwen3"}) {
    for (const auto format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
      for (const bool tied : {false, true}) {
        const TempFolder folder;
        const TinyShape shape{
            .architecture = architecture, .tied_embedding = tied, .seed = 3, .format = format};
        write_tiny_gguf(shape, folder / "tiny.gguf");
        write_tiny_directory(shape, folder / "tiny");
        const auto from_gguf = logits_of(folder / "tiny.gguf");
        const auto from_directory = logits_of(folder / "tiny");
        for (size_t token = 0; token < from_gguf.size(); ++token) {
          for (size_t v = 0; v < from_gguf[token].size(); ++v) {
            ASSERT_NEAR(from_gguf[token][v], from_directory[token][v], 1e-3)
                << architecture << " token " << token << " id " << v;
          }
          const auto [least, most] = std::minmax_element(from_gguf[token].begin(), from_gguf[token].end());
          EXPECT_GT(*most - *least, 1.0F) << "an answer that says something";
        }
      }
    }
  }
}

TEST(TinyModel, another_seed_is_another_model) {
  EXPECT_EQ(tiny_gguf({.seed = 1}), tiny_gguf({.seed = 1}));
  EXPECT_NE(tiny_gguf({.seed = 1}), tiny_gguf({.seed = 2}));
}

}  // namespace
}  // namespace sluice
