"""What the router does for its cluster beside routing: it learns who the front proxy is, wakes a workload
from nothing and puts it to sleep, and tells which pod is missed least."""

import concurrent.futures
import contextlib
import json
import ssl

import httpx
import pytest
from kubernetes_api import KubernetesApi, endpoint, endpoint_slice
from routing import PATIENCE_S, Serving, free_port, router_program, wait_until
from serving import run_to_exit
from test_router_demand import authority, chat, demand_of, slow_model  # noqa: F401
from test_router_discovery import in_kubernetes, wait_for_words

CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
SCALE = "/apis/apps/v1/namespaces/llm/deployments/llm/scale"
COST = "controller.kubernetes.io/pod-deletion-cost"


def test_the_cluster_says_who_reads_the_metrics_apis(program, authority):  # noqa: F811
    def config_map(signer, *names):
        return {
            "kind": "ConfigMap",
            "data": {
                "requestheader-client-ca-file": (authority / f"{signer}.crt").read_text(),
                "requestheader-allowed-names": json.dumps(names),
            },
        }

    port = free_port()
    url = f"https://127.0.0.1:{port}/apis/external.metrics.k8s.io/v1beta1/namespaces/x/sluice_queue_depth"

    def read(name):
        """Its certificate is signed by nobody but itself."""
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        if name:
            trust.load_cert_chain(authority / f"{name}.crt", authority / f"{name}.key")
        with httpx.Client(verify=trust) as client:
            return client.get(url, timeout=PATIENCE_S).status_code

    with KubernetesApi() as api:
        api.forbidden = "configmaps is forbidden"
        with in_kubernetes(program, api, "--model=tiny", f"--metrics-api-port={port}", ready=0) as router:
            wait_for_words(router, "let nobody in", "extension-apiserver-authentication-reader")
            with pytest.raises(httpx.TransportError):
                read("proxy")
            api.put_object(CONFIG_MAP, config_map("proxy-ca", "front-proxy-client"))
            api.forbidden = None
            wait_for_words(router, "answer the front proxy that the cluster names")
            assert read("proxy") == 200
            assert read("somebody") == 403
            for name in (None, "stranger"):
                with pytest.raises(httpx.TransportError):
                    read(name)


@contextlib.contextmanager
def a_workload(program, api, *flags, **more):
    """A Deployment of one pod at most: its process comes and goes with the scale that the API holds."""
    with contextlib.ExitStack() as stack:
        api.put_object(SCALE, {"kind": "Scale", "spec": {"replicas": 0}, "status": {"replicas": 0}})
        flags = ["--model=slow", "--scale-target=deployments/llm", *flags]
        yield stack.enter_context(in_kubernetes(program, api, *flags, ready=0, **more))


def replicas_wanted(api):
    with api.lock:
        return api.objects[SCALE]["spec"]["replicas"]


def test_a_workload_wakes_when_somebody_waits_and_sleeps_when_nobody_does(program, slow_model):  # noqa: F811
    with KubernetesApi() as api, a_workload(
        program, api, "--scale-to-zero-after=2s", "--hold-comment-interval=0.2"
    ) as router, concurrent.futures.ThreadPoolExecutor() as pool:
        # Nobody asked: nothing happens.
        with pytest.raises(concurrent.futures.TimeoutError):
            pool.submit(wait_until, lambda: api.patches).result(timeout=1)
        for _ in range(2):
            asked = pool.submit(
                httpx.post, router.url + "/v1/chat/completions", json=chat("slow", 4), timeout=PATIENCE_S
            )
            wait_until(lambda: replicas_wanted(api) == 1, router.output)
            assert demand_of(router, "slow")["demand_replicas"] == 1
            with Serving(program, f"--simulate={slow_model}", "--served-model-name=slow") as pod:
                # On its way for a while, then there.
                api.put(endpoint_slice("s", [endpoint("llm-0", ready=False)], pod.port))
                wait_until(lambda: demand_of(router, "slow")["loading"] == 1, router.output)
                wait_until(lambda: b"1 is on its way" in b"".join(waiting(router)), router.output)
                api.put(endpoint_slice("s", [endpoint("llm-0")], pod.port))
                answer = asked.result()
                assert answer.status_code == 200 and "data: [DONE]" in answer.text
                assert ": waiting for a replica" in answer.text
                wait_until(lambda: replicas_wanted(api) == 0, router.output)
                api.delete("s")
        # Not more often than needed.
        assert [patch["spec"]["replicas"] for _, patch, status in api.patches if status == 200] == [
            1,
            0,
            1,
            0,
        ]


