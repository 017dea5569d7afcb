"""Limits with flags, on a server where they are tight: what lies at one passes, and what passes
it is told its flag. Of clients that do not read, tests/server/net/session_test.cc tells."""

import socket
import time

import httpx
import openai
import pytest
from serving import PATIENCE_S, Serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
FLAGS = {
    "--max-body-bytes": "20000",
    "--max-buffered-body-bytes": "25000",
    "--max-request-line-bytes": "200",
    "--max-header-bytes": "1000",
    "--max-header-count": "30",
    "--max-connections": "8",
    "--max-pipelined-bytes": "8KiB",
    "--idle-timeout": "20",
    "--head-timeout": "0.5",
    "--body-timeout": "0.5",
    "--max-json-depth": "8",
    "--max-messages": "3",
    "--max-stop-strings": "2",
    "--max-n": "2",
    "--max-logprobs": "4",
    "--max-prompts": "3",
    "--max-choices": "4",
}


@pytest.fixture(scope="module")
def tight(program, model):
    with Serving(program, model, *(word for pair in FLAGS.items() for word in pair)) as server:
        yield server


@pytest.fixture(autouse=True)
def goes_on(request):
    yield
    if "tight" in request.fixturenames:
        server = request.getfixturevalue("tight")
        assert server.process.poll() is None, server.output()
        assert server.post(TEXT, {"prompt": "a", "max_tokens": 1}).status_code == 200


def expect_named(answer, status, flag):
    assert answer.status_code == status, answer.text
    assert f"({flag})" in answer.json()["error"]["message"], answer.text


def say(**fields):
    return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1} | fields


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


