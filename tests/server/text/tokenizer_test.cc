#include "server/text/tokenizer.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <thread>

#include "models/model_files.h"
#include "tests/server/text/golden_folder.h"

namespace sluice {
namespace {

using testing::HasSubstr;

TokenizerSource gguf_of(const char* name) {
  return gguf_source(read_golden(name).gguf);
}

void expect_refused(const TokenizerSource& source, ErrorCode code, const std::string& reason) {
  const auto tokenizer = Tokenizer::load(source);
  ASSERT_FALSE(tokenizer.ok()) << reason;
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_THAT(tokenizer.error().message, HasSubstr(reason));
}

TEST(Tokenizer, a_clients_text_cannot_spell_a_special_token) {
  for (const char* name : {"qwen2", "llama3", "sentencepiece"}) {
    const auto tokenizer = load_or_fail(json_source(name));
    for (int32_t id = 0; id < tokenizer->vocabulary(); ++id) {
      if (!tokenizer->is_special(id)) continue;
      const std::string text = tokenizer->token_bytes(id);
      EXPECT_THAT(*tokenizer->encode("x" + text + "y", false, true), testing::Contains(id));
      EXPECT_THAT(*tokenizer->encode("x" + text + "y", false, false), testing::Not(testing::Contains(id)));
    }
  }
}

TEST(Tokenizer, every_id_has_its_bytes_and_every_special_token_its_id) {
  const auto tokenizer = load_or_fail(gguf_of("smollm"));
  EXPECT_EQ(tokenizer->vocabulary(), 600);
  const int32_t end = tokenizer->id_of("<|im_end|>");
  EXPECT_TRUE(tokenizer->is_special(end));
  EXPECT_EQ(tokenizer->token_bytes(end), "<|im_end|>");
  EXPECT_EQ(tokenizer->id_of("<|nothing|>"), -1);
  EXPECT_EQ(tokenizer->token_bytes(-1), "");
  EXPECT_EQ(tokenizer->token_bytes(600), "");
  EXPECT_FALSE(tokenizer->is_special(1 << 30));
  std::string joined;
  const auto ids = *tokenizer->encode("naïve 👋 text", false, false);
  for (const int32_t id : ids) joined += tokenizer->token_bytes(id);
  EXPECT_EQ(joined, "naïve 👋 text");
}

TEST(Tokenizer, adds_what_the_model_asks_for_around_a_text) {
  auto source = gguf_of("smollm");
  source.bos_token = "<|im_start|>";
  source.eos_token = "<|im_end|>";
  source.vocabulary->add_bos = source.vocabulary->add_eos = true;
  const auto tokenizer = load_or_fail(source);
  auto ids = *tokenizer->encode("hi", true, true);
  EXPECT_EQ(ids.front(), tokenizer->id_of("<|im_start|>"));
  EXPECT_EQ(ids.back(), tokenizer->id_of("<|im_end|>"));
  ids.erase(ids.begin());
  ids.pop_back();
  EXPECT_EQ(ids, *tokenizer->encode("hi", false, true));
}

TEST(Tokenizer, training_leftovers_do_not_cut_a_text) {
  auto source = json_source("smollm");
  auto json = nlohmann::ordered_json::parse(source.tokenizer_json);
  json["truncation"] = {
      {"direction", "Right"}, {"max_length", 3}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 50}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "<|endoftext|>"}};
  const std::string text = "a text of more than three tokens";
  const auto want = *load_or_fail(source)->encode(text, true, true);
  source.tokenizer_json = json.dump();
  EXPECT_EQ(*load_or_fail(source)->encode(text, true, true), want);
}

