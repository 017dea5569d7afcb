// Embeddings, score and rerank over the simulated engine, whose hidden states are known.
#include <cmath>
#include <cstring>

#include "tests/engine/engine_world.h"
#include "tests/server/api/server_world.h"

namespace sluice {
namespace {

using nlohmann::json;
using testing::ServerWorld;
using testing::WordTokenizer;

ServerWorld::Options wide_options() {
  ServerWorld::Options options;
  options.runner.facts.width = 8;
  return options;
}

std::vector<float> embedding_of(const ServerWorld& world, const std::vector<int32_t>& ids, Pooling pooling,
                                size_t dimensions = 8) {
  auto vector = testing::expected_embedding(world.options().runner, ids, pooling);
  vector.resize(dimensions);
  double square = 0;
  for (const float x : vector) square += static_cast<double>(x) * x;
  for (float& x : vector) x = static_cast<float>(x / std::sqrt(square));
  return vector;
}

std::vector<int32_t> ids_of(std::string_view text) {
  return *WordTokenizer().encode(text, true, false);
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

void expect_near(const json& given, const std::vector<float>& expected) {
  ASSERT_EQ(given.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(given[i].get<double>(), expected[i], 1e-6);
}

TEST(PooledAnswer, gives_each_input_its_vector_in_order) {
  ServerWorld world(wide_options());
  const auto response = world.post("/v1/embeddings", {{"input", {"one", "two", "a longer text"}}});
  ASSERT_EQ(response.status, 200) << response.body;
  const json body = json::parse(response.body);
  EXPECT_EQ(body.at("object"), "list");
  EXPECT_EQ(body.at("model"), "word-model");
  const std::vector<std::string> texts{"one", "two", "a longer text"};
  size_t tokens = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    tokens += ids_of(texts[i]).size();
    EXPECT_EQ(body.at("data")[i].at("index"), i);
    expect_near(body.at("data")[i].at("embedding"), embedding_of(world, ids_of(texts[i]), Pooling::kLast));
  }
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), tokens);
  EXPECT_EQ(body.at("usage").at("total_tokens"), tokens);
}

TEST(PooledAnswer, takes_token_ids_dimensions_the_mean_and_truncation) {
  ServerWorld world(wide_options());
  const std::vector<int32_t> ids{300, 301, 302, 303};
  const auto ask = [&](json extra) {
    json request{{"input", ids}};
    request.update(extra);
    const auto response = world.post("/v1/embeddings", request);
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body).at("data")[0].at("embedding");
  };
  expect_near(ask({{"dimensions", 3}}), embedding_of(world, ids, Pooling::kLast, 3));
  expect_near(ask({{"pooling", "mean"}}), embedding_of(world, ids, Pooling::kMean));
  expect_near(ask({{"truncate_prompt_tokens", 2}}), embedding_of(world, {302, 303}, Pooling::kLast));
  expect_near(ask({{"normalize", false}}),
              testing::expected_embedding(world.options().runner, ids, Pooling::kLast));
}

TEST(PooledAnswer, writes_the_same_floats_in_base64) {
  ServerWorld world(wide_options());
  const auto response = world.post("/v1/embeddings", {{"input", "text"}, {"encoding_format", "base64"}});
  ASSERT_EQ(response.status, 200) << response.body;
  const std::string text = json::parse(response.body).at("data")[0].at("embedding");
  static const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t word = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    word = word << 6U | static_cast<uint32_t>(alphabet.find(c));
    bits += 6;
    if (bits >= 8) bytes += static_cast<char>(word >> static_cast<unsigned>(bits -= 8) & 255U);
  }
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  const auto expected = embedding_of(world, ids_of("text"), Pooling::kLast);
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 1e-6);
}

TEST(PooledAnswer, computes_more_inputs_than_the_queue_holds) {
  auto options = wide_options();
  options.engine.max_num_queued_reqs = 4;
  options.engine.max_num_seqs = 4;
  options.runner.facts.max_sequences = 4;
  ServerWorld world(options);
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) texts.push_back("text " + std::to_string(i));
  const auto response = world.post("/v1/embeddings", {{"input", texts}});
  ASSERT_EQ(response.status, 200) << response.body;
  const json data = json::parse(response.body).at("data");
  ASSERT_EQ(data.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    expect_near(data[i].at("embedding"), embedding_of(world, ids_of(texts[i]), Pooling::kLast));
}

