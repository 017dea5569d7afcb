"""Clients of the router: so many at once, each asking anew as soon as its answer is there, for so long.

    load.py URL MODEL CLIENTS SECONDS [TOKENS] [--new-connections]

SIGTERM ends it sooner, with the answers that are on their way. Prints one line of JSON:
{"answers": N, "lost": {what: N}, "seconds": {…}}. Lost is every request that got less than its whole
answer: refused, broken off, ended by an error event, or without its end."""

import argparse
import asyncio
import collections
import json
import random
import signal
import statistics
import time

import httpx

PATIENCE_S = 600


async def ask(client, arguments):
    """None, or what went wrong."""
    body = {
        "model": arguments.model,
        "stream": True,
        "max_tokens": arguments.tokens,
        "messages": [{"role": "user", "content": f"{random.random()} Tell me about rivers."}],
    }
    tail = b""
    async with client.stream("POST", arguments.url + "/v1/chat/completions", json=body) as answer:
        async for piece in answer.aiter_bytes():
            tail = (tail + piece)[-4000:]
    if answer.status_code != 200:
        return f"status {answer.status_code}: {tail[-200:].decode(errors='replace')}"
    if b'"error"' in tail:
        return f"error event: {tail[-200:].decode(errors='replace')}"
    return None if b"data: [DONE]" in tail else "no end"


async def client_for(client, arguments, stop, taken, lost):
    while not stop.is_set():
        begun = time.monotonic()
        try:
            wrong = await ask(client, arguments)
        except httpx.HTTPError as error:
            wrong = f"{type(error).__name__}: {error}"
        taken.append(time.monotonic() - begun)
        if wrong:
            lost[wrong] += 1


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("tokens", type=int, nargs="?", default=200)
    parser.add_argument("--new-connections", action="store_true", help="one for each request")
    arguments = parser.parse_args()
    taken, lost = [], collections.Counter()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(arguments.seconds, stop.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    kept = 0 if arguments.new_connections else arguments.clients
    limits = httpx.Limits(max_connections=arguments.clients, max_keepalive_connections=kept)
    async with httpx.AsyncClient(timeout=PATIENCE_S, limits=limits) as client:
        await asyncio.gather(
            *(client_for(client, arguments, stop, taken, lost) for _ in range(arguments.clients))
        )
    taken.sort()
    told = {"median": statistics.median(taken), "p90": taken[len(taken) * 9 // 10], "longest": taken[-1]}
    seconds = {name: round(value, 2) for name, value in told.items()}
    print(json.dumps({"answers": len(taken) - sum(lost.values()), "lost": lost, "seconds": seconds}))


asyncio.run(main())
