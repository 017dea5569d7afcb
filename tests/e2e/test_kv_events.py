"""The engine's events as a router reads them, from the real server over a cost model."""

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import PATIENCE_S, Serving

SMALL = {"step_ms": 1, "kv_tokens": 4096, "max_num_seqs": 16, "max_num_batched_tokens": 512}


@pytest.fixture
def costs(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL))
    return f"--simulate={path}"


@pytest.fixture
def server(program, costs):
    with Serving(program, costs) as serving:
        yield serving


class Replica:
    """What a router knows of one replica."""

    def __init__(self):
        self.blocks, self.next, self.settled, self.lives, self.load = {}, None, 0, {}, None

    def apply(self, line):
        event = line["event"]
        if event == "hello":
            assert self.next is None or line["resumed"]
            self.next, self.epoch = line["next"], line["epoch"]
        elif event == "snapshot":
            for block, parent in zip(line["blocks"][::2], line["blocks"][1::2]):
                self.blocks[block] = parent
        elif event == "snapshot_end":
            self.settled = line["settled"]
        elif event not in ("heartbeat", "closing"):
            assert line["seq"] == self.next
            self.next += 1
            if event == "stored":
                self.blocks[line["hash"]] = line["parent"]
            elif event == "evicted":
                self.blocks.pop(line["hash"], None)
            elif event == "load":
                self.load = line
            else:
                self.lives.setdefault(line["request"], []).append(line)


