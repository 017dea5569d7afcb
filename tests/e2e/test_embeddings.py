"""Embeddings, score and rerank through the OpenAI SDK and by hand, with the real model."""

import math

import pytest

NEAR = ["The cat sleeps on the sofa.", "A cat is sleeping on a couch."]
FAR = "Quarterly revenue grew by nine percent."


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_the_sdk_decodes_vectors_of_length_1(sdk, model_id):
    answer = sdk.embeddings.create(model=model_id, input=[*NEAR, FAR])
    vectors = [item.embedding for item in answer.data]
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert {len(vector) for vector in vectors} == {576}
    for vector in vectors:
        assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 10


def test_floats_and_base64_say_the_same(sdk, model_id):
    floats = sdk.embeddings.create(model=model_id, input=FAR, encoding_format="float").data[0].embedding
    packed = sdk.embeddings.create(model=model_id, input=FAR).data[0].embedding
    assert packed == pytest.approx(floats, abs=1e-6)


def test_mean_pooling_finds_the_paraphrase(sdk, model_id):
    answer = sdk.embeddings.create(model=model_id, input=[*NEAR, FAR], extra_body={"pooling": "mean"})
    first, paraphrase, other = (item.embedding for item in answer.data)
    assert cosine(first, paraphrase) > cosine(first, other)


def test_the_answer_does_not_depend_on_company(sdk, model_id):
    alone = sdk.embeddings.create(model=model_id, input=NEAR[0]).data[0].embedding
    crowd = sdk.embeddings.create(model=model_id, input=[FAR] * 40 + [NEAR[0]]).data[-1].embedding
    assert alone == crowd


def test_rerank_puts_the_query_itself_first(server):
    body = {"query": NEAR[0], "documents": [FAR, NEAR[0]], "return_documents": False}
    answer = server.post("/v1/rerank", body)
    assert answer.status_code == 200
    best = answer.json()["results"][0]
    assert best["index"] == 1 and best["relevance_score"] == pytest.approx(1, abs=1e-4)
    assert "document" not in best


def test_score_is_symmetric(server):
    scores = [
        server.post("/v1/score", {"text_1": a, "text_2": b}).json()["data"][0]["score"]
        for a, b in [NEAR, NEAR[::-1]]
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
