"""Many users at once: answers do not depend on the company, and nobody's leaving costs another anything."""

import asyncio
import json
import random
import time

import httpx
from serving import PATIENCE_S, Serving

TOPICS = ["rivers", "bread", "the moon", "clocks", "whales", "glass", "tea", "bridges"]


def mixed_requests(seed, count):
    """Greedy completions: prompts of a few to some hundred tokens, some with a long beginning in common."""
    draw = random.Random(seed)
    common = "The following is a long and careful account of many things. " * 12
    requests = []
    for i in range(count):
        topic = draw.choice(TOPICS)
        prompt = (
            (common if draw.random() < 0.3 else "")
            + f"Note {i}. "
            + f"About {topic}: " * draw.choice([1, 1, 4, 60])
        )
        requests.append(
            {
                "prompt": prompt,
                "temperature": 0,
                "max_tokens": draw.choice([1, 8, 24, 64]),
                "ignore_eos": draw.random() < 0.5,
                "stream": draw.random() < 0.5,
            }
        )
    return requests


async def complete(client, request):
    """The text and the finish reason of one completion, streamed or not."""
    if not request["stream"]:
        answer = await client.post("/v1/completions", json=request)
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        return choice["text"], choice["finish_reason"]
    text, finish = "", None
    async with client.stream("POST", "/v1/completions", json=request) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                choice = json.loads(line[len("data: ") :])["choices"][0]
                text += choice["text"]
                finish = choice["finish_reason"] or finish
    return text, finish


async def start_and_leave(client, request, lines):
    """Reads so many lines of an endless stream, then hangs up."""
    async with client.stream("POST", "/v1/completions", json=request) as answer:
        seen = 0
        async for _ in answer.aiter_lines():
            seen += 1
            if seen >= lines:
                return


def open_client(server):
    return httpx.AsyncClient(
        base_url=server.url, timeout=PATIENCE_S, limits=httpx.Limits(max_connections=200)
    )


def test_64_greedy_answers_equal_their_answers_alone(server):
    requests = mixed_requests(seed=20, count=64)
    endless = {"prompt": "Once upon a time", "max_tokens": 2000, "ignore_eos": True, "stream": True}

    async def together():
        async with open_client(server) as client:
            leavers = [
                start_and_leave(client, endless | {"prompt": f"Once {i} times"}, 2 + 5 * i) for i in range(8)
            ]
            answers = await asyncio.gather(*(complete(client, r) for r in requests), *leavers)
            return answers[: len(requests)]

    async def alone():
        async with open_client(server) as client:
            return [await complete(client, request) for request in requests]

    crowd = asyncio.run(together())
    solo = asyncio.run(alone())
    for request, one, other in zip(requests, crowd, solo):
        assert one == other, request


def test_a_client_that_leaves_frees_everything(server):
    request = {"prompt": "Tell me everything.", "max_tokens": 4000, "ignore_eos": True}

    async def leave():
        async with open_client(server) as client:
            await asyncio.gather(*(start_and_leave(client, request | {"stream": True}, 4) for _ in range(6)))
            for _ in range(3):
                try:
                    await client.post("/v1/completions", json=request, timeout=0.3)
                    raise AssertionError("4000 tokens came in 0.3 s")
                except httpx.ReadTimeout:
                    pass

    asyncio.run(leave())
    server.wait_until_idle()


def test_a_client_that_does_not_read_blocks_nobody(server):
    request = {"prompt": "Count:", "max_tokens": 3000, "ignore_eos": True, "stream": True}
    with server.client() as idle_client, idle_client.stream("POST", "/v1/completions", json=request) as idle:
        assert idle.status_code == 200
        answer = server.post("/v1/completions", {"prompt": "One, two,", "max_tokens": 8})
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] > 0
    server.wait_until_idle()


def test_queue_full_is_429_with_retry_after_and_nothing_is_lost(program, model):
    endless = {"prompt": "On and on", "max_tokens": 8000, "ignore_eos": True, "stream": True}
    short = {"prompt": "Hello", "max_tokens": 50, "ignore_eos": True}

    async def fill(server):
        async with open_client(server) as client:
            async with client.stream("POST", "/v1/completions", json=endless) as running:
                lines = running.aiter_lines()
                await anext(lines)
                waiting = asyncio.create_task(client.post("/v1/completions", json=short))
                while server.metric("vllm:num_requests_waiting") != 1:
                    await asyncio.sleep(0.02)
                refused = await asyncio.gather(
                    *(client.post("/v1/completions", json=short) for _ in range(5))
                )
            return await waiting, refused

    flags = ["--max-num-seqs", "1", "--max-num-queued-reqs", "1"]
    with Serving(program, model, *flags) as server:
        waited, refused = asyncio.run(fill(server))
        for answer in refused:
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["type"] == "rate_limit_error"
        assert waited.status_code == 200
        assert waited.json()["usage"]["completion_tokens"] == 50
        server.wait_until_idle()


def test_a_full_kv_cache_preempts_and_all_answers_are_right(program, model):
    requests = [
        {
            "prompt": f"Story number {i}: " + "again and again " * 20,
            "temperature": 0,
            "max_tokens": 120,
            "ignore_eos": True,
            "stream": False,
        }
        for i in range(12)
    ]
    # 12 sequences of about 190 tokens at 22.5 KiB a token (30 layers, 3 kv heads of 64, bf16) ask for 52 MB.
    with Serving(
        program, model, "--kv-cache-memory-bytes", str(24 << 20), "--max-model-len", "512"
    ) as server:

        async def together():
            async with open_client(server) as client:
                return await asyncio.gather(*(complete(client, request) for request in requests))

        async def alone():
            async with open_client(server) as client:
                return [await complete(client, request) for request in requests]

        crowd = asyncio.run(together())
        assert server.metric("vllm:num_preemptions_total") > 0
        assert crowd == asyncio.run(alone())
        server.wait_until_idle()


def test_how_long_a_start_takes(program, model):
    """Prints it; asserts only that an answer comes."""
    begin = time.perf_counter()
    with Serving(program, model) as server:
        ready = time.perf_counter() - begin
        answer = server.post("/v1/completions", {"prompt": "Hello", "max_tokens": 1})
        print(f"\nready after {ready:.3f} s, first token after {time.perf_counter() - begin:.3f} s")
        assert answer.status_code == 200
