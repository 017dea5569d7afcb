// From the bodies of embeddings, score and rerank requests to ids, and from vectors to the answers' bodies.
#include <algorithm>
#include <cmath>
#include <ctime>

#include "server/api/plans.h"
#include "server/api/pooled_answer.h"
#include "server/wire/pooling_request.h"

namespace sluice {
namespace {

AnswerOptions answer_options(const PlanRequest& request, std::string model) {
  AnswerOptions options;
  options.request_id = request.request_id;
  options.model = std::move(model);
  options.created_s = std::time(nullptr);
  return options;
}

// The last tokens, as decoder models pool them: the end of a text says most about it.
void truncate(std::vector<int32_t>& ids, std::optional<int> keep, int max_model_len) {
  if (!keep) return;
  const auto most = static_cast<size_t>(*keep < 0 ? max_model_len : *keep);
  if (ids.size() > most) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(most));
}

Result<std::vector<int32_t>> encode_text(const ModelService& service, const std::string& text,
                                         std::optional<int> keep, const std::string& param) {
  SLUICE_ASSIGN(std::vector<int32_t> ids, service.tokenizer->encode(text, true, false));
  if (ids.empty()) return invalid_argument(param, "A text is empty.");
  truncate(ids, keep, service.limits.max_model_len);
  return ids;
}

void scale_to_length_1(std::span<float> vector) {
  double square = 0;
  for (const float x : vector) square += static_cast<double>(x) * x;
  if (square <= 0) return;
  const auto factor = static_cast<float>(1 / std::sqrt(square));
  for (float& x : vector) x *= factor;
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

Status append_texts(const ModelService& service, const std::vector<std::string>& texts,
                    std::optional<int> keep, const std::string& param, PooledPlan& plan) {
  for (const std::string& text : texts) {
    SLUICE_ASSIGN(std::vector<int32_t> ids, encode_text(service, text, keep, param));
    plan.inputs.push_back(std::move(ids));
  }
  return {};
}

}  // namespace

Result<PooledPlan> plan_embeddings(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(EmbeddingRequest asked, parse_embedding_request(request.body, service.limits));
  report_ignored(asked.ignored, request.request_id);
  SLUICE_ASSIGN(std::string model, service.answer_name(asked.model));
  PooledPlan plan;
  plan.input_param = "input";
  plan.pooling = service.pooling;
  if (asked.mean_pooling) plan.pooling = *asked.mean_pooling ? Pooling::kMean : Pooling::kLast;
  for (CompletionPrompt& input : asked.inputs) {
    std::vector<int32_t> ids;
    if (auto* given = std::get_if<std::vector<int32_t>>(&input)) {
      ids = std::move(*given);
    } else {
      SLUICE_ASSIGN(ids,
                    service.tokenizer->encode(std::get<std::string>(input), asked.add_special_tokens, true));
    }
    if (ids.empty()) return invalid_argument("input", "An input is empty.");
    truncate(ids, asked.truncate_prompt_tokens, service.limits.max_model_len);
    plan.inputs.push_back(std::move(ids));
  }
  plan.write = [options = answer_options(request, std::move(model)), dimensions = asked.dimensions,
                normalize = asked.normalize,
                base64 = asked.base64](std::vector<std::vector<float>>&& vectors, const Usage& usage) {
    for (auto& vector : vectors) {
      if (dimensions) vector.resize(static_cast<size_t>(*dimensions));
      if (normalize) scale_to_length_1(vector);
    }
    return embedding_body(options, vectors, base64, usage);
  };
  return plan;
}

Result<PooledPlan> plan_score(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(const ScoreRequest asked, parse_score_request(request.body, service.limits));
  report_ignored(asked.ignored, request.request_id);
  SLUICE_ASSIGN(std::string model, service.answer_name(asked.model));
  PooledPlan plan;
  plan.input_param = "text_1";
  plan.pooling = service.pooling;
  SLUICE_TRY(append_texts(service, asked.queries, asked.truncate_prompt_tokens, "text_1", plan));
  SLUICE_TRY(append_texts(service, asked.documents, asked.truncate_prompt_tokens, "text_2", plan));
  plan.write = [options = answer_options(request, std::move(model)), queries = asked.queries.size()](
                   std::vector<std::vector<float>>&& vectors, const Usage& usage) {
    std::vector<double> scores;
    for (size_t i = queries; i < vectors.size(); ++i)
      scores.push_back(cosine(vectors[queries == 1 ? 0 : i - queries], vectors[i]));
    return score_body(options, scores, usage);
  };
  return plan;
}

Result<PooledPlan> plan_rerank(const ModelService& service, const PlanRequest& request) {
  SLUICE_ASSIGN(RerankRequest asked, parse_rerank_request(request.body, service.limits));
  report_ignored(asked.ignored, request.request_id);
  SLUICE_ASSIGN(std::string model, service.answer_name(asked.model));
  PooledPlan plan;
  plan.input_param = "documents";
  plan.pooling = service.pooling;
  SLUICE_TRY(append_texts(service, {asked.query}, asked.truncate_prompt_tokens, "query", plan));
  SLUICE_TRY(append_texts(service, asked.documents, asked.truncate_prompt_tokens, "documents", plan));
  plan.write = [options = answer_options(request, std::move(model)), asked = std::move(asked)](
                   std::vector<std::vector<float>>&& vectors, const Usage& usage) {
    std::vector<ScoredDocument> ranking;
    for (size_t i = 1; i < vectors.size(); ++i)
      ranking.push_back({static_cast<int>(i) - 1, cosine(vectors[0], vectors[i])});
    std::stable_sort(ranking.begin(), ranking.end(),
                     [](const ScoredDocument& a, const ScoredDocument& b) { return a.score > b.score; });
    if (asked.top_n > 0 && ranking.size() > static_cast<size_t>(asked.top_n))
      ranking.resize(static_cast<size_t>(asked.top_n));
    return rerank_body(options, ranking,
                       asked.return_documents ? std::span(asked.documents) : std::span<const std::string>(),
                       usage);
  };
  return plan;
}

}  // namespace sluice
