"""Input that is wrong gets a sentence and a status, and the server goes on."""

import json
import socket

import pytest

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


def error_of(answer, status):
    """The error object of an answer with that status, after checking its shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].strip() and error["type"]
    return error


@pytest.fixture(autouse=True)
def goes_on(server):
    yield
    assert server.post(CHAT, HELLO).status_code == 200


MALFORMED = [
    b"",
    b"{",
    b"}",
    b"[]",
    b"null",
    b"42",
    b'"text"',
    b'{"messages": }',
    b'{"messages": [}',
    b"\xff\xfe",
    b'{"messages": [], }',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"prompt": "\xc3\x28"}',
    b'{"x": 1e999999}',
]


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:16]))
def test_malformed_json(server, path, body):
    with server.client() as client:
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert error_of(answer, 400)["type"] == "invalid_request_error"


OUT_OF_BOUNDS = [
    ("temperature", -0.1),
    ("temperature", "hot"),
    ("temperature", 1e30),
    ("temperature", [1]),
    ("top_p", 0),
    ("top_p", 1.1),
    ("top_p", "x"),
    ("top_k", -2),
    ("top_k", 1.5),
    ("min_p", -0.1),
    ("min_p", 2),
    ("presence_penalty", 2.1),
    ("frequency_penalty", -2.1),
    ("repetition_penalty", 0),
    ("repetition_penalty", -1),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", "many"),
    ("max_tokens", 2**63),
    ("n", 0),
    ("n", -1),
    ("n", 10**9),
    ("n", 2**70),
    ("seed", "x"),
    ("seed", 1.5),
    ("stop", 5),
    ("stop", [""]),
    ("stop", [1]),
    ("stop", ["x"] * 10_000),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [10**9]),
    ("stop_token_ids", "x"),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {"999999999": 1}),
    ("logit_bias", {"x": 1}),
    ("logit_bias", [1]),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("ignore_eos", 1),
    ("min_tokens", -1),
    ("response_format", {"type": "json_schema"}),
    ("model", 5),
    ("priority", "high"),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_BOUNDS, ids=lambda part: repr(part)[:24])
def test_a_value_out_of_bounds_is_named(server, field, value):
    for path, body in ((CHAT, HELLO), (TEXT, {"prompt": "Hello", "max_tokens": 2})):
        error = error_of(server.post(path, body | {field: value}), 400)
        assert error["param"].startswith(field), error
        assert error["type"] == "invalid_request_error"


MESSAGES = [
    None,
    "hello",
    [],
    {},
    [5],
    [{}],
    [{"role": "user"}],
    [{"content": "x"}],
    [{"role": "king", "content": "x"}],
    [{"role": "user", "content": 5}],
    [{"role": "user", "content": [{"type": "dance"}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]}],
]


@pytest.mark.parametrize("messages", MESSAGES, ids=lambda messages: json.dumps(messages)[:40])
def test_wrong_messages(server, messages):
    error = error_of(server.post(CHAT, {"messages": messages, "max_tokens": 2}), 400)
    assert error["param"].startswith("messages")


PROMPTS = [None, 5, {}, [], [[]], [-1], [10**9], [1.5], ["x", 5], [["x"]], [[1], "x"]]


@pytest.mark.parametrize("prompt", PROMPTS, ids=json.dumps)
def test_wrong_prompts(server, prompt):
    error = error_of(server.post(TEXT, {"prompt": prompt, "max_tokens": 2}), 400)
    assert error["param"].startswith("prompt")


def test_logprobs_over_the_limit(server):
    assert (
        error_of(server.post(CHAT, HELLO | {"logprobs": True, "top_logprobs": 1000}), 400)["param"]
        == "top_logprobs"
    )
    assert error_of(server.post(CHAT, HELLO | {"top_logprobs": 2}), 400)["param"] == "top_logprobs"
    assert error_of(server.post(TEXT, {"prompt": "x", "logprobs": 1000}), 400)["param"] == "logprobs"


def test_an_unknown_model_is_404(server):
    for path, body in ((CHAT, HELLO), (TEXT, {"prompt": "x"})):
        error = error_of(server.post(path, body | {"model": "gpt-nobody"}), 404)
        assert error["code"] == "model_not_found"
        assert "gpt-nobody" in error["message"]


def test_a_prompt_over_the_context_tells_both_lengths(server):
    with server.client() as client:
        longest = client.get("/v1/models").json()["data"][0]["max_model_len"]
    words = longest + 500
    error = error_of(server.post(TEXT, {"prompt": [1] * words, "max_tokens": 2}), 400)
    assert error["code"] == "context_length_exceeded"
    assert str(longest) in error["message"] and str(words) in error["message"]
    error = error_of(server.post(TEXT, {"prompt": "Hi", "max_tokens": longest}), 400)
    assert error["code"] == "context_length_exceeded"
    error = error_of(
        server.post(CHAT, HELLO | {"messages": [{"role": "user", "content": "word " * words}]}), 400
    )
    assert error["code"] == "context_length_exceeded"


def test_unknown_paths_and_methods(server):
    with server.client() as client:
        assert error_of(client.get("/v1/nothing"), 404)
        answer = client.get(CHAT)
        assert error_of(answer, 405)
        assert "POST" in answer.headers["allow"]
        assert error_of(client.delete("/v1/models"), 405)


def test_unknown_fields_are_ignored(server):
    assert server.post(CHAT, HELLO | {"x_my_field": {"a": [1]}, "user": "me"}).status_code == 200


def raw(server, request):
    """Bytes over a socket; the answer until the server closes or some time passes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
                if b"\r\n\r\n" in answer and b"Connection: close" not in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def test_a_body_over_the_limit_is_413(server):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n"
    assert raw(server, head.encode()).split(b"\r\n")[0].startswith(b"HTTP/1.1 413")


FRAMING = [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n X: folded\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    bytes(range(256)) * 8,
]


@pytest.mark.parametrize("request_bytes", FRAMING, ids=lambda request: repr(request[:40]))
def test_broken_framing_is_refused_or_closed(server, request_bytes):
    answer = raw(server, request_bytes)
    assert answer == b"" or 400 <= int(answer.split(b" ")[1]) < 600
