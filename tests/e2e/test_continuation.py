"""An answer that broke off after k tokens and goes on elsewhere is the unbroken one, token by token."""

import json

import httpx
import pytest
from serving import PATIENCE_S, Serving

GREEDY, SEEDED = {"temperature": 0}, {"temperature": 1.0, "seed": 11, "top_k": 30}
CASES = {
    "greedy": GREEDY,
    "seeded": SEEDED,
    "penalties": SEEDED | {"frequency_penalty": 0.7, "repetition_penalty": 1.2},
    "min_tokens": SEEDED | {"min_tokens": 13},
}


@pytest.fixture(scope="module")
def others(program):
    """Two replicas of one simulated model."""
    with Serving(program, "--simulate=instant") as one, Serving(program, "--simulate=instant") as other:
        yield one, other


def chat(content, **fields):
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **fields}


def completion(prompt, **fields):
    return "/v1/completions", {"prompt": prompt, **fields}


def ask(server, path, body):
    answer = server.post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(choice):
    return choice["message"]["content"] if "message" in choice else choice["text"]


def stream(server, path, body):
    """The deltas' texts and token ids, the last finish_reason, the usage."""
    body = body | {"stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True}
    pieces, reason, usage = [], None, None
    with httpx.stream("POST", server.url + path, json=body, timeout=PATIENCE_S) as lines:
        assert lines.status_code == 200, lines.read()
        for line in lines.iter_lines():
            if not line or line == "data: [DONE]":
                continue
            chunk = json.loads(line.removeprefix("data: "))
            assert "error" not in chunk, chunk
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                reason = choice["finish_reason"] or reason
                text = choice["delta"].get("content") if "delta" in choice else choice["text"]
                pieces.append((text or "", choice.get("token_ids") or []))
    return pieces, reason, usage


def check_every_break(one, other, path, body):
    pieces, reason, usage = stream(one, path, body)
    ids = [i for _, some in pieces for i in some]
    text = "".join(text for text, _ in pieces)
    assert len(ids) >= 10
    told, told_ids = "", []
    for piece, some in pieces:
        told, told_ids = told + piece, told_ids + some
        if not told_ids or len(told_ids) == len(ids):
            continue
        rest, rest_reason, rest_usage = stream(other, path, body | {"continue_tokens": told_ids})
        assert told_ids + [i for _, some in rest for i in some] == ids
        assert told + "".join(text for text, _ in rest) == text
        assert rest_reason == reason
        assert rest_usage["completion_tokens"] == usage["completion_tokens"]
        assert rest_usage["prompt_tokens"] == usage["prompt_tokens"]


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("make", [chat, completion])
def test_goes_on_with_the_very_tokens(others, make, fields):
    check_every_break(*others, *make("Tell me about rivers.", max_tokens=24, **fields))


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("make", [chat, completion])
def test_goes_on_with_a_real_model_s_tokens(server, make, fields):
    check_every_break(server, server, *make("Tell me about rivers. 🙂 é", max_tokens=16, **fields))


def test_holds_back_what_was_held_back(server):
    """Half of a stop string, half of a character."""
    path, body = completion("Repeat: 🙂🙂🙂🙂🙂🙂", max_tokens=40, stop=["zzz"], **GREEDY)
    check_every_break(server, server, path, body)
    whole = text_of(ask(server, path, body)["choices"][0])
    check_every_break(server, server, path, body | {"stop": [whole[-6:-3] + "~", whole[5:9] + "no"]})


def test_stops_where_the_unbroken_answer_does(others):
    one, other = others
    path, body = chat("Count.", max_tokens=30, return_token_ids=True, **GREEDY)
    whole = ask(one, path, body)["choices"][0]
    words = text_of(whole).split()
    stopped = ask(other, path, body | {"stop": [words[20]], "continue_tokens": whole["token_ids"][:9]})
    assert text_of(stopped["choices"][0]).split() == words[9:20]
    assert stopped["choices"][0]["finish_reason"] == "stop"


def test_keeps_a_grammar(server):
    fields = {"structured_outputs": {"regex": "[a-z]{4}-[0-9]{30}"}, "return_token_ids": True}
    path, body = completion("Serial:", max_tokens=60, **SEEDED, **fields)
    whole = ask(server, path, body)["choices"][0]
    for cut in range(1, len(whole["token_ids"])):
        rest = ask(server, path, body | {"continue_tokens": whole["token_ids"][:cut]})["choices"][0]
        assert whole["token_ids"][:cut] + rest["token_ids"] == whole["token_ids"]
        assert whole["text"].endswith(rest["text"])


def test_keeps_a_tool_call(server):
    parameters = {"type": "object", "required": ["city"], "additionalProperties": False}
    parameters["properties"] = {"city": {"type": "string", "maxLength": 12}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    fields = {
        "tools": tools,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "return_token_ids": True,
    }
    path, body = chat("How is the weather in Paris?", max_tokens=60, **GREEDY, **fields)
    whole = ask(server, path, body)["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    call = whole["message"]["tool_calls"][0]["function"]
    for cut in range(1, len(whole["token_ids"]) - 1, 3):
        rest = ask(server, path, body | {"continue_tokens": whole["token_ids"][:cut]})["choices"][0]
        assert rest["message"]["tool_calls"][0]["function"] == call


def test_refuses_what_it_cannot_go_on_with(others):
    server = others[0]
    path, body = completion("Hi", max_tokens=6, return_token_ids=True, **GREEDY)
    whole = ask(server, path, body)["choices"][0]
    ids = whole["token_ids"]
    wrong = [
        {"continue_tokens": ids},
        {"continue_tokens": ids + [300]},
        {"continue_tokens": [10**9]},
        {"continue_tokens": "text"},
        {"continue_tokens": ids[:2], "n": 2},
        {"continue_tokens": ids[:2], "echo": True},
        {"continue_tokens": ids[:2], "prompt": ["a", "b"]},
        {"continue_tokens": ids[:2], "prompt_logprobs": 1},
        {"continue_tokens": ids[:3], "stop": [whole["text"].split()[1]]},
    ]
    for fields in wrong:
        answer = server.post(path, body | fields)
        assert answer.status_code == 400, fields
        assert answer.json()["error"]["param"] == "continue_tokens", fields
    assert ask(server, path, body | {"continue_tokens": []})["choices"][0]["token_ids"] == ids
