"""Starts and stops the real server and reads its metrics. One Serving is one process on a port of its own."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

import httpx

# Waits are bounded so that a hang ends a test; none of these is a claim about speed.
START_S = 120
PATIENCE_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Serving:
    """A server process that answers /ready; use it as a context manager. `tls`: speak https by that context."""

    def __init__(self, program, model, *flags, port=None, environment=None, tls=None):
        self.port = port or free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.tls = tls or True  # httpx's own default
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [program, model, "--host", "127.0.0.1", "--port", str(self.port), *flags],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
        )

    def __enter__(self):
        try:
            self.wait_until_ready()
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise

    def wait_until_ready(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server exited with {self.process.returncode}:\n{self.output()}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + "/ready", verify=self.tls).status_code == 200:
                    return
            time.sleep(0.01)
        raise AssertionError(f"the server was not ready after {START_S} s:\n{self.output()}")

    def output(self):
        # Not by seek and read: the server writes at the same offset.
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")

    def client(self, **options):
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S, verify=self.tls, **options)

    def post(self, path, body):
        with self.client() as client:
            return client.post(path, json=body)

    def metric(self, name):
        """The sum over the series of that name; None when there is no such series."""
        text = httpx.get(self.url + "/metrics", verify=self.tls).text
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values)) if values else None

    def wait_for_metric(self, name, value):
        end = time.monotonic() + PATIENCE_S
        while (now := self.metric(name)) != value:
            assert time.monotonic() < end, f"{name} is {now}, not {value}, after {PATIENCE_S} s"
            time.sleep(0.02)

    def wait_until_idle(self):
        """Nothing runs, nothing waits, no block of the KV cache is held."""
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
            self.wait_for_metric(name, 0)


def run_to_exit(program, *arguments, environment=None):
    """Runs the server where it must not start; its exit code and what it printed."""
    done = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        env=os.environ | (environment or {}),
    )
    return done.returncode, done.stdout.decode(errors="replace")
