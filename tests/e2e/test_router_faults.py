"""What goes wrong behind the router: replicas that die, stop, leave, lie, or are not there yet."""

import collections
import concurrent.futures
import json
import signal
import socket
import threading
import time

import httpx
import pytest
from routing import PATIENCE_S, FalseReplica, Routing, Serving, free_port, replicas_of, wait_until

GREEDY = {"temperature": 0}
SEEDED = {"temperature": 1.0, "seed": 5}


def chat(content, **fields):
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **fields}


def completion(prompt, **fields):
    return "/v1/completions", {"prompt": prompt, **fields}


def text_of(choice):
    return (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""


class Told:
    """A stream as a client sees it: its text, its last finish_reason, its usage, an error, its end."""

    def __init__(self):
        self.text, self.reason, self.usage, self.error, self.done, self.ids = (
            "",
            None,
            None,
            None,
            False,
            set(),
        )

    def take(self, line):
        if line == "data: [DONE]":
            self.done = True
        elif line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                self.error = event["error"]
                return
            assert "token_ids" not in line
            self.ids.add(event["id"])
            self.usage = event.get("usage") or self.usage
            for choice in event["choices"]:
                self.text += text_of(choice)
                self.reason = choice["finish_reason"] or self.reason


def stream(server, path, body, after=None, act=None):
    """Reads a stream to its end; acts once, behind so many characters of its text."""
    told = Told()
    body = body | {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", server.url + path, json=body, timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            told.take(line)
            if act is not None and len(told.text) >= after:
                act, _ = None, act()
    return told


def busy_replica(router, replicas):
    """The one whose request is the router's only one."""
    names = [name for name, each in router.replicas().items() if each["in_flight"] > 0]
    assert len(names) == 1, router.replicas()
    return next(each for each in replicas if each.url == names[0])


@pytest.mark.parametrize("fields", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("make", [chat, completion])
@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_stream_goes_on_at_another_replica(program, make, fields, which):
    """…and is, to its last token, what the unbroken one is."""
    path, body = make("Tell me about rivers.", max_tokens=300, **fields)
    with replicas_of(program, 3, simulate="smg") as replicas, Routing(program, replicas) as router:
        whole = stream(replicas[0], path, body)
        assert whole.done and whole.reason == "length"
        broken = []

        def strike():
            broken.append(busy_replica(router, replicas))
            broken[0].process.send_signal(which)

        try:
            told = stream(router, path, body, 200, strike)
        finally:
            broken[0].process.kill()
            broken[0].process.wait()
        assert told.error is None and told.done
        assert told.text == whole.text
        assert told.reason == whole.reason
        assert told.usage["completion_tokens"] == whole.usage["completion_tokens"]
        assert len(told.ids) == 1
        assert router.metric("sluice_router_resumes_total") == 1
        wait_until(lambda: router.metric("sluice_router_inflight_requests") == 0)


def test_a_stream_of_chance_goes_on_as_well(program):
    """Without a seed the router gives one, so that what was drawn can be drawn again."""
    path, body = chat("Tell me about rivers.", max_tokens=300)
    with replicas_of(program, 2, simulate="smg") as replicas, Routing(program, replicas) as router:
        told = stream(router, path, body, 200, lambda: busy_replica(router, replicas).process.kill())
        assert told.done and told.error is None and told.usage["completion_tokens"] == 300
        assert len(told.text.split()) == 300
        assert stream(router, path, body).text != told.text


def test_an_answer_in_one_piece_is_asked_for_again(program):
    path, body = chat("Tell me about rivers.", max_tokens=200, **GREEDY)
    with replicas_of(program, 2, simulate="smg") as replicas, Routing(program, replicas) as router:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(router.post, path, body)
            wait_until(lambda: any(each["in_flight"] for each in router.replicas().values()))
            busy_replica(router, replicas).process.kill()
            assert answer.result().status_code == 200
            assert answer.result().json()["usage"]["completion_tokens"] == 200
        assert router.metric("sluice_router_retries_total") == 1


def test_all_replicas_restart_one_by_one_under_load(program):
    """Not one request fails, whatever it asked for and however its replica goes."""
    path, body = chat("Tell me about rivers.", max_tokens=60, **GREEDY)
    ports = [free_port() for _ in range(3)]
    serve = [lambda port=port: Serving(program, "--simulate=smg", port=port) for port in ports]
    replicas = [each().__enter__() for each in serve]
    stop = threading.Event()
    faults, count = [], [0]
    with Routing(program, replicas, "--max-attempts=5") as router:
        expected = stream(replicas[0], path, body).text

        def load(index):
            while not stop.is_set():
                if index % 2 == 0:
                    told = stream(router, path, body)
                    good = told.done and told.error is None and told.text == expected
                    fault = (told.error, told.text[-80:])
                else:
                    answer = router.post(path, body)
                    good, fault = answer.status_code == 200, answer.text
                count[0] += 1
                if not good:
                    faults.append(fault)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(load, index) for index in range(8)]
            try:
                for turn in range(2):  # politely, then not
                    for index, each in enumerate(list(replicas)):
                        before = count[0]
                        wait_until(lambda: count[0] >= before + 8)  # no answer is hit by every restart
                        each.process.send_signal(signal.SIGTERM if turn == 0 else signal.SIGKILL)
                        each.process.wait()
                        replicas[index] = serve[index]().__enter__()
                        router.wait_for_replicas(3)
            finally:
                stop.set()
            for client in clients:
                client.result()
        assert count[0] > 20
        assert not faults, (faults[:3], len(faults), count)
        wait_until(lambda: router.metric("sluice_router_inflight_requests") == 0)
        wait_until(lambda: all(each["knowledge"] == "exact" for each in router.replicas().values()))
    for each in replicas:
        each.__exit__()


def test_twenty_rolling_restarts_lose_nothing(program, tmp_path):
    """As a Deployment's rollout: the next one is ready before the last one is told to end; that one ends what
    it can in its time, and the rest goes on elsewhere."""
    drain = ("--shutdown-delay=1", "--shutdown-timeout=1")
    file = tmp_path / "replicas"
    pods, faults, count = [], [], collections.Counter()
    stop = threading.Event()

    def told_of():
        file.with_suffix(".new").write_text("".join(f"{pod.url},name={pod.port}\n" for pod in pods))
        file.with_suffix(".new").rename(file)

    def start():
        pods.append(Serving(program, "--simulate=smg", *drain).__enter__())
        told_of()

    for _ in range(2):
        start()
    with Routing(program, [], f"--replicas-file={file}", "--max-attempts=8") as router:
        router.wait_for_replicas(2)
        path, body = chat("Tell me about rivers.", max_tokens=40, **GREEDY)
        long = body | {"max_tokens": 1500}
        expected = {False: stream(pods[0], path, body).text, True: stream(pods[0], path, long).text}

        def load(index):
            while not stop.is_set():
                if index % 4 == 3:
                    answer = router.post(path, body)
                    good, fault = answer.status_code == 200, answer.text
                else:
                    is_long = index % 4 == 2
                    told = stream(router, path, long if is_long else body)
                    good = told.done and told.error is None and told.text == expected[is_long]
                    fault = (told.error, told.text[-80:])
                count[index] += 1
                if not good:
                    faults.append(fault)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(load, index) for index in range(8)]
            try:
                for _ in range(20):
                    start()
                    router.wait_for_replicas(3)
                    oldest = pods.pop(0)
                    oldest.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: httpx.get(oldest.url + "/ready").status_code == 503)
                    # Nothing is lost that comes while the news of it travels.
                    assert httpx.post(oldest.url + path, json=body, timeout=PATIENCE_S).status_code == 200
                    told_of()
                    assert oldest.process.wait(PATIENCE_S) == 0, oldest.output()
            finally:
                stop.set()
            for client in clients:
                client.result()
        assert not faults, (faults[:3], len(faults), count)
        assert min(count.values()) > 0
        assert router.metric("sluice_router_resumes_total") > 0
        wait_until(lambda: router.metric("sluice_router_inflight_requests") == 0)
    for each in pods:
        each.__exit__()