BOUNDED = [
    ("--max-messages", CHAT, lambda k: say(messages=[{"role": "user", "content": "a"}] * k), 3),
    ("--max-stop-strings", CHAT, lambda k: say(stop=["zq"] * k), 2),
    ("--max-n", CHAT, lambda k: say(n=k), 2),
    ("--max-n", TEXT, lambda k: {"prompt": "a", "max_tokens": 1, "n": k}, 2),
    ("--max-logprobs", CHAT, lambda k: say(logprobs=True, top_logprobs=k), 4),
    ("--max-logprobs", TEXT, lambda k: {"prompt": "a", "max_tokens": 1, "logprobs": k}, 4),
    ("--max-prompts", TEXT, lambda k: {"prompt": ["a"] * k, "max_tokens": 1}, 3),
    ("--max-prompts", "/v1/embeddings", lambda k: {"input": ["a"] * k}, 3),
    ("--max-prompts", "/v1/rerank", lambda k: {"query": "a", "documents": ["b"] * k}, 3),
    ("--max-choices", TEXT, lambda k: {"prompt": ["a"] * (k // 2), "max_tokens": 1, "n": 2}, 4),
    ("--max-json-depth", CHAT, lambda k: say(unknown=nested(k - 1)), 8),
]


@pytest.mark.parametrize(("flag", "path", "body", "bound"), BOUNDED)
def test_fields_of_a_request(tight, flag, path, body, bound):
    answer = tight.post(path, body(bound))
    assert answer.status_code == 200, answer.text
    step = 2 if flag == "--max-choices" else 1
    expect_named(tight.post(path, body(bound + step)), 400, flag)


def test_the_sdk_sees_the_sentence(tight):
    with openai.OpenAI(base_url=tight.url + "/v1", api_key="none", max_retries=0) as sdk:
        with pytest.raises(openai.BadRequestError, match="--max-n"):
            sdk.completions.create(model=sdk.models.list().data[0].id, prompt="a", n=100)


def test_the_body(tight):
    assert tight.post("/tokenize", {"prompt": "x" * 19000}).status_code == 200
    expect_named(tight.post("/tokenize", {"prompt": "x" * 21000}), 413, "--max-body-bytes")
    pieces = (b"x" * 1000 for _ in range(30))  # sent in chunks, so its size is not known before
    with tight.client() as client:
        answer = client.post("/tokenize", content=pieces, headers={"Content-Type": "application/json"})
    expect_named(answer, 413, "--max-body-bytes")


def test_all_bodies_together(tight):
    head = b"POST /tokenize HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 19000\r\n\r\n"
    with connect(tight) as holder:
        holder.sendall(head + b"x" * 18000)
        end = time.monotonic() + PATIENCE_S
        while True:  # until the first body is held, and until the server gives it up for its slowness
            answer = tight.post("/tokenize", {"prompt": "x" * 15000})
            if answer.status_code == 503:
                break
            assert time.monotonic() < end
            holder.close()
            holder = connect(tight)
            holder.sendall(head + b"x" * 18000)
    expect_named(answer, 503, "--max-buffered-body-bytes")
    assert answer.headers.get("connection") == "close"


def test_the_head(tight):
    get = lambda path, **headers: httpx.get(tight.url + path, headers=headers)
    expect_named(get("/" + "a" * 300), 414, "--max-request-line-bytes")
    expect_named(get("/health", **{"x-long": "a" * 2000}), 431, "--max-header-bytes")
    expect_named(get("/health", **{f"x-{i}": "1" for i in range(30)}), 431, "--max-header-count")
    assert get("/health", **{f"x-{i}": "1" for i in range(5)}).status_code == 200


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)


def read_all(plain):
    parts = []
    while part := plain.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_slow_clients(tight):
    with connect(tight) as plain:
        plain.sendall(b"GET /health HT")
        answer = read_all(plain)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"(--head-timeout)" in answer
    with connect(tight) as plain:
        plain.sendall(b"POST /tokenize HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc")
        answer = read_all(plain)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"(--body-timeout)" in answer


def test_connections(tight):
    held = [connect(tight) for _ in range(8)]
    try:
        for plain in held:  # answered, so they are counted
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
            assert plain.recv(65536).startswith(b"HTTP/1.1 200 ")
        answer = tight.post(TEXT, {"prompt": "a", "max_tokens": 1})
        expect_named(answer, 503, "--max-connections")
        assert answer.headers["retry-after"] == "1"
        assert httpx.get(tight.url + "/health").status_code == 200
    finally:
        for plain in held:
            plain.close()
    end = time.monotonic() + PATIENCE_S
    while tight.post(TEXT, {"prompt": "a", "max_tokens": 1}).status_code != 200:
        assert time.monotonic() < end


def test_requests_sent_ahead(tight):
    """One answer at a time; a few requests may wait behind it, many end the connection after it."""
    body = b'{"prompt": "Once", "max_tokens": 30, "ignore_eos": true}'
    one = b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    one += b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(tight) as plain:
        plain.sendall(one * 3)
        answer = b""
        while answer.count(b'"finish_reason"') < 3:
            answer += plain.recv(65536)
    with connect(tight) as plain:
        plain.sendall(one * 500)
        answer = read_all(plain)
    assert 1 <= answer.count(b'"finish_reason"') < 500


def test_a_requests_own_template(program, model, tight):
    own = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    refused = tight.post(CHAT, say(chat_template=own))
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "chat_template"
    assert "--trust-request-chat-template" in refused.text
    with Serving(program, model, "--trust-request-chat-template") as server:
        conversation = {"messages": [{"role": "user", "content": "Hello there"}]}
        rendered = server.post("/tokenize", conversation | {"chat_template": own}).json()["tokens"]
        plain = server.post(
            "/tokenize", {"prompt": "user: Hello there\n", "add_special_tokens": False}
        ).json()
        assert rendered == plain["tokens"]
        with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as sdk:
            name = sdk.models.list().data[0].id
            for extra in ({"chat_template": own}, {}):
                answer = sdk.chat.completions.create(
                    model=name, max_tokens=4, extra_body=extra, **conversation
                )
                assert (answer.usage.prompt_tokens == len(rendered)) == bool(extra)
        hostile = {
            "{% for x in %}": "cannot be compiled",
            "{{ missing.member }}": "failed",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}": "steps",
            "{% for a in range(99999) %}{{ 'x' * 10000 }}{% endfor %}": "bytes",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "recursion",
            "{% include '/etc/passwd' %}": "template",
            "x" * 70000: "bytes",
            "": "empty",
        }
        for template, reason in hostile.items():
            answer = server.post(CHAT, say(chat_template=template))
            if not template:  # none of its own: the model's
                assert answer.status_code == 200
                continue
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"] == "chat_template"
            assert reason in answer.json()["error"]["message"], answer.text
        assert server.post(CHAT, say()).status_code == 200
