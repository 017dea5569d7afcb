"""A server that speaks just enough of OpenAI's API, answers as it was told and stamps what it did, so that a
load generator's figures can be held against it. One thread of its own; stamps are time.monotonic()."""

import asyncio
import json
import re
import threading
from dataclasses import dataclass, field

TOKEN = {"choices": [{"index": 0, "text": " word", "finish_reason": None}]}


@dataclass
class Answer:
    """What one request met: when it was received, each token was handed to the kernel, and all was said."""

    received: float
    writes: list = field(default_factory=list)
    finished: float = 0.0


class ScriptedServer:
    """`script`: what happens to requests, in order, the last for ever: "ok", a status as a number, "drop"
    (the connection closes within the stream), "unended" (the stream ends without its last event), "garbage"
    (an event that is no JSON), "error" (an error told within the stream), "hang". `one_at_a_time`: the next
    request is answered when the one before is. The bench's first request, a trial of two tokens, is always ok
    and not kept.
    """

    def __init__(self, ttft_s=0.02, gap_s=0.002, script=("ok",), one_at_a_time=False):
        self.ttft_s, self.gap_s, self.script = ttft_s, gap_s, list(script)
        self.answers = []
        self.trials = 0
        self.one_at_a_time = one_at_a_time
        self.started = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.live()), daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.started.wait(30)
        return self

    def __exit__(self, *exception):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(30)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def live(self):
        self.loop = asyncio.get_running_loop()
        self.over = asyncio.Event()
        self.turn = asyncio.Lock() if self.one_at_a_time else None
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.started.set()
        await self.over.wait()
        server.close()  # connections end with the loop, which cancels what runs on it

    async def connection(self, reader, writer):
        try:
            while await self.exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def exchange(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [
            int(line.split(":")[1])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        ]
        body = await reader.readexactly(length[0]) if length else b""
        path = head.split(" ")[1]
        if path == "/v1/models":
            return self.respond(writer, 200, {"object": "list", "data": [{"id": "scripted"}]})
        if path != "/v1/completions":
            return self.respond(writer, 404, {"error": {"message": "no such path"}})
        tokens = json.loads(body)["max_tokens"]
        if self.trials == 0:
            self.trials = 1
            return await self.stream(writer, "ok", tokens, Answer(self.loop.time()))
        answer = Answer(self.loop.time())
        self.answers.append(answer)
        what = self.script[min(len(self.answers), len(self.script)) - 1]
        if isinstance(what, int):
            return self.respond(writer, what, {"error": {"message": f"the script says {what}"}})
        if self.turn is None:
            return await self.stream(writer, what, tokens, answer)
        async with self.turn:
            return await self.stream(writer, what, tokens, answer)

    def respond(self, writer, status, value):
        body = json.dumps(value).encode()
        head = (
            f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        return True

    async def stream(self, writer, what, tokens, answer):
        if what == "hang":
            await asyncio.sleep(3600)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

        def event(data):
            text = f"data: {data}\n\n".encode()
            writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")

        due = (self.loop.time() if self.one_at_a_time else answer.received) + self.ttft_s
        for i in range(tokens):
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            if what == "garbage" and i == 1:
                event('{"choices": [')
            if what == "error" and i == 1:
                event(json.dumps({"error": {"message": "the script says so", "code": 500}}))
            answer.writes.append(self.loop.time())
            event(json.dumps(TOKEN))
            if what == "drop" and i == 1:
                await writer.drain()
                writer.transport.abort()
                return False
            due += self.gap_s
        if what != "unended":
            usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
            event(json.dumps({"choices": [], "usage": usage}))
            event("[DONE]")
        answer.finished = self.loop.time()  # before: the client may read it at once
        writer.write(b"0\r\n\r\n")
        return True
