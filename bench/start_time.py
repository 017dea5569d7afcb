#!/usr/bin/env python3
"""Seconds from the start of a server's process to the first token of a streamed chat answer.

python3 bench/start_time.py './run --port {port}' [--runs 5] [--port 8120]
Connects again and again from the first moment on, and retries a 503 (still loading) at once. Standard library
only.
"""

import argparse
import http.client
import json
import shlex
import signal
import statistics
import subprocess
import time

BODY = json.dumps({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4, "stream": True})


def first_token(command, port):
    start = time.perf_counter()
    process = subprocess.Popen(
        shlex.split(command.format(port=port)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - start < 120:
            if process.poll() is not None:
                raise SystemExit(f"the server exited with {process.returncode}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("POST", "/v1/chat/completions", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status == 200:
                    while line := answer.readline():
                        if (
                            line.startswith(b"data: {")
                            and b'"content":"' in line
                            and b'"content":""' not in line
                        ):
                            return time.perf_counter() - start
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit("no token in two minutes")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("command")
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--port", type=int, default=8120)
options = parser.parse_args()
seconds = [first_token(options.command, options.port) for _ in range(options.runs)]
print(json.dumps({"seconds": [round(s, 3) for s in seconds], "median": round(statistics.median(seconds), 3)}))
