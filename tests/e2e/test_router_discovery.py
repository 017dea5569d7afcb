"""Where the router's replicas come from: a Kubernetes API that tells, breaks and lies, and a DNS that does
the same. No source that is away takes a replica with it; nobody who leaves loses a stream."""

import concurrent.futures
import json
import ssl
import threading

import httpx
import pytest
from dns_server import A, AAAA, SERVER_FAILED, SRV, DnsServer
from kubernetes_api import KubernetesApi, endpoint, endpoint_slice
from routing import PATIENCE_S, FalseReplica, Routing, Serving, router_program, wait_until
from serving import run_to_exit
from test_tls import Authority

REQUEST = {"messages": [{"role": "user", "content": "Hello."}]}


def says(name):
    """A replica that answers with its name."""
    return lambda handler, body: handler.say(200, json.dumps({"by": name}).encode())


@pytest.fixture(scope="module")
def pods():
    """Three replicas that answer at once; each has a port of its own."""
    replicas = {name: FalseReplica(says(name)) for name in ("llm-0", "llm-1", "llm-2")}
    yield replicas
    for each in replicas.values():
        each.__exit__()


def slices_of(pods, **conditions):
    """A slice for each pod, for ports are of slices."""
    return [
        endpoint_slice(f"slice-of-{name}", [endpoint(name, **conditions)], each.port)
        for name, each in pods.items()
    ]


def in_kubernetes(program, api, *flags, **more):
    named = ["--k8s-service=llm", "--k8s-namespace=llm", f"--k8s-api-server={api.url}"]
    return Routing(program, [], *named, *flags, **more)


def states(router):
    """Of those that may be asked, or were."""
    found = {name: each["state"] for name, each in router.replicas().items()}
    return {name: state for name, state in found.items() if state != "pending"}


def wait_for_states(router, expected):
    wait_until(lambda: states(router) == expected, lambda: f"{states(router)}\n{router.output()}")


READY = {"llm-0": "ready", "llm-1": "ready", "llm-2": "ready"}


def ask(router):
    answer = router.post("/v1/chat/completions", REQUEST)
    assert answer.status_code == 200, answer.text
    return answer.json()["by"]


def wait_for_words(router, *words):
    wait_until(lambda: all(word in router.output() for word in words), router.output)


# --- Kubernetes ---


def test_follows_the_slices_of_its_service(program, pods):
    with KubernetesApi(slices=slices_of(pods)) as api:
        api.put(endpoint_slice("other", [endpoint("stranger")], 1, service="other"))
        with in_kubernetes(program, api) as router:
            wait_for_states(router, READY)
            assert router.replicas()["llm-0"]["pod"] == {"namespace": "llm", "name": "llm-0"}
            assert ask(router) in READY
            for name in ("llm-0", "llm-1"):
                api.put(endpoint_slice(f"slice-of-{name}", [endpoint(name, ready=False)], pods[name].port))
            wait_for_states(router, READY | {"llm-0": "draining", "llm-1": "draining"})
            assert {ask(router) for _ in range(20)} == {"llm-2"}
            api.put(slices_of(pods)[0])
            wait_for_states(router, READY | {"llm-1": "draining"})
            api.delete("slice-of-llm-1")
            api.put(endpoint_slice("slice-of-llm-2", [], pods["llm-2"].port))
            wait_for_states(router, {"llm-0": "ready"})
            assert api.count("list") == 1