def test_a_router_that_leaves_takes_what_is_on_its_way(program):
    path, body = chat("Tell me about rivers.", max_tokens=2000, **GREEDY)
    with replicas_of(program, 1, simulate="smg") as replicas, Routing(
        program, replicas, "--shutdown-delay=2"
    ) as router, concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(stream, router, path, body)
        wait_until(lambda: router.metric("sluice_router_inflight_requests") == 1)
        router.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(router.url + "/ready").status_code == 503)
        late = httpx.post(router.url + path, json=body | {"max_tokens": 5}, timeout=PATIENCE_S)
        assert late.status_code == 200 and late.headers["connection"] == "close"
        assert running.result().done and running.result().error is None
        assert router.process.wait(PATIENCE_S) == 0


def test_requests_are_held_until_the_first_replica_comes(program, tmp_path):
    file = tmp_path / "replicas"
    file.write_text("# none yet\n")
    flags = (f"--replicas-file={file}", "--hold-comment-interval=0.2")
    with Routing(program, [], *flags) as router, concurrent.futures.ThreadPoolExecutor() as pool:
        path, body = chat("Hello.", max_tokens=5, **GREEDY)
        comments = threading.Event()

        def streamed():
            told = Told()
            request = body | {"stream": True}
            with httpx.stream("POST", router.url + path, json=request, timeout=PATIENCE_S) as answer:
                assert answer.status_code == 200
                for line in answer.iter_lines():
                    comments.set() if line.startswith(":") else told.take(line)
            return told

        whole, held = pool.submit(router.post, path, body), pool.submit(streamed)
        wait_until(lambda: router.metric("sluice_router_queue_depth") == 2)
        assert comments.wait(PATIENCE_S)
        assert router.metric("sluice_router_queue_oldest_age_seconds") > 0
        assert httpx.get(router.url + "/v1/models").json()["data"] == []
        with Serving(program, "--simulate=instant") as replica:
            file.write_text(f"{replica.url},name=first,weight=2\n")
            assert whole.result().status_code == 200
            assert held.result().done and held.result().error is None
            assert held.result().text == whole.result().json()["choices"][0]["message"]["content"]
            assert router.replicas()["first"]["weight"] == 2
            # A file that is broken changes nothing; one that is empty takes it away again.
            file.write_text("no url\n")
            wait_until(lambda: "line 1" in router.output())
            assert router.post(path, body).status_code == 200
            file.write_text("\n")
            wait_until(lambda: not router.replicas())


