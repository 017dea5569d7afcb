#!/usr/bin/env python3
"""The router against nginx as a plain reverse proxy, in one run on one machine: small bodies, long prompts,
and many streams at once, over simulated replicas. Needs nginx and wrk (Debian: nginx-light, wrk).

    bench/route_speed.py --build build [--seconds 8] [--rounds 3] [--out FILE]
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

NGINX = """
worker_processes {workers}; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 100000000; client_max_body_size 64m; client_body_buffer_size 1m;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream replicas {{ {servers} keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://replicas; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; }} }} }}
"""
# Replicas of no make, which answer at once: what a real one's tokeniser takes for 220 KB would hide all else.
AT_ONCE = """
worker_processes 1; daemon off; pid {folder}/at-once.pid; error_log {folder}/at-once.err;
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 100000000; client_max_body_size 64m; client_body_buffer_size 1m;
  client_body_temp_path {folder}; proxy_temp_path {folder}; default_type application/json;
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ {listen} location = /ready {{ return 200; }} location = /kv_events {{ return 404; }}
    location = /v1/models {{ return 200 '{{"object":"list","data":[{{"id":"m"}}]}}'; }}
    location / {{ return 200 '{{"choices":[{{"index":0,"text":" word","finish_reason":"length"}}]}}'; }} }} }}
"""
WRK = """
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
local turn, requests = 0, {{}}
init = function()
  for i = 1, 64 do
    local body = '{{"prompt":"' .. i .. ' {text}","max_tokens":1,"temperature":0}}'
    requests[i] = wrk.format(nil, nil, nil, body)
  end
end
request = function()
  turn = turn % 64 + 1
  return requests[turn]
end
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, enough=lambda body: True):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url) as answer:
                if answer.status == 200 and enough(answer.read()):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"{url} does not answer")


def peak_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


class World:
    """Replicas, nginx before them, and the router before them."""

    def __init__(self, build, folder, replicas, simulate, nginx_workers):
        self.processes = []
        self.ports = [free_port() for _ in range(replicas)]
        if simulate == "at once":
            conf = pathlib.Path(folder, "at-once.conf")
            listen = " ".join(f"listen 127.0.0.1:{port};" for port in self.ports)
            conf.write_text(AT_ONCE.format(folder=folder, listen=listen))
            self.run("nginx", "-c", str(conf))
        else:
            for port in self.ports:
                self.run(f"{build}/sluice-serve", "--simulate", simulate, "--port", str(port))
        for port in self.ports:
            wait_for(f"http://127.0.0.1:{port}/ready")
        self.nginx_port, self.route_port = free_port(), free_port()
        conf = pathlib.Path(folder, f"nginx-{nginx_workers}.conf")
        servers = " ".join(f"server 127.0.0.1:{port};" for port in self.ports)
        text = NGINX.format(workers=nginx_workers, folder=folder, servers=servers, port=self.nginx_port)
        conf.write_text(text)
        self.run("nginx", "-c", str(conf))
        named = [f"--replica=http://127.0.0.1:{port}" for port in self.ports]
        self.router = self.run(f"{build}/sluice-route", "--port", str(self.route_port), *named)
        wait_for(f"http://127.0.0.1:{self.nginx_port}/ready")
        ready = lambda body: body.count(b'"state":"ready"') == body.count(b'"url"') == replicas
        wait_for(f"http://127.0.0.1:{self.route_port}/router/replicas", ready)
        self.targets = {"direct": self.ports[0], "nginx": self.nginx_port, "sluice": self.route_port}

    def run(self, *command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()


def wrk(folder, port, connections, seconds, text):
    script = pathlib.Path(folder, "post.lua")
    script.write_text(WRK.format(text=text))
    url = f"http://127.0.0.1:{port}/v1/completions"
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "30s",
        "-s",
        script,
        url,
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        print(out, file=sys.stderr)
    scale = {"us": 1e-6, "ms": 1e-3, "s": 1}
    at = {p: float(v) * scale[u] for p, v, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", out, re.M)}
    return {
        "requests_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
        "p50_s": at["50"],
        "p99_s": at["99"],
        "failed": sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out))),
    }


def rounds(world, folder, count, connections, seconds, text):
    """Medians over rounds in which all take turns."""
    seen = {name: [] for name in world.targets}
    for _ in range(count):
        for name, port in world.targets.items():
            seen[name].append(wrk(folder, port, connections, seconds, text))
    middle = {
        name: {key: statistics.median(each[key] for each in runs) for key in runs[0]}
        for name, runs in seen.items()
    }
    middle["sluice_to_nginx"] = middle["sluice"]["requests_per_s"] / middle["nginx"]["requests_per_s"]
    for name in ("nginx", "sluice"):
        middle[name]["added_p50_s"] = middle[name]["p50_s"] - middle["direct"]["p50_s"]
    return middle


async def one_stream(port, tokens, index):
    body = json.dumps({"prompt": f"{index} of many", "max_tokens": tokens, "temperature": 0, "stream": True})
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    )
    head += f"Content-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write((head + body).encode())
    count, tail = 0, b""
    while piece := await reader.read(65536):
        count += piece.count(b"data: {")
        tail = (tail + piece)[-64:]
    writer.close()
    return count, b"[DONE]" in tail


async def streams(port, count, tokens):
    begun = time.monotonic()
    done = await asyncio.gather(*(one_stream(port, tokens, index) for index in range(count)))
    seconds = time.monotonic() - begun
    return {
        "streams": count,
        "complete": sum(whole for _, whole in done),
        "events_per_s": sum(events for events, _ in done) / seconds,
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--out")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)
    result = {
        "what": "sluice route against nginx as a plain reverse proxy, simulated replicas, loopback",
        "machine": f"{cpu}, {os.cpu_count()} cores",
        "command": "bench/route_speed.py " + " ".join(sys.argv[1:]),
        "nginx": subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip(),
    }
    small, long_prompt = "abcdefg " * 120, "abcdefg " * 28000
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            with World(args.build, folder, 3, "instant", workers) as world:
                part = result[f"nginx_workers_{workers}"] = {}
                part["1_kb_32_connections"] = rounds(world, folder, args.rounds, 32, args.seconds, small)
                part["1_kb_1_connection"] = rounds(world, folder, args.rounds, 1, args.seconds, small)
        with World(args.build, folder, 3, "at once", 1) as world:
            result["1_kb_answered_at_once"] = rounds(world, folder, args.rounds, 32, args.seconds, small)
            result["220_kb"] = rounds(world, folder, args.rounds, 8, args.seconds, long_prompt)
            result["220_kb"]["router_peak_mib"] = peak_mib(world.router)
        with World(args.build, folder, 8, "smg", 1) as world:
            result["streams"] = {}
            for name in ("nginx", "sluice"):
                result["streams"][name] = asyncio.run(streams(world.targets[name], args.streams, 64))
            result["streams"]["router_peak_mib"] = peak_mib(world.router)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