def waiting(router):
    """The first lines that a client who is held gets."""
    with httpx.stream(
        "POST", router.url + "/v1/chat/completions", json=chat("slow", 1), timeout=PATIENCE_S
    ) as answer:
        for piece in answer.iter_raw():
            yield piece
            if b": waiting" in piece:
                return


def test_what_the_autoscaler_holds_is_not_touched(program, slow_model):  # noqa: F811
    with KubernetesApi() as api, Serving(
        program, f"--simulate={slow_model}", "--served-model-name=slow"
    ) as pod, a_workload(program, api, "--scale-to-zero-after=1s") as router:
        api.put_object(SCALE, {"kind": "Scale", "spec": {"replicas": 3}})
        api.put(endpoint_slice("s", [endpoint("llm-0")], pod.port))
        router.wait_for_replicas(1)

        def looks():
            with api.lock:
                return sum(path == SCALE for path, _, _ in api.requests)

        wait_until(lambda: looks() >= 2, router.output)
        assert not api.patches
        # Down to its minimum: now it may sleep. A missing right is told once, with what it is about.
        with api.lock:
            api.forbidden = 'deployments.apps "llm" is forbidden'
            api.put_object(SCALE, {"kind": "Scale", "spec": {"replicas": 1}})
        wait_for_words(router, "deployments/llm cannot be put to sleep", "403", "is forbidden")
        assert replicas_wanted(api) == 1
        api.forbidden = None
        wait_until(lambda: replicas_wanted(api) == 0, router.output)


def test_the_least_busy_pod_costs_least(program, slow_model):  # noqa: F811
    with KubernetesApi() as api, contextlib.ExitStack() as stack:
        pods = {
            name: stack.enter_context(
                Serving(program, f"--simulate={slow_model}", "--served-model-name=slow")
            )
            for name in ("llm-0", "llm-1", "llm-2")
        }
        for name, pod in pods.items():
            api.put_object(f"/api/v1/namespaces/llm/pods/{name}", {"kind": "Pod"})
            api.put(endpoint_slice(f"slice-of-{name}", [endpoint(name)], pod.port))
        with in_kubernetes(program, api, "--pod-deletion-cost") as router:
            router.wait_for_replicas(3)
            with httpx.stream(
                "POST", router.url + "/v1/chat/completions", json=chat("slow", 6000), timeout=PATIENCE_S
            ) as answer:
                pieces = answer.iter_raw()
                assert answer.status_code == 200 and next(pieces)
                busy = [name for name, each in router.replicas().items() if each["in_flight"] == 1]
                assert len(busy) == 1

                def costs():
                    with api.lock:
                        return {
                            name: int(
                                api.objects[f"/api/v1/namespaces/llm/pods/{name}"]["metadata"]
                                .get("annotations", {})
                                .get(COST, -1)
                            )
                            for name in pods
                        }

                wait_until(lambda: costs()[busy[0]] >= 1000, lambda: f"{costs()}\n{router.output()}")
                wait_until(lambda: min(costs().values()) >= 0, lambda: f"{costs()}\n{router.output()}")
                assert sorted(costs(), key=costs().get)[-1] == busy[0]
                written = len(api.patches)
                assert written <= 6  # once each, and again where it changed


def test_what_scaling_flags_must_say(program):
    route = router_program(program)
    for flags, words in (
        (["--scale-target=pods/x"], "--scale-target: 'pods/x' is not of the form"),
        (["--scale-to-zero-after=5m"], "needs --scale-target"),
        (["--scale-target=deployments/x"], "--k8s-api-server is needed"),
        (["--pod-deletion-cost"], "--k8s-api-server is needed"),
        (["--metrics-api-port=6443"], "--k8s-api-server is needed"),
        (["--metrics-api-port=6443", "--requestheader-allowed-names=x"], "--requestheader-client-ca-file"),
        (["--metrics-api-port=6443", "--metrics-api-keyfile=x"], "--metrics-api-certfile"),
    ):
        code, output = run_to_exit(
            route, "--replica=http://127.0.0.1:1", *flags, environment={"KUBERNETES_SERVICE_HOST": ""}
        )
        assert code == 2 and words in output, output
