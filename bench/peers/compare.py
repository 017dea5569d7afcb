#!/usr/bin/env python3
"""Alternates the same streaming load over several OpenAI-style servers and prints medians and ratios.

python3 bench/peers/compare.py --rounds 3 --streams 1,16 \\
    --server 'sluice=build/sluice-serve MODEL.gguf --port {port} --threads 2' \\
    --server 'llama.cpp=llama-server -m MODEL.gguf --port {port} -t 2 -np 16 -c 8192' \\
    --out bench/results/NAME.json
Each server runs alone while it is measured (started, warmed up, measured, stopped), and the order turns round
by round, so that a noisy hour hits all of them. A request: a prompt of about --prompt-tokens words,
--output-tokens tokens, greedy, end-of-text ignored. Standard library only.
"""

import argparse
import asyncio
import json
import pathlib
import platform
import random
import shlex
import signal
import statistics
import subprocess
import time

WORDS = """time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point home
water room mother area money story fact month lot right study book eye job word business issue side kind
head house service friend father power hour game line end member law car city community name president
team minute idea body information back parent face others level office door health person art war history
party result change morning reason research girl guy moment air teacher force education""".split()


async def one_request(port, seed, options):
    """-> (time of the request, arrival times of the tokens)"""
    words = random.Random(seed)
    prompt = " ".join(words.choice(WORDS) for _ in range(options.prompt_tokens))
    body = json.dumps(
        {
            "model": options.model,
            "prompt": prompt,
            "max_tokens": options.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    start = time.perf_counter()
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    arrivals = []
    async for line in reader:
        if line.startswith(b"HTTP/1.") and b" 200 " not in line:
            raise RuntimeError(line.decode() + (await reader.read()).decode(errors="replace")[:500])
        if line.startswith(b"data: {") and b'"choices":[]' not in line:
            arrivals.append(time.perf_counter())
        elif line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return start, arrivals


async def load(port, streams, seed, options):
    started = time.perf_counter()
    answers = await asyncio.gather(*(one_request(port, seed * 1000 + i, options) for i in range(streams)))
    wall = time.perf_counter() - started
    tokens = streams * options.output_tokens
    first = [a[0] - s for s, a in answers]
    # Some peers flush several tokens in one chunk: rates count the tokens asked for, gaps the chunks seen.
    gaps = [b - a for _, arrivals in answers for a, b in zip(arrivals, arrivals[1:])]
    decode = statistics.median((options.output_tokens - 1) / (a[-1] - a[0]) for _, a in answers)
    return {
        "output_tokens_per_s": tokens / wall,
        "decode_tokens_per_s_per_stream": decode,
        "ttft_p50_ms": statistics.median(first) * 1e3,
        "ttft_max_ms": max(first) * 1e3,
        "gap_p50_ms": statistics.median(gaps) * 1e3 if gaps else None,
    }


def wait_until_ready(process, port, options):
    """Until it has answered a warm-up load whole: a health route may answer before the model is there."""
    for _ in range(1200):
        if process.poll() is not None:
            raise RuntimeError(f"server exited with {process.returncode}")
        try:
            asyncio.run(load(port, 2, 999, options))
            return
        except (OSError, RuntimeError) as error:
            last = error
        time.sleep(0.1)
    raise RuntimeError(f"server not ready in two minutes: {last}")


def measure(name, command, port, streams, round_number, options):
    log = open(f"/tmp/compare-{name}.log", "w", encoding="utf-8")
    process = subprocess.Popen(shlex.split(command.format(port=port)), stdout=log, stderr=log)
    try:
        wait_until_ready(process, port, options)
        return {s: asyncio.run(load(port, s, round_number, options)) for s in streams}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", action="append", required=True, metavar="NAME=COMMAND")
    parser.add_argument("--streams", default="1,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--model", default="default")
    parser.add_argument("--port", type=int, default=8110)
    parser.add_argument("--out")
    options = parser.parse_args()
    servers = dict(s.split("=", 1) for s in options.server)
    streams = [int(s) for s in options.streams.split(",")]
    samples = {name: {s: [] for s in streams} for name in servers}
    for r in range(options.rounds):
        order = list(servers) if r % 2 == 0 else list(servers)[::-1]
        for name in order:
            for s, figures in measure(name, servers[name], options.port, streams, r + 1, options).items():
                samples[name][s].append(figures)
                print(
                    f"round {r + 1} {name:12} {s:3} streams  "
                    + "  ".join(f"{k} {v:.1f}" for k, v in figures.items() if v is not None),
                    flush=True,
                )
    medians = {
        name: {
            s: {
                k: statistics.median(x[k] for x in runs if x[k] is not None)
                for k in runs[0]
                if runs[0][k] is not None
            }
            for s, runs in by_streams.items()
        }
        for name, by_streams in samples.items()
    }
    first = next(iter(servers))
    report = {
        "processor": processor(),
        "cores": len(__import__("os").sched_getaffinity(0)),
        "date": time.strftime("%Y-%m-%d"),
        "commands": servers,
        "prompt_tokens": options.prompt_tokens,
        "output_tokens": options.output_tokens,
        "rounds": options.rounds,
        "medians": medians,
        "samples": samples,
    }
    for s in streams:
        others = {n: m[s]["output_tokens_per_s"] for n, m in medians.items() if n != first}
        if others:
            best = max(others, key=others.get)
            ratio = medians[first][s]["output_tokens_per_s"] / others[best]
            decode = medians[first][s]["decode_tokens_per_s_per_stream"] / max(
                m[s]["decode_tokens_per_s_per_stream"] for n, m in medians.items() if n != first
            )
            report.setdefault("ratios", {})[s] = {
                "output_over_best": ratio,
                "best": best,
                "decode_over_best": decode,
            }
            print(
                f"{s} streams: {first} / {best} = {ratio:.2f} output tokens/s; "
                f"decode per stream / best {decode:.2f}"
            )
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


main()
