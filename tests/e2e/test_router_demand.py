"""What the router tells a scaler: the demand of each model, in every way that it is told."""

import concurrent.futures
import contextlib
import json
import re
import ssl
import subprocess

import httpx
import pytest
from routing import PATIENCE_S, Routing, Serving, free_port, replicas_of, wait_until

SLOW = {"base": "smg", "max_num_seqs": 4, "mean_answer_tokens": 0}


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "slow.json"
    path.write_text(json.dumps(SLOW))
    return path


def demand_of(router, model):
    answer = httpx.get(f"{router.url}/autoscale/v1/models/{model}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def metrics(router):
    found = {}
    for name, labels, value in re.findall(
        r"^sluice_router_(\w+)(?:{(.*?)})? (\S+)$", httpx.get(router.url + "/metrics").text, re.M
    ):
        found[name, labels] = float(value)
    return found


def chat(model, tokens):
    return {
        "model": model,
        "stream": True,
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "Tell me about rivers."}],
    }


def test_a_model_is_told_of_before_it_has_a_replica(program, tmp_path):
    nobody = tmp_path / "replicas"
    nobody.write_text("# none yet\n")
    with Routing(program, [], f"--replicas-file={nobody}", "--model=tiny") as router:
        told = demand_of(router, "tiny")
        assert told["demand_replicas"] == 0 and told["reason"] == "none"
        assert metrics(router)["demand_replicas", 'model="tiny"'] == 0
        assert httpx.get(router.url + "/autoscale/v1/models/none").status_code == 404
        # Somebody asks: one is wanted, as long as he waits.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(
                httpx.post,
                router.url + "/v1/chat/completions",
                json=chat("tiny", 2),
                timeout=PATIENCE_S,
            )
            wait_until(lambda: demand_of(router, "tiny")["queue_depth"] == 1)
            told = demand_of(router, "tiny")
            assert told["demand_replicas"] == 1 and told["active"] is True
            router.process.kill()
            asked.exception(timeout=PATIENCE_S)


def test_demand_grows_with_the_load_and_not_with_what_is_there(program, slow_model):
    flags = ["--served-model-name=slow"]
    with replicas_of(program, 1, *flags, simulate=slow_model) as replicas, Routing(
        program, replicas
    ) as router:
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            # So that it knows how fast its replica is.
            url = router.url + "/v1/chat/completions"
            list(pool.map(lambda _: httpx.post(url, json=chat("slow", 8), timeout=PATIENCE_S), range(32)))
            running = [
                pool.submit(httpx.post, url, json=chat("slow", 256), timeout=PATIENCE_S) for _ in range(40)
            ]
            wait_until(lambda: demand_of(router, "slow")["inflight_requests"] == 40)
            told = demand_of(router, "slow")
            # At most four run at once on a replica, and it knows that or less.
            assert told["concurrency_per_replica"] <= 256
            assert told["ready"] == 1
            by_metrics = metrics(router)
            assert by_metrics["endpoints", 'model="slow",state="ready"'] == 1
            assert by_metrics["inflight_requests", 'model="slow"'] > 0
            assert sum(v for (n, _), v in by_metrics.items() if n == "demand_reason") == 1
            for each in running:
                assert each.result().status_code == 200
        wait_until(lambda: demand_of(router, "slow")["demand_replicas"] == 0)


def test_routers_before_the_same_replicas_tell_one_demand(program, slow_model):
    keys = ["--api-key=users", "--admin-api-key=routers"]
    ports = [free_port(), free_port()]
    others = [f"--peer=http://127.0.0.1:{port}" for port in ports]  # each is told of itself as well
    admin = {"Authorization": "Bearer routers"}

    def told(port):
        return httpx.get(f"http://127.0.0.1:{port}/autoscale/v1/models/slow", headers=admin).json()

    with contextlib.ExitStack() as stack:
        (replica,) = stack.enter_context(
            replicas_of(program, 1, "--served-model-name=slow", simulate=slow_model)
        )
        routers = [
            stack.enter_context(Keyed(program, [replica], *keys, *others, "--model=slow", port=port, ready=0))
            for port in ports
        ]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(64))
        wait_until(lambda: all(told(port)["ready"] == 1 for port in ports))
        asked = [
            pool.submit(
                httpx.post,
                routers[i % 3 == 0].url + "/v1/chat/completions",
                json=chat("slow", 6000),  # they are all there until the end
                headers={"Authorization": "Bearer users"},
                timeout=PATIENCE_S,
            )
            for i in range(48)
        ]
        wait_until(lambda: [told(port)["inflight_requests"] for port in ports] == [48, 48])
        wait_until(lambda: told(ports[0])["demand_replicas"] == told(ports[1])["demand_replicas"] > 4)
        share = httpx.get(routers[0].url + "/router/load", headers=admin).json()
        assert share["models"]["slow"]["in_flight"] == 32
        assert httpx.get(routers[0].url + "/router/load").status_code == 401
        # One leaves, and what it had goes with it.
        routers[1].process.kill()
        wait_until(lambda: told(ports[0])["inflight_requests"] <= 32)
        routers[0].process.kill()
        for each in asked:
            each.exception(timeout=PATIENCE_S)