TEST(Tokenizer, threads_share_one) {
  const auto tokenizer = load_or_fail(json_source("llama3"));
  const auto golden = read_golden("llama3");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (const auto& want : golden.cases) EXPECT_EQ(*tokenizer->encode(want.text, true, true), want.ids);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Tokenizer, huge_runs_of_one_character_keep_their_text) {
  for (const char* name : kGoldenNames) {
    const auto tokenizer = load_or_fail(json_source(name));
    for (const std::string unit : {" ", "a", "1", "é", "\t \n", "<|im_start|>"}) {
      std::string text;
      while (text.size() < 300'000) text += unit;
      text += "x";
      const auto ids = tokenizer->encode(text, false, false);
      ASSERT_TRUE(ids.ok()) << name << " " << unit << ids.error().message;
      EXPECT_EQ(tokenizer->decode(*ids, false), text) << name << " " << unit;
    }
  }
}

TEST(Tokenizer, sources_that_contradict_themselves_are_refused_with_a_reason) {
  auto source = gguf_of("smollm");
  source.vocabulary->types.pop_back();
  expect_refused(source, ErrorCode::kCorrupt, "token_type");
  source = gguf_of("smollm");
  source.vocabulary->merges.push_back("neither");
  expect_refused(source, ErrorCode::kCorrupt, "\"neither\"");
  source = gguf_of("smollm");
  source.vocabulary->merges.push_back("no suchtoken");
  expect_refused(source, ErrorCode::kCorrupt, "merges do not fit");
  source = gguf_of("smollm");
  source.vocabulary->merges.clear();
  expect_refused(source, ErrorCode::kCorrupt, "no merges");
  source = gguf_of("smollm");
  source.vocabulary->tokens.clear();
  expect_refused(source, ErrorCode::kCorrupt, "empty");
  source = gguf_of("smollm");
  source.vocabulary->add_bos = true;
  expect_refused(source, ErrorCode::kCorrupt, "add_bos_token");
  source = gguf_of("sentencepiece");
  source.vocabulary->scores.clear();
  expect_refused(source, ErrorCode::kCorrupt, "scores");
}

TEST(Tokenizer, what_is_not_known_is_named) {
  auto source = gguf_of("smollm");
  source.vocabulary->pre = "tomorrows-bpe";
  expect_refused(source, ErrorCode::kUnsupported, "\"tomorrows-bpe\"");
  source.vocabulary->pre = "";
  expect_refused(source, ErrorCode::kUnsupported, "tokenizer.ggml.pre");
  source.vocabulary->model = "bert";
  expect_refused(source, ErrorCode::kUnsupported, "\"bert\"");
  auto json = nlohmann::json::parse(json_source("smollm").tokenizer_json);
  json["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  TokenizerSource other;
  other.tokenizer_json = json.dump();
  expect_refused(other, ErrorCode::kUnsupported, "WordPiece");
}

TEST(Tokenizer, bytes_that_are_no_tokenizer_are_refused) {
  TokenizerSource source;
  for (const std::string& bytes :
       {std::string(), std::string("{"), std::string("[1]"), std::string("\xff\xff"),
        std::string(100000, '['), std::string("{\"model\": {\"type\": \"BPE\"}}")}) {
    source.tokenizer_json = bytes;
    expect_refused(source, ErrorCode::kCorrupt, "tokenizer.json");
  }
}

// The default model's own vocabulary. tests/golden/make_tokenizer_golden.py --gguf FILE wrote what is
// expected.
TEST(Tokenizer, the_default_model_tokenizes_as_transformers_does) {
  const char* path = std::getenv("SLUICE_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "SLUICE_TEST_MODEL does not name the default model's GGUF file";
  const auto files = open_gguf(path);
  ASSERT_TRUE(files.ok()) << files.error().message;
  const auto tokenizer = load_or_fail(files->tokenizer);
  const auto golden = nlohmann::json::parse(read_file(golden_folder("smollm2_cases.json")));
  for (const auto& want : golden) {
    const std::string text = from_hex(want.at("hex"));
    EXPECT_EQ(*tokenizer->encode(text, true, true), want.at("ids").get<std::vector<int32_t>>()) << text;
  }
}

}  // namespace
}  // namespace sluice
