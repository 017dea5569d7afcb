"""The router in front of real servers: what passes through it, where it goes, what it tells of itself."""

import concurrent.futures
import json
import re
import time

import httpx
import pytest
from routing import PATIENCE_S, FalseReplica, Routing, replicas_of, wait_until
from serving import Serving

GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def fleet(program):
    with replicas_of(program, 3) as replicas:
        yield replicas


@pytest.fixture(scope="module")
def router(program, fleet, tmp_path_factory):
    log = tmp_path_factory.mktemp("router") / "access.jsonl"
    with Routing(program, fleet, f"--access-log={log}", "--model-alias=gpt=simulated-instant") as router:
        router.access_log = log
        yield router


def chat(content, **fields):
    return {"messages": [{"role": "user", "content": content}], **fields}


def without_what_differs(answer):
    """Ids are of the request, times of the moment, and what was cached of the replica."""
    if isinstance(answer, dict):
        names = ["id", "created", "created_at", "completed_at", "timings", "request_id", "item_id"]
        names += ["prompt_tokens_details", "input_tokens_details", "cache_read_input_tokens"]
        return {k: without_what_differs(v) for k, v in answer.items() if k not in names}
    if isinstance(answer, list):
        return [without_what_differs(each) for each in answer]
    return answer


def deltas(server, path, body):
    """Every event of a stream, parsed, and the last line."""
    events, last = [], None
    with httpx.stream("POST", server.url + path, json=body | {"stream": True}, timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                events.append(json.loads(line.removeprefix("data: ")))
            last = line or last
    return events, last


CASES = {
    "chat": ("/v1/chat/completions", chat("Tell me about rivers.", max_tokens=9, **GREEDY)),
    "completions": ("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 9, "seed": 3}),
    "two prompts": ("/v1/completions", {"prompt": ["Once", "Twice"], "max_tokens": 3, **GREEDY}),
    "token ids": ("/v1/completions", {"prompt": list(range(300, 400)), "max_tokens": 3, **GREEDY}),
    "messages": ("/v1/messages", chat("Hello.", max_tokens=7, **GREEDY)),
    "responses": ("/v1/responses", {"input": "Hello.", "max_output_tokens": 7, "store": False, **GREEDY}),
    "count tokens": ("/v1/messages/count_tokens", chat("Hello, world.")),
    "tokenize": ("/tokenize", {"prompt": "Hello, world."}),
    "detokenize": ("/detokenize", {"tokens": [300, 301, 302]}),
    "a bad field": ("/v1/chat/completions", chat("Hello.", temperature=-1)),
    "no messages": ("/v1/chat/completions", {}),
    "a bad number": ("/v1/completions", {"prompt": "a", "max_tokens": -1}),
}


@pytest.mark.parametrize("path, body", CASES.values(), ids=CASES.keys())
def test_answers_as_the_replica_does(router, fleet, path, body):
    routed, direct = router.post(path, body), fleet[0].post(path, body)
    assert routed.status_code == direct.status_code, routed.text
    assert without_what_differs(routed.json()) == without_what_differs(direct.json())
    assert routed.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.parametrize("name", ["chat", "completions", "messages", "responses"])
def test_streams_as_the_replica_does(router, fleet, name):
    path, body = CASES[name]
    routed, routed_last = deltas(router, path, body)
    direct, direct_last = deltas(fleet[0], path, body)
    assert without_what_differs(routed) == without_what_differs(direct)
    assert re.sub(r'"id.*', "", routed_last) == re.sub(r'"id.*', "", direct_last)


@pytest.mark.parametrize("asked", [True, False, None])
def test_tells_token_ids_only_to_who_asked(router, fleet, asked):
    path, body = CASES["chat"]
    body = body | {"return_token_ids": asked}
    routed, _ = deltas(router, path, body)
    direct, _ = deltas(fleet[0], path, body)
    assert without_what_differs(routed) == without_what_differs(direct)
    assert any("token_ids" in choice for event in routed for choice in event["choices"]) == bool(asked)


def test_passes_what_is_not_plain_text(router, fleet):
    """Quotes, escapes, other alphabets, text that looks like fields of the API."""
    content = 'say "model": "x", \\ and \u2028, 🙂, "stream": true, "token_ids":[1,2] and ,"token_ids":[3]'
    body = chat(content, max_tokens=4, **GREEDY)
    for raw in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=2)):
        headers = {"Content-Type": "application/json"}
        routed = httpx.post(router.url + "/v1/chat/completions", content=raw.encode(), headers=headers)
        direct = httpx.post(fleet[0].url + "/v1/chat/completions", content=raw.encode(), headers=headers)
        assert without_what_differs(routed.json()) == without_what_differs(direct.json())


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"a":1', b'{"a" 1}', b'{"a":[}]}', b"{} {}", b'{"a":"\\']
)
def test_refuses_what_is_no_json(router, raw):
    answer = httpx.post(router.url + "/v1/completions", content=raw)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_merges_models_and_knows_aliases(router):
    models = {each["id"]: each for each in httpx.get(router.url + "/v1/models").json()["data"]}
    assert set(models) == {"simulated-instant", "gpt"}
    assert models["simulated-instant"]["max_model_len"] == 32768
    assert httpx.get(router.url + "/v1/models/gpt").json()["root"] == "simulated-instant"
    assert httpx.get(router.url + "/v1/models/none").status_code == 404
    answer = router.post("/v1/chat/completions", chat("Hi.", model="gpt", max_tokens=2))
    assert answer.json()["model"] == "simulated-instant"
    answer = router.post("/v1/chat/completions", chat("Hi.", model="another"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_what_is_kept_under_an_id_is_found_where_it_is(router):
    ids = [
        router.post("/v1/responses", {"input": "Hello.", "max_output_tokens": 4}).json()["id"]
        for _ in range(6)
    ]
    for response_id in ids:
        found = httpx.get(f"{router.url}/v1/responses/{response_id}")
        assert found.status_code == 200 and found.json()["id"] == response_id
    assert httpx.get(router.url + "/v1/responses/resp_none").status_code == 404


def test_what_goes_on_from_a_response_goes_where_it_is(router):
    for stream in (False, True):
        for _ in range(4):
            body = {"input": "Hello.", "max_output_tokens": 4}
            if stream:
                events, _ = deltas(router, "/v1/responses", body)
                previous = events[0]["response"]["id"]
            else:
                previous = router.post("/v1/responses", body).json()["id"]
            for _ in range(3):
                again = body | {"previous_response_id": previous}
                answer = router.post("/v1/responses", again)
                assert answer.status_code == 200, answer.text
                previous = answer.json()["id"]


def test_goes_where_the_prefix_is(router, fleet):
    """Turn after turn of a conversation finds all of the turns before in the cache of its replica."""
    messages = [{"role": "user", "content": "A long story, please. " * 200}]
    for turn in range(6):
        body = {"messages": messages, "max_tokens": 16, **GREEDY}
        answer = router.post("/v1/chat/completions", body).json()
        usage = answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        if turn > 0:
            assert cached >= before - 32, (turn, cached, before)
        before = usage["prompt_tokens"]
        messages += [answer["choices"][0]["message"], {"role": "user", "content": "Go on. " * 40}]
        messages[-2] = {"role": "assistant", "content": messages[-2]["content"]}
    assert router.metric("sluice_router_real_cached_tokens_total") > 0


def test_predicts_what_is_cached(router):
    """What the router believes of a prompt seen before is what the replica finds, but for the last blocks."""
    body = chat("Facts and figures of the world. " * 300, max_tokens=4, **GREEDY)
    first = router.post("/v1/chat/completions", body).json()["usage"]
    wait_until(lambda: router.metric("sluice_router_dictionary_entries") > 10)
    headers = {"x-sluice-explain": "1"}
    again = httpx.post(router.url + "/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE_S)
    told = json.loads(again.headers["x-sluice-explain"])
    chosen = next(each for each in told["candidates"] if each["replica"] == told["chosen"])
    real = again.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert real >= first["prompt_tokens"] - 32
    assert 0.8 * real <= chosen["cached_tokens"] <= real
    assert set(chosen["cost"]) == {"total", "wait", "compute", "recompute", "decode", "kv"}
    considered = router.post("/router/explain", body).json()
    assert considered["chosen"] == told["chosen"] and len(considered["candidates"]) == 3


def test_spreads_a_burst_of_what_shares_nothing(program):
    with replicas_of(program, 3, simulate="smg") as replicas, Routing(program, replicas) as router:

        def ask(turn):
            return router.post("/v1/completions", {"prompt": f"{turn} " * 500, "max_tokens": 2}).status_code

        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            assert set(pool.map(ask, range(60))) == {200}
        requests = {name: each["requests"] for name, each in router.replicas().items()}
        assert all(count >= 10 for count in requests.values()), requests


def test_names_the_request_everywhere(router):
    headers = {"x-request-id": "my-own-7", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    body = chat("Hi.", max_tokens=2)
    answer = httpx.post(router.url + "/v1/chat/completions", json=body, headers=headers)
    assert answer.headers["x-request-id"] == "my-own-7"
    assert answer.headers.get_list("x-request-id") == ["my-own-7"]
    assert answer.json()["id"] == "chatcmpl-my-own-7"
    wait_until(lambda: "my-own-7" in router.access_log.read_text())
    lines = [json.loads(line) for line in router.access_log.read_text().splitlines()]
    line = next(each for each in lines if each["request_id"] == "my-own-7")
    assert line["status"] == 200 and line["end"] == "complete" and line["attempts"] == 1
    assert line["model"] == "simulated-instant" and line["replica"] in router.replicas()
    assert line["bytes_in"] > 0 and line["bytes_out"] > 0 and line["duration_s"] > 0


def test_passes_headers_on_but_not_the_connection_s_own(program):
    def answer(replica, body):
        replica.say(200, b'{"ok":true}', x_mine="yes", Keep_Alive="timeout=5", Server="other")

    with FalseReplica(answer) as false, Routing(program, [false.url]) as router:
        headers = {"Authorization": "Bearer k", "x-thing": "1", "TE": "trailers", "x-sluice-explain": "1"}
        got = httpx.post(router.url + "/v1/embeddings", json={"input": "a"}, headers=headers)
        assert got.json() == {"ok": True}
        assert got.headers["x-mine"] == "yes" and "keep-alive" not in got.headers
        sent, body = false.posts[0]
        sent = {name.lower(): value for name, value in sent.items()}
        assert sent["authorization"] == "Bearer k" and sent["x-thing"] == "1"
        assert "te" not in sent and "x-sluice-explain" not in sent
        assert sent["x-request-id"] == got.headers["x-request-id"]
        assert json.loads(body) == {"input": "a"}


def test_bodies_pass_untouched(program):
    bodies = [
        b'{"input":"a"}',
        b' { "input" : "\\u0041",\n "extra": [1,2,{"a":"]"}] } ',
        b'{"input":"' + b"x" * 300_000 + b'"}',
    ]
    with FalseReplica(lambda replica, body: replica.say(200, body)) as false:
        with Routing(program, [false.url]) as router:
            for body in bodies:
                got = httpx.post(router.url + "/v1/embeddings", content=body)
                assert got.content == body
            assert [body for _, body in false.posts] == bodies
            # What must change changes, and nothing else.
            before = b'{ "stream":true, "input":"a"}'
            httpx.post(router.url + "/v1/completions", content=before)
            assert false.posts[-1][1] == before


def test_a_client_that_leaves_is_cancelled_at_its_replica(program):
    with Serving(program, "--simulate=smg") as replica, Routing(program, [replica]) as router:
        body = chat("Talk for a long time.", max_tokens=30000, stream=True)
        with httpx.stream(
            "POST", router.url + "/v1/chat/completions", json=body, timeout=PATIENCE_S
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            replica.wait_for_metric("vllm:num_requests_running", 1)
        replica.wait_until_idle()
        wait_until(lambda: router.metric("sluice_router_inflight_requests") == 0)
        assert router.metric("sluice_router_client_left_total") == 1
        # The same before there is an answer.
        with pytest.raises(httpx.ReadTimeout):
            body = chat("Talk for a long time.", max_tokens=30000)
            httpx.post(router.url + "/v1/chat/completions", json=body, timeout=0.5)
        replica.wait_until_idle()
        wait_until(lambda: router.metric("sluice_router_inflight_requests") == 0)


def test_metrics_are_well_formed(router):
    router.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
    text = httpx.get(router.url + "/metrics").text
    typed = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    assert len(typed) == len(re.findall(r"^# TYPE", text, re.MULTILINE))
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, value = re.fullmatch(
            r'(sluice_router_[a-z_]+)(?:\{(?:[a-z]+="[^"]*",?)+\})? (\S+)', line
        ).groups()
        assert re.sub("_(bucket|sum|count)$", "", name) in typed or name in typed, line
        assert float(value) >= 0
    for name in (
        "queue_depth",
        "inflight_requests",
        "endpoints",
        "added_latency_seconds",
        "replica_knowledge",
    ):
        assert f"sluice_router_{name}" in typed
    assert 'sluice_router_endpoints{model="simulated-instant",state="ready"} 3' in text
    assert text.count('state="exact"} 1') == 3


def test_a_second_router_start_on_the_same_port_says_so(program, router):
    from routing import router_program
    from serving import run_to_exit

    code, output = run_to_exit(
        router_program(program), f"--port={router.port}", "--replica=http://127.0.0.1:1"
    )
    assert code == 1 and "in use" in output
    for flags, word in (
        ([], "--replica"),
        (["--replica", "ftp://x"], "http"),
        (["--replica", "http://a,weight=0"], "weight"),
        (["--replica", "http://a", "--policy", "best"], "--policy"),
        (["--replica", "http://a", "--model-alias", "a"], "ALIAS=MODEL"),
        (["--replicas-file", "/nowhere"], "/nowhere"),
    ):
        code, output = run_to_exit(router_program(program), "--port=0", *flags)
        assert code != 0 and word in output, output


def test_time_passes_quietly(router):
    """An idle router keeps its replicas and its streams of events."""
    time.sleep(1)
    assert all(each["knowledge"] == "exact" for each in router.replicas().values())