class Keyed(Routing):
    """/router is closed to those without a key."""

    def wait_for_replicas(self, count):
        pass


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A front proxy's authority, certificates that it signed, and the metrics API's own."""
    folder = tmp_path_factory.mktemp("pki")

    def certificate(name, subject, signer=None, alt=None):
        key, request, out = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        if signer is None:
            openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={subject}",
                    "-keyout", key, "-out", out)  # fmt: skip
            return
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={subject}", "-keyout", key, "-out",
                request)  # fmt: skip
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alt}\n" if alt else "")
        openssl("x509", "-req", "-days", "2", "-in", request, "-CA", folder / f"{signer}.crt", "-CAkey",
                folder / f"{signer}.key", "-CAcreateserial", "-extfile", extensions, "-out", out)  # fmt: skip

    certificate("proxy-ca", "front-proxy-ca")
    certificate("proxy", "front-proxy-client", "proxy-ca")
    certificate("somebody", "somebody", "proxy-ca")
    certificate("other-ca", "other-ca")
    certificate("stranger", "front-proxy-client", "other-ca")
    certificate("api", "router", "other-ca", alt="IP:127.0.0.1")
    return folder


def asker(authority, name):
    trust = ssl.create_default_context(cafile=authority / "other-ca.crt")
    if name is not None:
        trust.load_cert_chain(authority / f"{name}.crt", authority / f"{name}.key")
    return httpx.Client(verify=trust, timeout=PATIENCE_S)


def test_only_the_front_proxy_reads_the_metrics_apis(program, authority):
    port = free_port()
    flags = [
        "--model=org/tiny",
        f"--metrics-api-port={port}",
        f"--metrics-api-certfile={authority / 'api.crt'}",
        f"--metrics-api-keyfile={authority / 'api.key'}",
        f"--requestheader-client-ca-file={authority / 'proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
    ]
    url = f"https://127.0.0.1:{port}"
    external = f"{url}/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/sluice_demand_replicas"
    with replicas_of(program, 1) as replicas, Routing(program, replicas, *flags) as router:
        with asker(authority, "proxy") as proxy:
            told = proxy.get(external, params={"labelSelector": "model=org-tiny"}).json()
            assert [item["value"] for item in told["items"]] == ["0"]
            assert told["items"][0]["metricLabels"] == {"model": "org/tiny"}
            groups = proxy.get(url + "/apis").json()["groups"]
            assert {group["name"] for group in groups} == {
                "custom.metrics.k8s.io",
                "external.metrics.k8s.io",
            }
            custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/prod/services/r/sluice_queue_depth"
            one = proxy.get(url + custom, params={"metricLabelSelector": "model in (org-tiny)"})
            assert one.json()["items"][0]["describedObject"]["name"] == "r"
            assert proxy.get(url + "/apis/apps/v1").status_code == 404
            # Whoever the caller says that he is: the API server has judged that.
            assert proxy.get(external, headers={"X-Remote-User": "nobody"}).status_code == 200
        with asker(authority, "somebody") as somebody:
            assert somebody.get(external, headers={"X-Remote-User": "system:admin"}).status_code == 403
        for name in (None, "stranger"):
            with asker(authority, name) as stranger, pytest.raises(httpx.TransportError):
                stranger.get(external)
        assert httpx.get(router.url + "/apis").status_code == 404  # not at the clients' door