@contextlib.contextmanager
def lines_of(server, query="", **headers):
    timeout = httpx.Timeout(PATIENCE_S)
    with httpx.stream("GET", server.url + "/kv_events" + query, timeout=timeout, headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"] == "application/x-ndjson"
        yield map(json.loads, stream.iter_lines())


def follow(lines, replica, until):
    for line in lines:
        replica.apply(line)
        if until(line):
            return
    raise AssertionError("the stream ended")


def complete(server, prompt, request_id, client=None, **fields):
    body = {"prompt": prompt, "max_tokens": 4, "temperature": 0, **fields}
    with contextlib.nullcontext(client) if client else server.client() as client:
        answer = client.post("/v1/completions", json=body, headers={"x-request-id": request_id})
    assert answer.status_code == 200, answer.text
    return answer.json()


def finished(request_id):
    return lambda line: line["event"] == "finished" and line["request"] == request_id


def chain_of(replica, block):
    chain = []
    while block in replica.blocks:
        chain.append(block)
        block = replica.blocks[block]
    return chain


def test_tells_the_life_of_a_request_under_its_own_name(server):
    replica = Replica()
    with lines_of(server) as lines:
        hello = next(lines)
        assert hello["event"] == "hello" and not hello["resumed"]
        assert (
            hello["block_tokens"] == 16
            and hello["hash"] == "sluice-1"
            and hello["models"] == ["simulated-small"]
        )
        replica.apply(hello)
        answer = complete(server, list(range(300, 400)), "my-own.id_1")
        follow(lines, replica, finished("my-own.id_1"))
        admitted, prefilled, end = replica.lives["my-own.id_1"]
        assert [line["event"] for line in (admitted, prefilled, end)] == ["admitted", "prefilled", "finished"]
        assert admitted["prompt_tokens"] == 100 and admitted["cached_tokens"] == 0 and admitted["blocks"] == 6
        assert end["reason"] == "length" and end["generated"] == answer["usage"]["completion_tokens"] == 4
        # The hash leads through the parents to the prompt's first block.
        assert len(chain_of(replica, admitted["hash"])) == 6

        complete(server, list(range(300, 364)) + [7] * 36, "second", n=2)
        seen = []
        follow(
            lines, replica, lambda line: finished("second")(line) and (seen.append(line) or len(seen) == 2)
        )
        lives = [line for line in replica.lives["second"] if line["event"] == "admitted"]
        assert [line["choice"] for line in lives] == [0, 1]
        assert [line["cached_tokens"] for line in lives] == [64, 96]
        first, second = (chain_of(replica, life["hash"]) for life in (admitted, lives[0]))
        assert first[-4:] == second[-4:] and first[0] != second[0]
        follow(lines, replica, lambda line: line["event"] == "load" and line["running"] == 0)
        assert replica.load["kv_blocks_total"] == 256 and replica.load["kv_blocks_used"] == 0
        assert replica.load["kv_blocks_cached"] == len(replica.blocks)


def test_chat_embeddings_and_responses_carry_the_id_too(server):
    with lines_of(server) as lines, server.client() as client:
        replica = Replica()
        calls = {
            "chat": (
                "/v1/chat/completions",
                {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2},
            ),
            "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}),
            "response": ("/v1/responses", {"input": "Hi", "max_output_tokens": 2}),
            "vectors": ("/v1/embeddings", {"input": ["a", "b"]}),
        }
        for name, (path, body) in calls.items():
            assert client.post(path, json=body, headers={"x-request-id": name}).status_code == 200
            follow(lines, replica, finished(name))
            assert replica.lives[name][0]["event"] == "admitted"


def settle(server, replica):
    """From a new snapshot: what the replica holds in truth."""
    with lines_of(server) as lines:
        follow(lines, replica, lambda line: line["event"] == "load" and replica.next >= replica.settled > 0)
    return replica


def test_a_replay_of_the_events_is_what_a_new_snapshot_says(server):
    """Under load that evicts and preempts, for early readers and late ones; also over reconnections."""
    begun = threading.Barrier(3)
    replicas = [Replica() for _ in range(4)]

    def read(replica, rejoin):
        query = ""
        while True:
            with lines_of(server, query) as lines:
                for count, line in enumerate(lines):
                    if replica.next is None and replica in replicas[:2]:
                        begun.wait(PATIENCE_S)
                    replica.apply(line)
                    if line["event"] == "load" and line["running"] == 0 and "last" in replica.lives:
                        return
                    if rejoin and count == 500:
                        break
            query = f"?from={replica.next}&epoch={replica.epoch}"

    def ask(i):
        prompt = [1000 + i % 7] * (16 * (i % 7)) + [2000 + i] * (16 * (i % 11) + 5)
        complete(server, prompt, f"r{i}", client, max_tokens=40)

    with ThreadPoolExecutor(28) as pool, server.client() as client:
        readers = [pool.submit(read, replica, i % 2 == 1) for i, replica in enumerate(replicas[:2])]
        begun.wait(PATIENCE_S)
        list(pool.map(ask, range(100)))
        readers += [pool.submit(read, replica, i % 2 == 1) for i, replica in enumerate(replicas[2:])]
        list(pool.map(ask, range(100, 200)))
        complete(server, [3] * 20, "last")
        for reader in readers:
            reader.result(PATIENCE_S)
    truth = settle(server, Replica())
    assert len(truth.blocks) > 200
    for replica in replicas:
        assert replica.next >= replica.settled
        assert replica.blocks == truth.blocks
    for i in range(200):
        assert [line["event"] for line in replicas[0].lives[f"r{i}"]] == ["admitted", "prefilled", "finished"]


def test_another_epoch_and_the_forgotten_get_a_snapshot(server):
    with lines_of(server) as lines:
        epoch = next(lines)["epoch"]
        complete(server, [5] * 40, "a")
    other = f"{int(epoch, 16) ^ 1:016x}"
    for query, resumed in (
        (f"?from=1&epoch={epoch}", True),
        (f"?from=1&epoch={other}", False),
        ("?from=999", False),
    ):
        with lines_of(server, query) as lines:
            hello = next(lines)
            assert hello["resumed"] is resumed
            assert hello["epoch"] == epoch
            assert hello["next"] == 1 if resumed else hello["next"] > 1


def test_refuses_what_is_no_place_in_the_stream(server):
    for query in ("?from=x", "?from=-1", "?epoch=12", "?epoch=" + "g" * 16, "?from=99999999999999999999"):
        answer = httpx.get(server.url + "/kv_events" + query)
        assert answer.status_code == 400, query
        assert answer.json()["error"]["param"] in query
    assert httpx.head(server.url + "/kv_events").status_code == 200


def test_is_closed_to_clients_where_there_is_an_operator(program, costs):
    with Serving(program, costs, "--api-key", "user", "--admin-api-key", "root") as server:
        for key, status in (("user", 401), ("none", 401)):
            answer = httpx.get(server.url + "/kv_events", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
        with lines_of(server, Authorization="Bearer root") as lines:
            assert next(lines)["event"] == "hello"


def test_has_a_bound_on_readers_and_forgets_those_who_leave(server):
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(lines_of(server)) for _ in range(16)]
        for lines in streams:
            assert next(lines)["event"] == "hello"
        answer = httpx.get(server.url + "/kv_events")
        assert answer.status_code == 429 and "Retry-After" in answer.headers
    for _ in range(100):
        with contextlib.suppress(AssertionError), lines_of(server) as lines:
            assert next(lines)["event"] == "hello"
            return
    raise AssertionError("there is no place for a new reader")


def test_a_quiet_stream_has_a_heartbeat(server):
    with lines_of(server) as lines:
        replica = Replica()
        follow(lines, replica, lambda line: line["event"] == "load")
        assert next(lines) == {"event": "heartbeat", "next": replica.next}


def test_a_stream_does_not_hold_up_the_end(program, costs):
    with Serving(program, costs) as server, lines_of(server) as lines:
        assert next(lines)["event"] == "hello"
        server.process.terminate()
        assert list(lines)[-1]["event"] == "closing"
        assert server.process.wait(PATIENCE_S) == 0


def test_a_reader_that_does_not_read_is_lost_and_holds_up_nobody(program):
    """The server's cost is nothing here: some hundred thousand events a second pass the ring by."""
    with Serving(program, "--simulate=instant") as server, lines_of(server) as lines:
        replica = Replica()
        replica.apply(next(lines))

        def ask(i):
            answer = complete(server, [3000 + i] * 16000, f"r{i}", client, max_tokens=1)
            return answer["usage"]["completion_tokens"]

        with ThreadPoolExecutor(4) as pool, server.client() as client:
            assert sum(pool.map(ask, range(200))) == 200
        # What the connection's buffers still hold is right; the end is told.
        for line in lines:
            if line["event"] == "lost":
                break
            replica.apply(line)
        else:
            raise AssertionError("the stream ended without a word")
        assert settle(server, Replica()).blocks