def test_who_waits_too_long_is_told_when_to_come_back(program, tmp_path):
    file = tmp_path / "replicas"
    file.write_text("")
    flags = (f"--replicas-file={file}", "--first-byte-timeout=0.6", "--request-timeout=0.3")
    with Routing(program, [], *flags, "--max-queue-requests=2", "--hold-comment-interval=0.1") as router:
        path, body = chat("Hello.")
        answer = router.post(path, body)
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        answer = httpx.post(router.url + "/v1/messages", json=body | {"max_tokens": 4})
        assert answer.status_code == 503 and answer.json()["error"]["type"] == "overloaded_error"
        told = stream(router, path, body)
        assert told.error is not None and told.text == ""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            codes = [each.status_code for each in pool.map(lambda _: router.post(path, body), range(8))]
        assert codes.count(429) >= 1 and set(codes) <= {429, 503}


def say_stream(replica, *pieces):
    replica.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in pieces:
        replica.raw(b"%x\r\n%s\r\n" % (len(piece), piece))


FIRST = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_stream_that_cannot_go_on_ends_with_an_error(program, path):
    def answer(replica, body):
        say_stream(replica, FIRST, FIRST[:30])
        replica.cut()

    with FalseReplica(answer) as false, Routing(program, [false.url]) as router:
        with httpx.stream("POST", router.url + path, json={"stream": True}, timeout=PATIENCE_S) as got:
            text = got.read().decode()
        events = [each for each in text.split("\n\n") if each]
        assert events[0] + "\n\n" == FIRST.decode()
        assert len(events) == 2, text  # the half of one is not told
        data = json.loads(events[1].split("data: ")[1])
        if path == "/v1/chat/completions":
            assert data["error"]["type"] == "server_error"
        else:
            assert events[1].startswith("event: error\n") and data["type"] == "error"
        wait_until(lambda: router.metric("sluice_router_failed_midstream_total") == 1)


MALFORMED = {
    "nothing": b"",
    "no http": b"SSH-2.0-x\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n11",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad status": b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a huge head": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    "a bad header": b"HTTP/1.1 200 OK\r\nx y: z\r\nContent-Length: 0\r\n\r\n",
    "no line ends": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
}


@pytest.fixture(scope="module")
def world_of_lies(program):
    lie = [b""]

    def answer(replica, body):
        replica.raw(lie[0])
        replica.cut()

    with FalseReplica(answer) as false, Routing(program, [false.url]) as router:
        yield lie, router