TEST(PooledAnswer, scores_by_cosine_one_query_against_all_or_pair_by_pair) {
  ServerWorld world(wide_options());
  const auto vector = [&](const std::string& text) {
    return embedding_of(world, ids_of(text), Pooling::kLast);
  };
  json body = json::parse(world.post("/v1/score", {{"text_1", "q"}, {"text_2", {"a", "b"}}}).body);
  ASSERT_EQ(body.at("data").size(), 2U);
  EXPECT_NEAR(body.at("data")[0].at("score").get<double>(), dot(vector("q"), vector("a")), 1e-5);
  EXPECT_NEAR(body.at("data")[1].at("score").get<double>(), dot(vector("q"), vector("b")), 1e-5);
  body = json::parse(world.post("/score", {{"queries", {"q", "p"}}, {"documents", {"a", "b"}}}).body);
  EXPECT_NEAR(body.at("data")[1].at("score").get<double>(), dot(vector("p"), vector("b")), 1e-5);
  EXPECT_EQ(world.post("/v1/score", {{"text_1", {"q", "p"}}, {"text_2", {"a"}}}).status, 400);
}

TEST(PooledAnswer, ranks_documents_best_first) {
  ServerWorld world(wide_options());
  const std::vector<std::string> documents{"red", "green", "blue", "q"};
  const json request{{"query", "q"}, {"documents", {"red", {{"text", "green"}}, "blue", "q"}}, {"top_n", 3}};
  for (const char* path : {"/v1/rerank", "/v2/rerank", "/rerank"}) {
    const auto response = world.post(path, request);
    ASSERT_EQ(response.status, 200) << response.body;
    const json results = json::parse(response.body).at("results");
    ASSERT_EQ(results.size(), 3U);
    EXPECT_EQ(results[0].at("index"), 3);  // the query itself
    EXPECT_NEAR(results[0].at("relevance_score").get<double>(), 1, 1e-5);
    for (size_t i = 0; i < results.size(); ++i) {
      const size_t index = results[i].at("index");
      EXPECT_EQ(results[i].at("document").at("text"), documents[index]);
      if (i > 0) {
        EXPECT_GE(results[i - 1].at("relevance_score"), results[i].at("relevance_score"));
      }
    }
  }
}

TEST(PooledAnswer, names_the_field_at_fault) {
  ServerWorld world(wide_options());
  const auto param = [&](const std::string& path, const json& request) {
    const auto response = world.post(path, request);
    EXPECT_EQ(response.status, 400) << response.body;
    return json::parse(response.body).at("error").at("param");
  };
  EXPECT_EQ(param("/v1/embeddings", json::object()), "input");
  EXPECT_EQ(param("/v1/embeddings", {{"input", json::array()}}), "input");
  EXPECT_EQ(param("/v1/embeddings", {{"input", {1, "a"}}}), "input");
  EXPECT_EQ(param("/v1/embeddings", {{"input", {5000}}}), "input");
  EXPECT_EQ(param("/v1/embeddings", {{"input", "a"}, {"dimensions", 9}}), "dimensions");
  EXPECT_EQ(param("/v1/embeddings", {{"input", "a"}, {"encoding_format", "hex"}}), "encoding_format");
  EXPECT_EQ(param("/v1/embeddings", {{"input", "a"}, {"pooling", "cls"}}), "pooling");
  EXPECT_EQ(param("/v1/embeddings", {{"input", "a"}, {"truncate_prompt_tokens", 0}}),
            "truncate_prompt_tokens");
  EXPECT_EQ(param("/v1/embeddings", {{"input", std::string(600, 'x')}}), "input");
  EXPECT_EQ(param("/v1/score", {{"text_1", "a"}}), "text_2");
  EXPECT_EQ(param("/v1/rerank", {{"query", "a"}, {"documents", {1}}}), "documents");
  EXPECT_EQ(world.post("/v1/embeddings", {{"input", "a"}, {"model", "other"}}).status, 404);
}

TEST(PooledAnswer, cancels_when_the_client_leaves) {
  ServerWorld::Options options;
  options.load = false;
  ServerWorld world(options);
  testing::HandEngine* hand = world.serve_by_hand();
  {
    testing::RawClient client(world.port());
    client.send(testing::post_request("/v1/embeddings", R"({"input":["a","b"]})"));
    hand->wait_for_request(2);
  }
  hand->wait_for_cancel(1);
  hand->wait_for_cancel(2);
}

}  // namespace
}  // namespace sluice