def test_a_pod_that_ends_loses_no_stream(program, pods):
    going = threading.Event()

    def slowly(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.raw(b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"first"}}]}\n\n')
        assert going.wait(PATIENCE_S)
        handler.raw(
            b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"last"}}]}\n\ndata: [DONE]\n\n'
        )
        handler.close_connection = True

    with FalseReplica(slowly) as ending, KubernetesApi() as api:
        alone = {"ending": ending}
        for each in slices_of(alone):
            api.put(each)
        with in_kubernetes(program, api) as router:
            wait_for_states(router, {"ending": "ready"})
            body = REQUEST | {"stream": True}
            with httpx.stream(
                "POST", router.url + "/v1/chat/completions", json=body, timeout=PATIENCE_S
            ) as answer:
                lines = answer.iter_lines()
                assert "first" in next(lines)
                # As a scale-down goes: terminating but serving, then not serving, then gone.
                for serving in (True, False):
                    api.put(slices_of(alone, ready=False, terminating=True, serving=serving)[0])
                    wait_for_states(router, {"ending": "draining"})
                for each in slices_of(pods):
                    api.put(each)
                wait_for_states(router, READY | {"ending": "draining"})
                assert ask(router) in READY
                api.delete("slice-of-ending")
                wait_for_states(router, READY)
                going.set()
                rest = [line for line in lines if line]
            assert "last" in rest[0] and rest[-1] == "data: [DONE]", rest
            assert len(ending.posts) == 1


def test_a_broken_watch_goes_on_where_it_was(program, pods):
    with KubernetesApi(slices=slices_of(pods)) as api, in_kubernetes(program, api) as router:
        wait_for_states(router, READY)
        wait_until(lambda: api.watchers)
        api.bookmark()
        seen = str(api.version)
        for what, end in (("its time is over", api.end_watches), ("it broke", api.cut_watches)):
            before = api.count("watch")
            # Where the bookmark was not read yet, the watch before it is as good.
            wait_until(lambda: end() or api.count("watch") > before, lambda: what)
            wait_until(lambda: api.last_watch()["resourceVersion"] == seen or end(), lambda: what)
        api.put(endpoint_slice("slice-of-llm-1", [], pods["llm-1"].port))
        wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})
        assert api.count("list") == 1


def test_a_version_that_is_too_old_means_another_list(program, pods):
    with KubernetesApi(slices=slices_of(pods)) as api, in_kubernetes(program, api) as router:
        wait_for_states(router, READY)
        wait_until(lambda: api.watchers)
        with api.lock:
            # While nobody watches, one pod leaves and the history is forgotten.
            watchers, api.watchers = api.watchers, []
            api.delete("slice-of-llm-1")
            api.forget()
            for each in watchers:
                each.put(None)
        wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})
        assert api.count("list") == 2
        api.put(slices_of(pods)[1])
        wait_for_states(router, READY)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"this is not JSON\n",
        b"\x00\xff\xfe\n",
        b'{"type":"MODIFIED","object":{"kind":"EndpointSlice","metadata":{"name":"slice-of-llm-0"}}}\n',
        b'{"type":"ADDED","object":' + b"[" * 100_000 + b"\n",
        b'{"type":"ADDED","object":"' + b"x" * (5 << 20),
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is on fire"}}\n',
    ],
    ids=["no json", "no utf-8", "half a slice", "deep", "long", "an error"],
)
def test_nonsense_takes_no_replica(program, pods, nonsense):
    with KubernetesApi(slices=slices_of(pods)) as api, in_kubernetes(program, api) as router:
        wait_for_states(router, READY)
        wait_until(lambda: api.watchers)
        lists = api.count("list") + api.count("watch")
        api.say(nonsense)
        wait_until(lambda: api.count("list") + api.count("watch") > lists, router.output)
        assert states(router) == READY
        wait_until(lambda: api.watchers)
        api.delete("slice-of-llm-1")
        wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})


def test_a_broken_list_is_asked_for_again(program, pods):
    with KubernetesApi(slices=slices_of(pods)) as api:
        api.broken_lists = 2
        with in_kubernetes(program, api) as router:
            wait_for_states(router, READY)
            wait_for_words(router, "its list is of no use")


