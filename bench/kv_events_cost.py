#!/usr/bin/env python3
"""What GET /kv_events costs the server: requests per second and the server's CPU time per request on the cost
model `instant`, without a reader, with one and with four, in alternating rounds of one run. Each request has
a prompt of its own of 512 tokens and an answer of 16, so that it stores and evicts some 33 blocks.

python3 bench/kv_events_cost.py --server build/sluice-serve [--rounds 5] [--out FILE]
Standard library, and curl for the readers.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import statistics
import subprocess
import time

PROMPT, ANSWER = 512, 16


class Server:
    def __init__(self, program, port, readers):
        self.port, self.readers = port, []
        flags = ["--simulate=instant", "--port", str(port), "--log-level", "error", "--disable-log-stats"]
        self.process = subprocess.Popen([program, *flags])
        while True:
            try:
                if self.get("/ready") == 200:
                    break
            except OSError:
                time.sleep(0.01)
        for _ in range(readers):
            command = ["curl", "-sN", f"http://127.0.0.1:{port}/kv_events"]
            self.readers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        return connection.getresponse().status

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, clients, requests, salt):
        def client(number):
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            for i in range(requests // clients):
                first = (salt * 7919 + number * 131 + i) % 30000
                ids = [300 + (first + k * k) % 40000 for k in range(PROMPT)]
                body = json.dumps({"prompt": ids, "max_tokens": ANSWER, "temperature": 0})
                connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status != 200:
                    raise SystemExit(answer.read())
                answer.read()

        cpu, start = self.cpu_s(), time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
        return requests / (time.perf_counter() - start), (self.cpu_s() - cpu) / requests * 1e6

    def stop(self):
        for process in (*self.readers, self.process):
            process.terminate()
            process.wait()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--port", type=int, default=18700)
    parser.add_argument("--out")
    options = parser.parse_args()
    servers = [Server(options.server, options.port + n, n) for n in (0, 1, 4)]
    rates, cpu = ({len(s.readers): [] for s in servers} for _ in range(2))
    for r in range(options.rounds + 1):
        for server in servers if r % 2 else reversed(servers):
            rate, micros = server.load(options.clients, options.requests, r)
            if r > 0:  # the first is a warm-up
                rates[len(server.readers)].append(round(rate))
                cpu[len(server.readers)].append(round(micros, 1))
    for server in servers:
        server.stop()
    ratio = {n: round(statistics.median(rates[n]) / statistics.median(rates[0]), 3) for n in rates}
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "python3 bench/kv_events_cost.py --server build/sluice-serve",
        "cores": os.cpu_count(),
        "requests_per_s_by_readers": rates,
        "server_cpu_us_per_request_by_readers": cpu,
        "requests_per_s_to_none": ratio,
        "server_cpu_us_added_by_readers": {
            n: round(statistics.median(cpu[n]) - statistics.median(cpu[0]), 1) for n in cpu
        },
    }
    print(json.dumps(record, indent=1))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


main()
