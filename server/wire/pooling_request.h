// What the endpoints read and write that turn texts into vectors: embeddings
// (https://platform.openai.com/docs/api-reference/embeddings), score and rerank as vLLM shapes them. A score
// is the cosine of two embeddings. Any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/wire/answer_format.h"
#include "server/wire/completion_request.h"

namespace sluice {

struct EmbeddingRequest {
  std::string model;
  std::vector<CompletionPrompt> inputs;  // at least one
  bool base64 = false;                   // little-endian float32, as OpenAI's clients ask for
  std::optional<int> dimensions;         // so many of the first ones, scaled to length 1 again
  bool normalize = true;                 // to length 1
  bool add_special_tokens = true;
  std::optional<int> truncate_prompt_tokens;  // keep so many of the last tokens; -1: what the model takes
  std::optional<bool> mean_pooling;           // "pooling": "mean" or "last"; none: the server's own
  std::vector<std::string> ignored;           // fields nobody read
};

// Scores query i against document i; one query against all.
struct ScoreRequest {
  std::string model;
  std::vector<std::string> queries, documents;
  std::optional<int> truncate_prompt_tokens;
  std::vector<std::string> ignored;
};

struct RerankRequest {
  std::string model;
  std::string query;
  std::vector<std::string> documents;
  int top_n = 0;  // 0: all
  bool return_documents = true;
  std::optional<int> truncate_prompt_tokens;
  std::vector<std::string> ignored;
};

Result<EmbeddingRequest> parse_embedding_request(std::string_view body, const WireLimits& limits);
Result<ScoreRequest> parse_score_request(std::string_view body, const WireLimits& limits);
Result<RerankRequest> parse_rerank_request(std::string_view body, const WireLimits& limits);

struct ScoredDocument {
  int index = 0;
  double score = 0;
};

// `options`: request_id, model and created_s are read.
std::string embedding_body(const AnswerOptions& options, std::span<const std::vector<float>> vectors,
                           bool base64, const Usage& usage);
std::string score_body(const AnswerOptions& options, std::span<const double> scores, const Usage& usage);
// `documents` empty: their texts are left out.
std::string rerank_body(const AnswerOptions& options, std::span<const ScoredDocument> ranking,
                        std::span<const std::string> documents, const Usage& usage);

}  // namespace sluice