def test_an_api_server_that_is_away_takes_no_replica(program, pods):
    api = KubernetesApi(slices=slices_of(pods))
    with in_kubernetes(program, api) as router:
        wait_for_states(router, READY)
        api.stop()
        wait_for_words(router, "is of no use now", "The 3 replicas stay as they are")
        assert {ask(router) for _ in range(20)} <= set(READY)
        assert states(router) == READY
        assert router.output().count("is of no use now") == 1, router.output()
        assert router.metric("sluice_router_source_up") == 0
        (source,) = httpx.get(router.url + "/router/replicas").json()["sources"]
        assert source["name"] == "kubernetes llm/llm" and "connecting" in source["trouble"]
        # It comes back, and has forgotten what was.
        with KubernetesApi(port=api.port, slices=slices_of(pods)) as api:
            api.delete("slice-of-llm-1")
            api.forget()
            wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})
            wait_for_words(router, "the API server answers again")
            assert router.metric("sluice_router_source_up") == 1


def test_tokens_rotate_and_the_server_is_known_by_its_authority(program, pods, tmp_path):
    authority = Authority(tmp_path, "cluster")
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(*authority.sign("apiserver"))
    token = tmp_path / "token"
    token.write_text("first\n")
    with KubernetesApi(tls=identity, slices=slices_of(pods)) as api:
        api.tokens = {"first"}
        with in_kubernetes(program, api) as stranger:
            wait_for_words(stranger, "certificate verify failed")
            assert states(stranger) == {}
        flags = [f"--k8s-token-file={token}", f"--k8s-ca-file={authority.certificate}"]
        with in_kubernetes(program, api, *flags) as router:
            wait_for_states(router, READY)
            api.tokens = {"second"}
            api.cut_watches()
            wait_until(lambda: api.count("watch", 401) + api.count("list", 401) > 0)
            assert states(router) == READY
            token.write_text("second\n")
            api.delete("slice-of-llm-1")
            wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})


def test_a_missing_right_is_named(program, pods):
    with KubernetesApi(slices=slices_of(pods)) as api:
        api.forbidden = 'endpointslices.discovery.k8s.io is forbidden: User "router" cannot list resource'
        with in_kubernetes(program, api) as router:
            wait_for_words(
                router,
                "does not allow to list endpointslices of API group discovery.k8s.io in namespace llm",
                "cannot list resource",
            )
            api.forbidden = None
            wait_for_states(router, READY)


def test_lists_of_many_pages_and_floods_of_events_hold_nobody_up(program, pods):
    sleeping = [endpoint(f"asleep-{i}", "10.9.8.7", ready=False) for i in range(1000)]
    many = [endpoint_slice(f"many-{i:02}", sleeping, 9) for i in range(9)]
    with KubernetesApi(slices=many + slices_of(pods)) as api, in_kubernetes(program, api) as router:
        wait_for_states(router, READY)
        assert api.count("list") == 2
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                for each in many[:4]:
                    api.put(each)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            flooding = pool.submit(flood)
            for _ in range(100):
                assert ask(router) in READY
            stop.set()
            flooding.result()
        api.delete("slice-of-llm-1")
        wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})
        assert router.process.poll() is None


def test_what_kubernetes_flags_must_say(program):
    route = router_program(program)
    for flags, words in (
        (["--k8s-service=a", "--k8s-label-selector=b"], "exclude each other"),
        (["--k8s-namespace=a"], "--k8s-service says which"),
        (["--k8s-service=a"], "--k8s-api-server is needed"),
        (["--k8s-service=a", "--k8s-api-server=ftp://b"], "--k8s-api-server"),
    ):
        code, output = run_to_exit(route, *flags, environment={"KUBERNETES_SERVICE_HOST": ""})
        assert code == 2 and words in output, output
    flags = [
        "--k8s-service=a",
        "--k8s-api-server=http://127.0.0.1:1",
        "--k8s-token-file=/nowhere",
        "--port=0",
    ]
    code, output = run_to_exit(route, *flags)
    assert code == 1 and "no token in /nowhere" in output, output


# --- DNS ---


def by_name(program, dns, *flags):
    return Routing(program, [], f"--dns-server={dns.address}", *flags)


@pytest.fixture(scope="module")
def neighbours():
    """Two replicas that have a port in common, as the pods of a headless Service."""
    while True:
        one = FalseReplica(says("one"))
        try:
            two = FalseReplica(says("two"), host="127.0.0.2", port=one.port)
            break
        except OSError:  # the port is somebody's there
            one.__exit__()
    with one, two:
        yield one, two


