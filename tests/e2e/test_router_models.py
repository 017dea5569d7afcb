"""Several models behind one router: names that stand for some of them by weight, and shadow traffic."""

import json
import re

import httpx
import pytest
from routing import FalseReplica, Routing, wait_until
from serving import Serving


@pytest.fixture(scope="module")
def two_models(program):
    with Serving(program, "--simulate=instant", "--served-model-name=old") as old:
        with Serving(program, "--simulate=instant", "--served-model-name=new") as new:
            yield [old, new]


def chat(content, **fields):
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2, **fields}


def model_of(router, body, **headers):
    answer = httpx.post(router.url + "/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["model"]


def metric(router, name):
    text = httpx.get(router.url + "/metrics").text
    return {labels: float(value) for labels, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.M)}


def test_a_share_of_the_sessions_gets_the_canary_and_keeps_it(program, two_models):
    flags = ["--model-alias=chat=old*3,new*1"]
    with Routing(program, two_models, *flags) as router:
        given = {
            i: model_of(router, chat("Hi.", model="chat"), **{"x-session-id": f"s{i}"}) for i in range(120)
        }
        assert 12 <= sum(model == "new" for model in given.values()) <= 50
        for i in range(0, 120, 7):
            said = chat("Something else.", model="chat")
            assert model_of(router, said, **{"x-session-id": f"s{i}"}) == given[i]
            assert model_of(router, said | {"user": f"s{i}"}) == given[i]
        # Without a name of its session a conversation is known by its opening.
        for i in range(20):
            opening = chat(f"Question {i}.", model="chat")
            first = model_of(router, opening)
            more = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
            assert model_of(router, opening | {"messages": opening["messages"] + more}) == first
    with Routing(program, two_models, *flags) as again:
        for i in range(0, 120, 7):
            assert model_of(again, chat("Hi.", model="chat"), **{"x-session-id": f"s{i}"}) == given[i]


def test_a_canary_that_is_away_leaves_its_share_to_the_others(program, two_models):
    with Serving(program, "--simulate=instant", "--served-model-name=canary") as canary:
        with Routing(program, [*two_models, canary], "--model-alias=chat=old,canary*1000") as router:
            assert model_of(router, chat("Hi.", model="chat")) == "canary"
            canary.process.kill()
            wait_until(lambda: router.replicas()[canary.url]["state"] != "ready")
            assert model_of(router, chat("Hi.", model="chat")) == "old"


def test_shadow_traffic_gets_a_copy_and_nobody_hears_of_it(program, two_models, tmp_path):
    log = tmp_path / "access.jsonl"
    flags = ["--shadow-traffic=old=new", f"--access-log={log}"]
    with Routing(program, two_models, *flags) as router:
        for i in range(10):
            assert model_of(router, chat(f"Hi {i}.", model="old"), **{"x-request-id": f"r{i}"}) == "old"
        assert model_of(router, chat("Hi.", model="new")) == "new"
        ok = 'model="old",target="new",status="200"'
        wait_until(lambda: metric(router, "sluice_router_shadow_traffic_requests_total") == {ok: 10})
        lines = wait_until_lines(log, 21)
    copies = {line["shadow_of"]: line for line in lines if "shadow_of" in line}
    assert set(copies) == {f"r{i}" for i in range(10)}
    assert all(line["model"] == "new" and line["request_id"].endswith("-shadow") for line in copies.values())
    assert sum(line["model"] == "new" for line in lines) == 11


def wait_until_lines(log, count):
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= count, log.read_text)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_shadow_that_fails_or_has_no_room_is_counted_and_hurts_nobody(program, two_models):
    def fail(asked, body):
        if b"slow" in body:
            held.append(asked)
            return wait_until(lambda: released)
        if b"broken" in body:
            return asked.cut()
        asked.say(500, b"{}")

    held, released = [], []
    with FalseReplica(fail, model="shadow") as shadow:
        flags = ["--shadow-traffic=old=shadow", "--max-shadow-requests=1"]
        with Routing(program, [two_models[0], shadow], *flags) as router:
            count = lambda: metric(router, "sluice_router_shadow_traffic_requests_total")
            pair = 'model="old",target="shadow",status='
            assert model_of(router, chat("error", model="old")) == "old"
            wait_until(lambda: count().get(pair + '"500"') == 1, count)
            assert model_of(router, chat("broken", model="old")) == "old"
            wait_until(lambda: count().get(pair + '"broken"') == 1, count)
            assert model_of(router, chat("slow", model="old")) == "old"
            wait_until(lambda: held)
            assert model_of(router, chat("slow", model="old")) == "old"
            assert count()[pair + '"dropped"'] == 1
            released.append(True)
