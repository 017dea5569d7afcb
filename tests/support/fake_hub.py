#!/usr/bin/env python3
"""A small server that speaks the Hugging Face hub's protocol over folders, for end-to-end tests. Only
Python's standard library.

  python3 tests/support/fake_hub.py ROOT [--port 0] [--token T] [--fault KIND:PART:TIMES[:N]] …

serves every ROOT/org/name/ as the repository org/name with the one branch main. It prints `endpoint URL` once
it listens. Large files (.safetensors, .gguf, .bin, or over 1 MiB) are named by SHA-256 and served, as the hub
does it, through a redirect to another origin (a second port), which must not see the token. Others are named
as git names a blob.

Faults, for the next TIMES requests whose path holds PART (all but `status`: only for answers with a body):
  status:PART:TIMES:503   that status (429 with Retry-After: 0)
  cut:PART:TIMES:5000     the connection breaks after 5000 bytes
  corrupt:PART:TIMES      one byte is wrong
  norange:PART:TIMES      the range is ignored
  slow:PART:TIMES:20      a pause of 20 ms after every 64 KiB
From Python: `with FakeHub(root, token=…, faults=[…]) as hub`: hub.endpoint, and hub.requests as tuples of
method, origin ("hub" or "content"), path and headers.
"""
import argparse
import contextlib
import functools
import hashlib
import json
import pathlib
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE_NAMES = (".safetensors", ".gguf", ".bin")
LARGE_BYTES = 1 << 20
PIECE = 64 << 10


class Fault:
    def __init__(self, text):
        kind, part, times, *number = text.split(":")
        self.kind, self.part, self.left = kind, part, int(times)
        self.number = int(number[0]) if number else 0
        if kind not in ("status", "cut", "corrupt", "norange", "slow"):
            raise ValueError(f"unknown fault {kind!r}")


@functools.lru_cache(maxsize=None)
def hashes_at(path, size, _mtime):
    """SHA-256 of a file's bytes, and git's name of them as a blob."""
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % size + data).hexdigest()


def hashes(path):
    stat = path.stat()
    return hashes_at(path, stat.st_size, stat.st_mtime_ns)


def is_large(path):
    return path.name.endswith(LARGE_NAMES) or path.stat().st_size > LARGE_BYTES


