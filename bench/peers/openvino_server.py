#!/usr/bin/env python3
"""A thin OpenAI-style streaming front for OpenVINO GenAI's continuous batching, to compare with.

Needs: pip install openvino-genai.   python3 openvino_server.py MODEL.gguf --port 8102 --threads 2
Serves POST /v1/completions with prompt, max_tokens, ignore_eos, stream; one SSE chunk per token.
"""

import argparse
import asyncio
import itertools
import json
import threading

import openvino_genai as ov


class Engine:
    """One thread steps the pipeline and hands new tokens to the event loop."""

    def __init__(self, arguments):
        scheduler = ov.SchedulerConfig()
        scheduler.max_num_batched_tokens = 512
        scheduler.max_num_seqs = 64
        scheduler.cache_size = 4
        scheduler.enable_prefix_caching = True
        self.pipeline = ov.ContinuousBatchingPipeline(
            arguments.model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": arguments.threads}
        )
        self.tokenizer = self.pipeline.get_tokenizer()
        self.wake = threading.Condition()
        self.new, self.live, self.ids = [], {}, itertools.count()

    def run(self, loop):
        while True:
            with self.wake:
                while not self.new and not self.live:
                    self.wake.wait()
                new, self.new = self.new, []
            for prompt, config, queue in new:
                handle = self.pipeline.add_request(next(self.ids), prompt, config)
                self.live[handle] = queue
            if self.pipeline.has_non_finished_requests():
                self.pipeline.step()
            done = []
            for handle, queue in self.live.items():
                tokens = []
                if handle.can_read():
                    for output in handle.read().values():
                        tokens += output.generated_ids
                finished = handle.get_status() == ov.GenerationStatus.FINISHED
                if finished:
                    done.append(handle)
                if tokens or finished:
                    loop.call_soon_threadsafe(queue.put_nowait, (tokens, finished))
            for handle in done:
                del self.live[handle]

    def submit(self, body):
        config = ov.GenerationConfig()
        config.max_new_tokens = body.get("max_tokens", 16)
        config.ignore_eos = body.get("ignore_eos", False)
        config.do_sample = False
        queue = asyncio.Queue()
        with self.wake:
            self.new.append((body["prompt"], config, queue))
            self.wake.notify()
        return queue


async def serve(engine, reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            body = await reader.readexactly(length)
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
                continue
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            queue, finished = engine.submit(json.loads(body)), False
            while not finished:
                tokens, finished = await queue.get()
                for token in tokens:
                    chunk = {"choices": [{"index": 0, "text": engine.tokenizer.decode([token])}]}
                    piece = b"data: " + json.dumps(chunk).encode() + b"\n\n"
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8102)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    engine = Engine(arguments)
    threading.Thread(target=engine.run, args=(asyncio.get_running_loop(),), daemon=True).start()
    server = await asyncio.start_server(lambda r, w: serve(engine, r, w), "127.0.0.1", arguments.port)
    async with server:
        await server.serve_forever()


asyncio.run(main())