def test_each_address_of_a_name_is_a_replica(program, neighbours):
    port = neighbours[0].port
    one, two = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
    with DnsServer({"llm.test": {A: ["127.0.0.1"]}}) as dns:
        with by_name(program, dns, f"--replica-dns=http://llm.test:{port}", "--slow-start=0.001") as router:
            wait_for_states(router, {one: "ready"})
            dns.records["llm.test"][A].append("127.0.0.2")
            wait_for_states(router, {one: "ready", two: "ready"})
            wait_until(lambda: ask(router) == "two")
            dns.truncates = True  # such long answers come over TCP
            dns.records["llm.test"][A] = ["127.0.0.2"]
            wait_for_states(router, {two: "ready"})
            assert ask(router) == "two"


def test_a_name_without_ipv4_has_ipv6(program):
    with DnsServer({"llm.test": {AAAA: ["::1"]}}) as dns:
        with by_name(program, dns, "--replica-dns=http://llm.test:1") as router:
            wait_until(lambda: "[::1]:1" in router.replicas(), router.output)


@pytest.mark.parametrize("failure", ["no such name", "server failed", "silence", "garbage", "empty"])
def test_a_dns_that_fails_takes_no_replica_at_once(program, neighbours, failure):
    port = neighbours[0].port
    name = {f"127.0.0.1:{port}": "ready"}
    with DnsServer({"llm.test": {A: ["127.0.0.1"]}}) as dns:
        flags = [f"--replica-dns=http://llm.test:{port}", "--dns-keep-empty=600", "--dns-keep-failed=600"]
        with by_name(program, dns, *flags) as router:
            wait_for_states(router, name)
            if failure == "no such name":
                dns.records.clear()
            elif failure == "server failed":
                dns.failure = SERVER_FAILED
            elif failure == "silence":
                dns.silent = True
            elif failure == "garbage":
                dns.garbage = True
            else:
                dns.records["llm.test"] = {}
            wait_for_words(router, "dns: llm.test: ", "Its 1 replicas stay for now")
            assert states(router) == name
            assert ask(router) == "one"
            dns.failure, dns.silent, dns.garbage = 0, False, False
            dns.records["llm.test"] = {A: ["127.0.0.1", "127.0.0.2"]}
            wait_for_states(router, name | {f"127.0.0.2:{port}": "ready"})
            wait_for_words(router, "dns: llm.test is answered again")


def test_a_name_that_stays_empty_is_believed(program, neighbours):
    port = neighbours[0].port
    with DnsServer({"llm.test": {A: ["127.0.0.1"]}}) as dns:
        flags = [f"--replica-dns=http://llm.test:{port}", "--dns-keep-empty=0.5"]
        with by_name(program, dns, *flags) as router:
            wait_for_states(router, {f"127.0.0.1:{port}": "ready"})
            dns.records.clear()
            wait_for_states(router, {})


@pytest.mark.parametrize("glue", [False, True])
def test_services_name_their_ports_and_weights(program, pods, glue):
    records = {
        "_http._tcp.llm.test": {
            SRV: [
                (1, 3, pods["llm-0"].port, "llm-0.llm.test"),
                (1, 1, pods["llm-1"].port, "llm-1.llm.test"),
                (9, 1, pods["llm-2"].port, "llm-2.llm.test"),
            ]
        }
    }
    records |= {f"llm-{i}.llm.test": {A: ["127.0.0.1"]} for i in range(3)}
    names = [f"llm-{i}.llm.test:{pods[f'llm-{i}'].port}" for i in range(3)]
    with DnsServer(records) as dns:
        dns.glue = glue
        with by_name(program, dns, "--replica-dns=http://_http._tcp.llm.test") as router:
            wait_for_states(router, {names[0]: "ready", names[1]: "ready"})
            assert [router.replicas()[name]["weight"] for name in names[:2]] == [1.5, 0.5]
            assert ("llm-0.llm.test", A) not in dns.questions or not glue
            records["_http._tcp.llm.test"][SRV] = records["_http._tcp.llm.test"][SRV][2:]
            wait_for_states(router, {names[2]: "ready"})


