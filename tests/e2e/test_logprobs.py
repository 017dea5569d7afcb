"""Log probabilities of answers and prompts, in every form, against transformers and against each other."""

import json
import math
import pathlib

import pytest
from serving import Serving

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "smollm2.json").read_text())["prompts"]


@pytest.fixture(scope="module")
def exact_server(program, model):
    """Plain fp32 arithmetic on the same weights, as the goldens were made."""
    flags = ("--device", "reference", "--kv-cache-dtype", "f32", "--max-model-len", "256")
    with Serving(program, model, *flags, "--max-num-seqs", "4") as serving:
        yield serving


@pytest.mark.parametrize("prompt", GOLDEN, ids=[prompt["text"][:12] for prompt in GOLDEN])
def test_a_prompts_log_probabilities_are_those_of_transformers(exact_server, prompt):
    ids = prompt["ids"]
    answer = exact_server.post("/v1/completions", {"prompt": ids, "max_tokens": 1, "prompt_logprobs": 5})
    assert answer.status_code == 200, answer.text
    places = answer.json()["choices"][0]["prompt_logprobs"]
    assert len(places) == len(ids) and places[0] is None
    checked = 0
    for i, place in enumerate(places[1:]):
        golden = dict(zip(prompt["top_ids"][i], prompt["top_logits"][i], strict=True))
        for token, entry in place.items():
            if int(token) not in golden:
                continue
            assert entry["logprob"] == pytest.approx(
                golden[int(token)] - prompt["log_sum_exp"][i], abs=2e-2
            ), (i, token)
            checked += 1
        assert place[str(prompt["top_ids"][i][0])]["rank"] == 1
    assert checked >= 5 * (len(ids) - 1)


def test_an_answers_log_probabilities_are_those_of_the_same_prompt(server):
    """What was said greedily scores the same when it is told back as a prompt: the very same numbers."""
    fields = {"temperature": 0, "logprobs": 3, "return_token_ids": True}
    said = server.post("/v1/completions", {"prompt": "The sea is", "max_tokens": 20, **fields}).json()
    choice = said["choices"][0]
    told = server.post(
        "/v1/completions",
        {
            "prompt": choice["prompt_token_ids"] + choice["token_ids"],
            "max_tokens": 0,
            "echo": True,
            **fields,
        },
    ).json()
    echoed = told["choices"][0]["logprobs"]
    count = len(choice["token_ids"])
    assert echoed["token_logprobs"][0] is None and echoed["top_logprobs"][0] is None
    assert echoed["token_logprobs"][-count:] == choice["logprobs"]["token_logprobs"]
    assert echoed["top_logprobs"][-count:] == choice["logprobs"]["top_logprobs"]
    assert told["choices"][0]["text"] == "The sea is" + choice["text"]
    assert told["choices"][0]["finish_reason"] == "length"
    assert told["usage"]["completion_tokens"] == 0


def test_echo_streams_the_prompt_and_its_log_probabilities_first(sdk, model_id):
    request = dict(model=model_id, prompt="One, two,", max_tokens=4, temperature=0, echo=True, logprobs=2)
    whole = sdk.completions.create(**request).choices[0]
    text, tokens, values, offsets = "", [], [], []
    for chunk in sdk.completions.create(**request, stream=True):
        choice = chunk.choices[0]
        text += choice.text
        if choice.logprobs is not None:
            tokens += choice.logprobs.tokens
            values += choice.logprobs.token_logprobs
            offsets += choice.logprobs.text_offset
    assert text == whole.text and text.startswith("One, two,")
    assert tokens == whole.logprobs.tokens
    assert values == whole.logprobs.token_logprobs and values[0] is None
    assert offsets == whole.logprobs.text_offset
    assert [text[a:b] for a, b in zip(offsets, offsets[1:] + [len(text)])] == tokens


def test_chat_gives_them_of_prompt_and_answer(server):
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "prompt_logprobs": 1,
    }
    answer = server.post("/v1/chat/completions", body).json()
    assert len(answer["prompt_logprobs"]) == answer["usage"]["prompt_tokens"]
    assert answer["prompt_logprobs"][0] is None
    for place in answer["prompt_logprobs"][1:]:
        assert 1 <= len(place) <= 2
        assert {"logprob", "rank", "decoded_token"} == set(next(iter(place.values())))
    for entry in answer["choices"][0]["logprobs"]["content"]:
        assert bytes(entry["bytes"]).decode(errors="replace") == entry["token"]
        assert len(entry["top_logprobs"]) == 2
        # Greedy: the chosen one is the likeliest.
        assert entry["logprob"] == max(top["logprob"] for top in entry["top_logprobs"])


def test_the_most_likely_tokens_share_less_than_everything(server):
    body = {"prompt": "x", "max_tokens": 3, "temperature": 0, "logprobs": 20, "prompt_logprobs": 0}
    choice = server.post("/v1/completions", body).json()["choices"][0]
    for tops in choice["logprobs"]["top_logprobs"]:
        assert sum(math.exp(value) for value in tops.values()) <= 1.0001


def test_a_scored_prompt_is_not_taken_from_the_prefix_cache(server):
    body = {"prompt": "The same words, told twice over. " * 8, "max_tokens": 1, "prompt_logprobs": 0}
    first, second = (server.post("/v1/completions", body).json() for _ in range(2))
    assert first["choices"][0]["prompt_logprobs"] == second["choices"][0]["prompt_logprobs"]
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_many_scored_prompts_at_once_change_nothing(server):
    prompts = [
        f"Story number {i}: " + "once upon a time there was a river. " * (i % 7 + 1) for i in range(24)
    ]
    fields = {"max_tokens": 2, "temperature": 0, "echo": True, "logprobs": 1}
    together = server.post("/v1/completions", {"prompt": prompts, **fields}).json()["choices"]
    for i in (0, 7, 23):
        alone = server.post("/v1/completions", {"prompt": prompts[i], **fields}).json()["choices"][0]
        assert together[i]["logprobs"] == alone["logprobs"]
