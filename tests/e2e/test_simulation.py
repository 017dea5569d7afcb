"""The server over a cost model: no file, a small start, the same endpoints."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import PATIENCE_S, Serving, run_to_exit


def simulated(program, *flags, cost_model="instant", model=None):
    simulate = f"--simulate={cost_model}"
    return Serving(program, model, simulate, *flags) if model else Serving(program, simulate, *flags)


@pytest.fixture(scope="module")
def server(program):
    with simulated(program) as serving:
        yield serving
        serving.wait_until_idle()


def ask(server, content, **fields):
    answer = server.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **fields}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_answers_with_words_as_many_as_asked_for(server):
    answer = ask(server, "Tell me about rivers.", max_tokens=12)
    assert len(answer["choices"][0]["message"]["content"].split()) == 12
    assert answer["usage"]["completion_tokens"] == 12
    assert answer["model"] == "simulated-instant"
    assert ask(server, "And seas?")["usage"]["completion_tokens"] == 256


def test_an_answer_is_a_function_of_prompt_and_seed(server, program):
    fields = [{"temperature": 0}, {"temperature": 1, "seed": 7}, {"temperature": 1, "seed": 8}]

    def texts(server):
        return [ask(server, "Hi", max_tokens=9, **f)["choices"][0]["message"]["content"] for f in fields]

    here = texts(server)
    assert len(set(here)) == 3
    with simulated(program, cost_model="smg") as other:
        assert texts(other) == here


def test_streams(server):
    body = {"prompt": "Once", "max_tokens": 6, "stream": True, "temperature": 0}
    with httpx.stream("POST", server.url + "/v1/completions", json=body, timeout=PATIENCE_S) as stream:
        lines = [line[6:] for line in stream.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    assert len("".join(json.loads(line)["choices"][0]["text"] for line in lines[:-1]).split()) == 6


def test_the_next_turn_finds_the_former_in_the_prefix_cache(server):
    question = {"role": "user", "content": "Tell me a long story of a fish. " * 8}
    first = server.post("/v1/chat/completions", {"messages": [question], "max_tokens": 100}).json()
    answer = {"role": "assistant", "content": first["choices"][0]["message"]["content"]}
    messages = [question, answer, {"role": "user", "content": "And then?"}]
    second = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1}).json()
    # All whole blocks of the first turn, its answer among them; its last token was never computed.
    known = first["usage"]["total_tokens"] - 1
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == known // 16 * 16


def test_tokens_come_back_as_the_text_they_were(server):
    text = "A fish, <|im_end|> 12 kobe lina\nÄ"
    tokens = server.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json()["tokens"]
    assert server.post("/detokenize", {"tokens": tokens}).json()["prompt"] == text


def test_is_an_embedding_server_too(server):
    answer = server.post("/v1/embeddings", {"input": ["a", "b"]}).json()
    assert len(answer["data"]) == 2 and len(answer["data"][0]["embedding"]) == 256


def test_says_what_it_cannot_do_without_a_tokenizer_of_a_model(server):
    body = {"prompt": "x", "structured_outputs": {"regex": "[0-9]+"}}
    answer = server.post("/v1/completions", body)
    assert answer.status_code == 501
    assert "tokenizer" in answer.json()["error"]["message"]


def test_a_model_gives_its_tokenizer_and_template(program, model):
    with simulated(program, "--served-model-name", "smol", model=model) as server:
        answer = ask(server, "Hi", max_tokens=5)
        assert answer["model"] == "smol"
        assert len(answer["choices"][0]["message"]["content"].split()) == 5
        assert server.post("/tokenize", {"prompt": "The river"}).json()["count"] == 2
        body = {"prompt": "x", "max_tokens": 40, "structured_outputs": {"regex": "[0-9]{3}"}}
        text = server.post("/v1/completions", body).json()["choices"][0]["text"]
        assert len(text) == 3 and text.isdigit()


def test_costs_the_time_that_the_model_says(program, tmp_path):
    """A bound from below alone: a slow machine adds to it."""
    costs = tmp_path / "costs.json"
    costs.write_text('{"step_ms": 5, "prefill_tokens_per_s": 1000, "decode_sequence_ms": 5}')
    with simulated(program, cost_model=str(costs)) as server:
        begin = time.monotonic()
        answer = server.post("/v1/completions", {"prompt": [300] * 500, "max_tokens": 11})
        assert answer.json()["usage"]["completion_tokens"] == 11
        assert time.monotonic() - begin >= 0.505 + 10 * 0.01


def test_is_not_ready_before_its_load_time_has_passed(program, tmp_path):
    costs = tmp_path / "costs.json"
    costs.write_text('{"load_s": 0.5}')
    begin = time.monotonic()
    with simulated(program, cost_model=str(costs)):
        assert time.monotonic() - begin >= 0.5


def test_twenty_replicas_start_at_once(program):
    servers = [simulated(program, cost_model="smg") for _ in range(20)]
    try:
        for server in servers:
            server.wait_until_ready()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda s: ask(s, "Hi", max_tokens=4, temperature=0), servers))
        assert len({a["choices"][0]["message"]["content"] for a in answers}) == 1
    finally:
        for server in servers:
            server.__exit__()


def test_refuses_a_wrong_cost_model_in_a_sentence(program, tmp_path):
    costs = tmp_path / "costs.json"
    costs.write_text('{"step": 5}')
    code, output = run_to_exit(program, "--simulate", str(costs))
    assert code == 2
    assert "'step'" in output and "step_ms" in output
