"""Starts the real router, replicas for it, and false replicas that say what a test tells them to say."""

import contextlib
import http.server
import os
import pathlib
import socket
import threading
import time

import httpx
from serving import PATIENCE_S, START_S, Serving, free_port

# Faults are noticed soon; nothing here is a claim about speed.
QUICK = (
    "--health-check-interval=0.2",
    "--health-check-timeout=0.5",
    "--sick-stall-timeout=0.5",
    "--index-bytes=8MiB",
    "--dictionary-bytes=2MiB",
)


def router_program(server_program):
    return os.environ.get("SLUICE_ROUTER") or str(pathlib.Path(server_program).with_name("sluice-route"))


class Routing(Serving):
    """A router process in front of `replicas` (Servings or URLs), of which `ready` (else all) will be."""

    def __init__(self, server_program, replicas, *flags, port=None, ready=None):
        urls = [each if isinstance(each, str) else each.url for each in replicas]
        self.expected = len(urls) if ready is None else ready
        named = [f"--replica={url}" for url in urls]
        super().__init__(
            router_program(server_program), "--log-level=info", *QUICK, *named, *flags, port=port
        )

    def wait_until_ready(self):
        super().wait_until_ready()
        self.wait_for_replicas(self.expected)

    def replicas(self):
        return {each["name"]: each for each in httpx.get(self.url + "/router/replicas").json()["replicas"]}

    def wait_for_replicas(self, count):
        wait_until(
            lambda: sum(each["state"] == "ready" for each in self.replicas().values()) >= count,
            lambda: f"{count} replicas are not ready: {self.replicas()}\n{self.output()}",
        )


def wait_until(true, explain=lambda: "it did not happen"):
    end = time.monotonic() + START_S
    while not true():
        assert time.monotonic() < end, explain()
        time.sleep(0.02)


@contextlib.contextmanager
def replicas_of(program, count, *flags, simulate="instant"):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Serving(program, f"--simulate={simulate}", *flags)) for _ in range(count)]


class FalseReplica:
    """Answers probes like a replica of another make, and POSTs with what `answer(handler, body)` does."""

    def __init__(self, answer, model="false", port=None, host="127.0.0.1", tls=None):
        outer = self
        self.posts = []
        self.probes = []  # the headers of each GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a peer that leaves is what some tests are about

        class Asked(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.probes.append(dict(self.headers))
                if self.path == "/health":
                    return self.say(200, b"")
                if self.path == "/v1/models":
                    return self.say(200, b'{"object":"list","data":[{"id":"%s"}]}' % model.encode())
                return self.say(404, b"")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posts.append((dict(self.headers), body))
                answer(self, body)

            def say(self, status, body, content_type="application/json", **headers):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def raw(self, data):
                self.wfile.write(data)
                self.wfile.flush()

            def cut(self):
                """Ends the connection as a killed process does."""
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        self.server = Server((host, port or 0), Asked)
        if tls:
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


__all__ = [
    "FalseReplica",
    "PATIENCE_S",
    "QUICK",
    "Routing",
    "Serving",
    "free_port",
    "os",
    "replicas_of",
    "wait_until",
]
