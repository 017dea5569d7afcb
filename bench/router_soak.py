#!/usr/bin/env python3
"""The router's memory over a long run: unique prompts of many sessions without end, streams that are left in
the middle, replicas that come and go. Prints a line every half minute and whether the second half of the run
was flat.

    bench/router_soak.py --build build [--minutes 20] [--rate 150] [--out FILE]
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import httpx


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Fleet:
    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.file = folder / "replicas"
        self.replicas = {}

    def start(self):
        port = free_port()
        self.replicas[port] = subprocess.Popen(
            [self.build / "sluice-serve", "--simulate", "instant", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.tell()

    def tell(self):
        lines = "".join(f"http://127.0.0.1:{port}\n" for port in self.replicas)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(lines)
        fresh.rename(self.file)

    def end(self, port, how):
        replica = self.replicas.pop(port)
        self.tell()
        replica.send_signal(how)
        replica.wait()


async def ask(client, url, ledger):
    session = random.randrange(10**9)
    words = " ".join(str(random.randrange(10**6)) for _ in range(random.choice([20, 200, 2000])))
    body = {
        "messages": [{"role": "user", "content": f"{session} {words}"}],
        "max_tokens": random.choice([1, 16, 64]),
        "stream": random.random() < 0.7,
    }
    leaves = random.random() < 0.1
    headers = {"x-sluice-tenant": f"tenant-{session % 1000}", "x-session-id": str(session)}
    try:
        async with client.stream("POST", url, json=body, headers=headers) as answer:
            async for _ in answer.aiter_bytes():
                if leaves:
                    break
        ledger[answer.status_code] = ledger.get(answer.status_code, 0) + 1
    except httpx.HTTPError as fault:
        name = type(fault).__name__
        ledger[name] = ledger.get(name, 0) + 1


async def run(options):
    folder = pathlib.Path(tempfile.mkdtemp())
    build = pathlib.Path(options.build)
    fleet = Fleet(build, folder)
    for _ in range(3):
        fleet.start()
    port = free_port()
    router = subprocess.Popen(
        [build / "sluice-route", "--port", str(port), "--replicas-file", fleet.file, "--log-level=error",
         "--index-bytes=32MiB", "--dictionary-bytes=8MiB"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    ledger, samples, waiting = {}, [], set()
    start = time.monotonic()
    try:
        await asyncio.sleep(3)
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=100)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            next_sample, next_change = 0, 60
            while (now := time.monotonic() - start) < options.minutes * 60:
                if len(waiting) < 300:
                    task = asyncio.create_task(ask(client, url, ledger))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                if now >= next_change:
                    next_change = now + 60
                    fleet.end(
                        random.choice(list(fleet.replicas)), random.choice([signal.SIGKILL, signal.SIGTERM])
                    )
                    fleet.start()
                if now >= next_sample:
                    next_sample = now + 30
                    samples.append((round(now), round(resident_mib(router.pid), 1), open_files(router.pid)))
                    print(*samples[-1], "s, MiB, descriptors;", sum(ledger.values()), "requests", flush=True)
                await asyncio.sleep(random.expovariate(options.rate))
            await asyncio.gather(*waiting)
    finally:
        router.terminate()
        router.wait()
        for replica in fleet.replicas.values():
            replica.terminate()
    half = [mib for at, mib, _ in samples if at >= options.minutes * 30]
    record = {
        "command": " ".join(sys.argv),
        "minutes": options.minutes,
        "requests": sum(ledger.values()),
        "ledger": {str(key): count for key, count in ledger.items()},
        "samples_s_mib_descriptors": samples,
        "second_half_mib": [min(half), max(half)],
        "flat": max(half) - min(half) < 0.05 * max(half),
    }
    print(json.dumps({key: record[key] for key in ("requests", "ledger", "second_half_mib", "flat")}))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(record, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=150)
    parser.add_argument("--out")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