class FakeHub:
    def __init__(self, root, port=0, token=None, faults=()):
        self.root, self.token = pathlib.Path(root).resolve(), token
        self.faults = [Fault(f) for f in faults]
        self.requests, self.lock = [], threading.Lock()
        self.hub = ThreadingHTTPServer(("127.0.0.1", port), self._handler("hub"))
        self.content = ThreadingHTTPServer(("127.0.0.1", 0), self._handler("content"))
        self.endpoint = f"http://127.0.0.1:{self.hub.server_address[1]}"
        self.content_origin = f"http://127.0.0.1:{self.content.server_address[1]}"

    def __enter__(self):
        for server in (self.hub, self.content):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in (self.hub, self.content):
            server.shutdown()
            server.server_close()

    def files(self, repository):
        """Name -> path; None when there is no such repository."""
        folder = self.root / repository
        if repository.count("/") != 1 or not folder.is_dir() or self.root not in folder.resolve().parents:
            return None
        return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}

    def commit(self, files):
        return hashlib.sha1("".join(f"{n} {hashes(p)[1]}\n" for n, p in files.items()).encode()).hexdigest()

    def take_fault(self, path, spoils_body):
        with self.lock:
            for fault in self.faults:
                if fault.left > 0 and fault.part in path and (fault.kind != "status") == spoils_body:
                    fault.left -= 1
                    return fault
        return None

    def _handler(hub, origin):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.answer(False)

            def do_GET(self):
                self.answer(True)

            def answer(self, with_body):
                with hub.lock:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    hub.requests.append((self.command, origin, self.path, headers))
                self.with_body = with_body
                fault = hub.take_fault(self.path, spoils_body=False)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    if fault:
                        self.refuse(fault.number, "", **({"Retry-After": "0"} if fault.number == 429 else {}))
                    elif origin == "content":
                        self.answer_content()
                    elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                        self.refuse(401, "GatedRepo")
                    else:
                        self.answer_hub()

            def refuse(self, status, code, **extra):
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def answer_hub(self):
                url = urllib.parse.urlsplit(self.path)
                parts = [urllib.parse.unquote(p) for p in url.path.strip("/").split("/")]
                if parts[:2] == ["api", "models"] and len(parts) in (4, 6):
                    return self.answer_api("/".join(parts[2:4]), *(parts[4:] or ("revision", "main")))
                if len(parts) >= 5 and parts[2] == "resolve":
                    return self.answer_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
                return self.refuse(404, "")

            def find(self, repository, revision):
                files = hub.files(repository)
                if files is None:
                    self.refuse(401 if not hub.token else 404, "RepoNotFound")
                elif revision not in ("main", hub.commit(files)):
                    self.refuse(404, "RevisionNotFound")
                else:
                    return files
                return None

            def answer_api(self, repository, verb, revision):
                files = self.find(repository, revision)
                if files is None:
                    return
                if verb == "tree":
                    body = []
                    for name, path in files.items():
                        size = path.stat().st_size
                        entry = {"type": "file", "oid": hashes(path)[1], "size": size, "path": name}
                        if is_large(path):
                            entry["lfs"] = {"oid": hashes(path)[0], "size": size, "pointerSize": 134}
                        body.append(entry)
                else:
                    body = {"id": repository, "modelId": repository, "sha": hub.commit(files),
                            "private": False, "tags": [], "downloads": 0, "likes": 0,
                            "siblings": [{"rfilename": name} for name in files]}
                self.send_body(json.dumps(body).encode(), {"Content-Type": "application/json"})

            def answer_file(self, repository, revision, name):
                files = self.find(repository, revision)
                if files is None:
                    return
                if name not in files:
                    return self.refuse(404, "EntryNotFound")
                path = files[name]
                headers = {"X-Repo-Commit": hub.commit(files), "Accept-Ranges": "bytes"}
                if not is_large(path):
                    return self.send_body(path.read_bytes(), headers | {"ETag": f'"{hashes(path)[1]}"'})
                sha256 = hashes(path)[0]
                self.send_response(302)
                headers |= {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(path.stat().st_size),
                            "Content-Length": "0",
                            "Location": f"{hub.content_origin}/{repository}/{name}?sha={sha256}"}
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()

            def answer_content(self):
                if "Authorization" in self.headers:  # a client that lets the token out fails every test
                    return self.refuse(400, "")
                parts = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/").split("/")
                files = hub.files("/".join(parts[:2])) or {}
                path = files.get("/".join(parts[2:]))
                if path is None:
                    return self.refuse(404, "")
                self.send_body(path.read_bytes(), {"ETag": f'"{hashes(path)[0]}"', "Accept-Ranges": "bytes"})

            def send_body(self, data, headers):
                fault = hub.take_fault(self.path, spoils_body=True) if self.with_body else None
                kind = fault.kind if fault else ""
                start, wanted = 0, self.headers.get("Range", "")
                same = self.headers.get("If-Range", headers.get("ETag")) == headers.get("ETag")
                if wanted.startswith("bytes=") and kind != "norange" and same:
                    start = int(wanted[6:].split("-")[0])
                    if start >= len(data):
                        return self.refuse(416, "", **{"Content-Range": f"bytes */{len(data)}"})
                    headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                if kind == "corrupt" and data:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                self.send_response(206 if "Content-Range" in headers else 200)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                if not self.with_body:
                    return
                body = data[start:]
                if kind == "cut":
                    body = body[:fault.number]
                for at in range(0, len(body), PIECE):
                    self.wfile.write(body[at:at + PIECE])
                    if kind == "slow":
                        time.sleep(fault.number / 1000)
                if kind == "cut":
                    self.wfile.flush()
                    self.close_connection = True

        return Handler


def main():
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("root")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token")
    parser.add_argument("--fault", action="append", default=[])
    options = parser.parse_args()
    with FakeHub(options.root, options.port, options.token, options.fault) as hub:
        print("endpoint", hub.endpoint, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