@pytest.mark.parametrize("bytes_", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_answers_are_never_passed_on(world_of_lies, bytes_):
    lie, router = world_of_lies
    lie[0] = bytes_
    wait_until(lambda: router.post("/v1/embeddings", {"input": "a"}).status_code == 502)
    assert httpx.get(router.url + "/health").status_code == 200


def test_a_replica_that_refuses_is_passed_over(program):
    """503 and 429 mean: not now; 500 is a fault; 400 is the client's and goes back to it."""
    status = [503]

    def answer(replica, body):
        replica.say(status[0], b'{"error":{"message":"no"}}', Retry_After="1")

    with FalseReplica(answer, model="simulated-instant") as false, replicas_of(program, 1) as replicas:
        with Routing(program, [false.url, *replicas], "--policy=round-robin") as router:
            for code in (503, 429, 500):
                status[0] = code
                wait_until(lambda: router.replicas()[false.url]["state"] == "ready")
                asked = len(false.posts)
                while len(false.posts) == asked:  # its Retry-After passes meanwhile
                    assert router.post(*completion("a", max_tokens=1)).status_code == 200
            status[0] = 400
            wait_until(lambda: router.post(*completion("a", max_tokens=1)).status_code == 400)


def test_a_replica_alone_that_is_full_says_so(program):
    def answer(replica, body):
        replica.say(429, b"{}", Retry_After="7")

    with FalseReplica(answer) as false, Routing(program, [false.url], "--request-timeout=2") as router:
        got = router.post("/v1/embeddings", {"input": "a"})
        assert got.status_code in (429, 503) and int(got.headers["retry-after"]) >= 1


def test_other_replicas_serve_without_events(program):
    """llama.cpp, vLLM, SGLang: what we sent there is what we know."""

    def answer(replica, body):
        say_stream(replica, FIRST, FIRST, b"data: [DONE]\n\n", b"")

    with FalseReplica(answer) as one, FalseReplica(answer) as other:
        with Routing(program, [one.url, other.url]) as router:
            assert {each["knowledge"] for each in router.replicas().values()} == {"approximate"}
            path, body = chat("A long story that both could know. " * 300)
            for _ in range(6):
                told = stream(router, path, body)
                assert told.text == "HelHel" and told.done
            # Whoever had it first has it again.
            assert sorted(len(each.posts) for each in (one, other)) == [0, 6]
            assert b"return_token_ids" not in (one.posts + other.posts)[0][1]
            assert b"seed" not in (one.posts + other.posts)[0][1]


def test_a_slow_reader_holds_his_replica_back_and_nobody_else(program):
    """Bounded memory: what the client does not take, the router does not read."""
    sent = [0]

    def answer(replica, body):
        if b"slow" not in body:
            return replica.say(200, b"{}")
        replica.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        event = b"data: " + b"x" * 8184 + b"\n\n"
        for _ in range(4000):
            replica.raw(b"%x\r\n%s\r\n" % (len(event), event))
            sent[0] += len(event)
        replica.raw(b"0\r\n\r\n")

    with FalseReplica(answer) as false, Routing(program, [false.url]) as router:
        body = b'{"stream":true,"input":"slow"}'
        with socket.create_connection(("127.0.0.1", router.port)) as client:
            client.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            before = -1
            while sent[0] != before or sent[0] == 0:  # until it is held
                before = sent[0]
                time.sleep(0.3)
            assert before < 4000 * 8192
            assert router.post("/v1/embeddings", {"input": "a"}).status_code == 200
            client.settimeout(PATIENCE_S)
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                piece = client.recv(1 << 20)
                assert piece
                got = got[-16:] + piece
        assert sent[0] == 4000 * 8192


def test_sigterm_lets_running_streams_end(program):
    path, body = chat("Tell me about rivers.", max_tokens=200, **GREEDY)
    with replicas_of(program, 1, simulate="smg") as replicas, Routing(program, replicas) as router:
        keep = httpx.Client(base_url=router.url, timeout=PATIENCE_S)
        assert keep.get("/ready").status_code == 200
        told = stream(router, path, body, 50, lambda: router.process.send_signal(signal.SIGTERM))
        assert told.done and told.error is None and told.usage["completion_tokens"] == 200
        assert router.process.wait(PATIENCE_S) == 0


def test_a_replica_that_stalls_before_its_first_byte_is_overtaken(program):
    """A second one is asked when the first takes far longer than it should; the slower answer is dropped."""
    release = threading.Event()

    def slow(replica, body):
        release.wait(PATIENCE_S)
        replica.cut()

    def quick(replica, body):
        say_stream(replica, FIRST, b"data: [DONE]\n\n", b"")

    with FalseReplica(slow) as first, FalseReplica(quick) as second:
        with Routing(program, [first.url, second.url], "--policy=round-robin", "--hedge-factor=2") as router:
            for _ in range(2):
                assert stream(router, *chat("Hello.")).done
            assert len(first.posts) >= 1 and len(second.posts) == 2
            assert router.metric("sluice_router_hedges_won_total") == len(first.posts)
            release.set()
            wait_until(lambda: router.metric("sluice_router_inflight_requests") == 0)