def test_what_dns_flags_must_say(program):
    route = router_program(program)
    for flags, words in (
        (["--replica-dns=http://10.0.0.1:80"], "is an address; use --replica"),
        (["--replica-dns=http://a,name=b"], "leave name= out"),
        (["--replica-dns=http://a", "--dns-server=b"], "give an IPv4 address"),
    ):
        code, output = run_to_exit(route, *flags)
        assert code == 2 and words in output, output


# --- https and keys ---


def test_replicas_behind_tls(program, tmp_path):
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(*authority.sign("replica"))
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    known.load_cert_chain(*authority.sign("careful"))
    known.verify_mode = ssl.CERT_REQUIRED
    known.load_verify_locations(authority.certificate)
    certificate, key = authority.sign("router")
    trusting = f"--ca-cert-path={authority.certificate}"
    own = [f"--client-cert-path={certificate}", f"--client-key-path={key}"]
    with FalseReplica(says("secure"), tls=identity) as replica, FalseReplica(
        says("careful"), tls=known
    ) as careful:
        with Routing(program, [replica.url, careful.url], trusting, *own) as router:
            assert {ask(router) for _ in range(20)} == {"secure", "careful"}
            big = REQUEST | {"pad": "x" * 3_000_000}
            assert router.post("/v1/chat/completions", big).status_code == 200

        def trouble(*flags, url=replica.url):
            with Routing(program, [], f"--replica={url}", *flags) as router:
                wait_until(lambda: router.replicas()[url].get("trouble"))
                return router.replicas()[url]["trouble"]

        assert "certificate verify failed" in trouble()
        assert "certificate verify failed" in trouble(f"--ca-cert-path={other.certificate}")
        assert "mismatch" in trouble(trusting, "--replica-server-name=elsewhere.test")
        assert trouble(trusting, url=careful.url)
        with Routing(program, [replica.url], "--replica-insecure") as router:
            assert ask(router) == "secure"
        with Routing(program, [replica.url], trusting, "--replica-server-name=localhost") as router:
            assert ask(router) == "secure"


def test_the_routers_keys_stay_at_the_router(program, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("from-file\n")
    flags = ["--api-key", "alpha", "beta", "--admin-api-key", "root", f"--api-key-file={keys}"]
    with FalseReplica(says("one")) as replica:
        environment = {"SLUICE_REPLICA_API_KEY": "inner", "SLUICE_API_KEY": "from-environment"}
        route = router_program(program)
        with Serving(route, f"--replica={replica.url}", *flags, environment=environment) as router:

            def status(key, path="/v1/models", header="Authorization"):
                value = {header: f"Bearer {key}" if header == "Authorization" else key} if key else {}
                return httpx.get(router.url + path, headers=value).status_code

            assert [
                status(key) for key in (None, "wrong", "alpha", "beta", "from-file", "from-environment")
            ] == [
                401,
                401,
                200,
                200,
                200,
                200,
            ]
            assert status("alpha", header="x-api-key") == 200
            assert [status(key, "/metrics") for key in (None, "alpha", "root")] == [401, 401, 200]
            assert [status(None, path) for path in ("/health", "/ready")] == [200, 200]
            answer = httpx.post(
                router.url + "/v1/chat/completions",
                json=REQUEST,
                headers={"Authorization": "Bearer alpha"},
                timeout=PATIENCE_S,
            )
            assert answer.json() == {"by": "one"}
            shown, _ = replica.posts[-1]
            assert shown["Authorization"] == "Bearer inner"
            assert not any("alpha" in value for value in shown.values())
            assert replica.probes[-1]["Authorization"] == "Bearer inner"
            refused = httpx.post(router.url + "/v1/messages", json=REQUEST)
            assert refused.status_code == 401 and refused.json()["type"] == "error"
