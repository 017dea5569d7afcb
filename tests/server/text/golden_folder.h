// The folders under tests/golden/text: small tokenizers, and what transformers makes of awkward texts with
// them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/text/tokenizer.h"

namespace sluice {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path << " cannot be read; run the tests from the repository's root";
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::filesystem::path golden_folder(const std::string& name) {
  return "tests/golden/text/" + name;
}

inline TokenizerSource json_source(const std::string& name) {
  TokenizerSource source;
  source.tokenizer_json = read_file(golden_folder(name) / "tokenizer.json");
  return source;
}

// The same vocabulary as a GGUF would hold it.
inline TokenizerSource gguf_source(const nlohmann::json& gguf) {
  TokenizerSource source;
  auto& vocabulary = source.vocabulary.emplace();
  vocabulary.model = gguf.at("model");
  vocabulary.pre = gguf.at("pre");
  vocabulary.tokens = gguf.at("tokens").get<std::vector<std::string>>();
  vocabulary.types = gguf.at("types").get<std::vector<int32_t>>();
  vocabulary.scores = gguf.value("scores", std::vector<float>{});
  vocabulary.merges = gguf.at("merges").get<std::vector<std::string>>();
  vocabulary.add_bos = gguf.at("add_bos");
  vocabulary.add_space_prefix = gguf.value("add_space_prefix", false);
  source.bos_token = gguf.at("bos_token");
  return source;
}

inline std::shared_ptr<const Tokenizer> load_or_fail(const TokenizerSource& source) {
  auto tokenizer = Tokenizer::load(source);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

inline std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

struct GoldenCase {
  std::string text;
  std::vector<int32_t> ids, plain;
  std::string decoded, skipped;
};

struct Golden {
  nlohmann::json gguf;
  std::vector<GoldenCase> cases;
};

inline Golden read_golden(const std::string& name) {
  const auto json = nlohmann::json::parse(read_file(golden_folder(name) / "cases.json"));
  Golden golden{json.at("gguf"), {}};
  for (const auto& entry : json.at("cases")) {
    golden.cases.push_back({from_hex(entry.at("hex")), entry.at("ids"), entry.at("plain"),
                            entry.at("decoded"), entry.at("skipped")});
  }
  return golden;
}

inline const char* const kGoldenNames[] = {"gpt2", "smollm", "qwen2", "llama3", "tekken", "sentencepiece"};

}  // namespace sluice
