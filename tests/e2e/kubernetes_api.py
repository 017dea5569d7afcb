"""An API server that knows EndpointSlices (lists page by page, watches with bookmarks, too old versions), and
whatever single objects a test gives it, to get and to patch; tokens; and it breaks in whatever way a test
wants."""

import http.server
import json
import queue
import threading
import urllib.parse

PATH = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"


def endpoint(pod, address="127.0.0.1", ready=True, terminating=False, serving=None):
    return {
        "addresses": [address],
        "conditions": {
            "ready": ready,
            "serving": ready if serving is None else serving,
            "terminating": terminating,
        },
        "targetRef": {"kind": "Pod", "namespace": "llm", "name": pod, "uid": f"uid-of-{pod}"},
        "nodeName": "node",
    }


def endpoint_slice(name, endpoints, port, service="llm", port_name="http", family="IPv4"):
    return {
        "metadata": {
            "name": name,
            "namespace": "llm",
            "labels": {"kubernetes.io/service-name": service},
            "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {"f:endpoints": {}}}],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }


class KubernetesApi:
    """`tls`: an ssl.SSLContext of the server. What a test sets holds from the next request on."""

    def __init__(self, tls=None, port=None, slices=()):
        self.lock = threading.RLock()
        self.version = 100
        self.oldest = 100  # versions before it are forgotten
        self.slices = {}
        self.events = []  # (version, type, object)
        self.watchers = []
        self.requests = []  # (path, query, status) of each
        self.tokens = None  # a set: others get 401
        self.forbidden = None  # a sentence: 403
        self.broken_lists = 0  # so many lists get nonsense
        self.objects = {}  # by path
        self.patches = []  # (path, merge patch, status) of each
        for each in slices:
            self.put(each)
        outer = self

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request, client_address):
                pass

        class Asked(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.answer(self)

            def do_PATCH(self):
                outer.change(self)

        self.server = Server(("127.0.0.1", port or 0), Asked)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.cut_watches()

    # --- what happens in the cluster ---

    def put(self, new):
        name = new["metadata"]["name"]
        with self.lock:
            self.version += 1
            kind = "MODIFIED" if name in self.slices else "ADDED"
            stamped = json.loads(json.dumps(new))
            stamped["metadata"]["resourceVersion"] = str(self.version)
            self.slices[name] = stamped
            self.tell(kind, stamped)

    def delete(self, name):
        with self.lock:
            self.version += 1
            gone = self.slices.pop(name)
            gone["metadata"]["resourceVersion"] = str(self.version)
            self.tell("DELETED", gone)

    def tell(self, kind, new):
        event = {
            "type": kind,
            "object": {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", **new},
        }
        self.events.append((self.version, event))
        self.say(json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def bookmark(self):
        with self.lock:
            self.version += 1
            told = {"kind": "EndpointSlice", "metadata": {"resourceVersion": str(self.version)}}
            self.say(json.dumps({"type": "BOOKMARK", "object": told}).encode() + b"\n")

    def forget(self):
        """Compaction: no watch can begin before now."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.events.clear()

    # --- what happens on the wire ---

    def say(self, data):
        """To every watch, as it is."""
        with self.lock:
            for watcher in self.watchers:
                watcher.put(data)

    def cut_watches(self):
        self.say(None)

    def end_watches(self):
        """As their time-out does."""
        self.say(b"")

    def count(self, verb, status=200):
        with self.lock:
            return sum(
                ("watch" in query) == (verb == "watch") and code == status for _, query, code in self.requests
            )

    def last_watch(self):
        with self.lock:
            return [query for _, query, code in self.requests if "watch" in query][-1]

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        status, body = self.judge(handler, url.path, query)
        with self.lock:
            self.requests.append((url.path, query, status))
        if body is None:
            return self.watch(handler, query)
        self.say_whole(handler, status, body)

    @staticmethod
    def failure(code, reason, message):
        fault = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
        return code, json.dumps(fault | {"reason": reason, "message": message}).encode()

    def stop_at_the_door(self, handler):
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            return self.failure(401, "Unauthorized", "Unauthorized")
        if self.forbidden:
            return self.failure(403, "Forbidden", self.forbidden)
        return None

    def put_object(self, path, new):
        with self.lock:
            self.version += 1
            new.setdefault("metadata", {})["resourceVersion"] = str(self.version)
            self.objects[path] = new

    def change(self, handler):
        """A JSON merge patch of an object, which fails where it names another version (RFC 7386)."""
        path = urllib.parse.urlsplit(handler.path).path
        patch = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))

        def merged(old, new):
            if not isinstance(new, dict):
                return new
            old = dict(old) if isinstance(old, dict) else {}
            for key, value in new.items():
                old[key] = merged(old.get(key), value)
            return {key: value for key, value in old.items() if value is not None}

        with self.lock:
            version = patch.get("metadata", {}).get("resourceVersion")
            stopped = self.stop_at_the_door(handler)
            if stopped:
                status, body = stopped
            elif handler.headers["Content-Type"] != "application/merge-patch+json":
                status, body = self.failure(415, "UnsupportedMediaType", "not a merge patch")
            elif path not in self.objects:
                status, body = self.failure(404, "NotFound", f"{path} not found")
            elif version not in (None, self.objects[path]["metadata"]["resourceVersion"]):
                status, body = self.failure(409, "Conflict", "the object has been modified")
            else:
                self.put_object(path, merged(self.objects[path], patch))
                status, body = 200, json.dumps(self.objects[path]).encode()
            self.patches.append((path, patch, status))
        self.say_whole(handler, status, body)

    @staticmethod
    def say_whole(handler, status, body):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def judge(self, handler, path, query):
        with self.lock:
            stopped = self.stop_at_the_door(handler)
            if stopped:
                return stopped
            if path in self.objects:
                return 200, json.dumps(self.objects[path]).encode()
            if path != PATH.format("llm"):
                return self.failure(404, "NotFound", "the server could not find the requested resource")
            if "watch" in query:
                return 200, None
            if self.broken_lists > 0:
                self.broken_lists -= 1
                return 200, b'{"kind":"EndpointSliceList","items":[{"metadata"'
            return 200, self.list(query)

    def selected(self, query):
        selector = query.get("labelSelector", "")
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        return sorted(
            (each for each in self.slices.values() if wanted.items() <= each["metadata"]["labels"].items()),
            key=lambda each: each["metadata"]["name"],
        )

    def list(self, query):
        items = self.selected(query)
        begin = int(query.get("continue", 0))
        end = begin + int(query.get("limit", 0) or len(items))
        metadata = {"resourceVersion": str(self.version)}
        if end < len(items):
            metadata |= {"continue": str(end), "remainingItemCount": len(items) - end}
        whole = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata}
        return json.dumps(whole | {"items": items[begin:end]}).encode()

    def watch(self, handler, query):
        out = queue.Queue()
        begin = int(query["resourceVersion"])
        with self.lock:
            if begin < self.oldest:
                gone = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired"}
                gone["message"] = f"too old resource version: {begin} ({self.oldest})"
                out.put(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                out.put(b"")
            else:
                for version, event in self.events:
                    if version > begin:
                        out.put(json.dumps(event).encode() + b"\n")
                self.watchers.append(out)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json;stream=watch")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while data := out.get():
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                handler.wfile.flush()
            if data == b"":
                handler.wfile.write(b"0\r\n\r\n")
            else:
                handler.close_connection = True
        except OSError:
            handler.close_connection = True
        finally:
            with self.lock:
                if out in self.watchers:
                    self.watchers.remove(out)
