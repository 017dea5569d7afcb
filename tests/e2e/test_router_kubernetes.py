"""The router at a real API server: etcd and kube-apiserver from the folder that --kubernetes names, RBAC and
service-account tokens as in a cluster, and the rights that docs/router.md gives, as pasted.

A stock kube-apiserver takes no EndpointSlice with a loopback address: it must be one that lets 127.0.0.0/8
pass (ValidateEndpointIP's rule on them taken out at build time)."""

import contextlib
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import httpx
import pytest
from kubernetes_api import PATH, endpoint, endpoint_slice
from routing import Routing, wait_until
from serving import free_port
from test_router_discovery import READY, ask, pods, slices_of, wait_for_states, wait_for_words  # noqa: F401
from test_tls import Authority, openssl

SPACE = "default"
DOCS = pathlib.Path(__file__).parents[2] / "docs" / "router.md"
START_S = 300  # on a starved machine; a hang ends the test


class ControlPlane:
    def __init__(self, programs, folder):
        self.programs, self.folder = pathlib.Path(programs), folder
        self.etcd_port, self.peer_port, self.port = free_port(), free_port(), free_port()
        authority = Authority(folder, "cluster")
        self.authority = authority.certificate
        self.certificate, self.key = authority.sign("apiserver")
        openssl("genrsa", "-out", str(folder / "sa.key"), "2048")
        openssl("rsa", "-in", str(folder / "sa.key"), "-pubout", "-out", str(folder / "sa.pub"))
        (folder / "tokens").write_text('admin,admin,1,"system:masters"\n')
        self.api = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Authorization": "Bearer admin"},
            verify=authority.trusted(),
            timeout=60,
        )
        self.log = open(folder / "control-plane.log", "wb")
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        self.etcd = self.run(
            "etcd",
            "--name=e2e",
            f"--data-dir={folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e2e={peer}",
        )
        self.start()

    def run(self, name, *flags):
        return subprocess.Popen(
            [self.programs / name, *flags],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )

    def start(self):
        self.apiserver = self.run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--tls-cert-file={self.certificate}",
            f"--tls-private-key-file={self.key}",
            f"--token-auth-file={self.folder / 'tokens'}",
            f"--service-account-key-file={self.folder / 'sa.pub'}",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--profiling=false",
        )
        end = time.monotonic() + START_S
        while True:
            assert self.apiserver.poll() is None and time.monotonic() < end, self.output()
            with contextlib.suppress(httpx.TransportError):
                if self.api.get("/readyz").status_code == 200:
                    return
            time.sleep(0.2)

    def stop(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self):
        for process in (self.apiserver, self.etcd):
            self.stop(process)
        self.log.close()

    def output(self):
        return (self.folder / "control-plane.log").read_text(errors="replace")[-8000:]

    def kubectl(self, *arguments, text=None):
        return subprocess.run(
            [
                "kubectl",
                f"--server=https://127.0.0.1:{self.port}",
                f"--certificate-authority={self.authority}",
                "--token=admin",
                f"--cache-dir={self.folder / 'kubectl'}",
                f"--namespace={SPACE}",
                *arguments,
            ],
            input=text,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(self.folder)},
        ).stdout

    def post(self, path, body):
        answer = self.api.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def put(self, new):
        """Creates the slice, or replaces it."""
        name = new["metadata"]["name"]
        metadata = {"name": name, "labels": new["metadata"]["labels"]}
        whole = new | {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata}
        for each in whole["endpoints"]:
            each["targetRef"]["namespace"] = SPACE
        path = PATH.format(SPACE)
        answer = self.api.post(path, json=whole)
        if answer.status_code == 409:
            answer = self.api.put(f"{path}/{name}", json=whole)
        assert answer.status_code in (200, 201), answer.text

    def delete(self, name):
        assert self.api.delete(f"{PATH.format(SPACE)}/{name}").status_code == 200

    def compact(self):
        """etcd forgets all versions before the present one."""
        etcd = f"http://127.0.0.1:{self.etcd_port}/v3/kv/"
        revision = httpx.post(etcd + "range", json={"key": "AA=="}).json()["header"]["revision"]
        answer = httpx.post(etcd + "compaction", json={"revision": revision, "physical": True})
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def cluster(request):
    folder = request.config.getoption("--kubernetes")
    missing = [name for name in ("etcd", "kube-apiserver") if not (pathlib.Path(folder) / name).exists()]
    if not folder or missing:
        pytest.skip(f"--kubernetes names no folder with {' and '.join(missing)}")
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on the PATH")
    with tempfile.TemporaryDirectory() as own:
        plane = ControlPlane(folder, pathlib.Path(own))
        try:
            yield plane
        finally:
            plane.close()


def test_follows_a_real_api_server(program, pods, cluster, tmp_path):  # noqa: F811
    service = {"metadata": {"name": "llm"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
    cluster.post(f"/api/v1/namespaces/{SPACE}/services", service)
    account = {"metadata": {"name": "sluice-router"}}
    cluster.post(f"/api/v1/namespaces/{SPACE}/serviceaccounts", account)
    path = f"/api/v1/namespaces/{SPACE}/serviceaccounts/sluice-router/token"
    token = tmp_path / "token"
    token.write_text(cluster.post(path, {"spec": {"expirationSeconds": 3600}})["status"]["token"])
    for each in slices_of(pods):
        cluster.put(each)
    flags = ["--k8s-service=llm", f"--k8s-namespace={SPACE}", f"--k8s-token-file={token}"]
    flags += [f"--k8s-api-server=https://127.0.0.1:{cluster.port}", f"--k8s-ca-file={cluster.authority}"]
    with Routing(program, [], *flags) as router:
        # Without rights: a sentence. With those of the documentation: replicas.
        wait_for_words(router, "does not allow to list endpointslices", "cannot list resource")
        (rights,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
        cluster.kubectl("apply", "-f", "-", text=rights)
        wait_for_states(router, READY)
        assert router.replicas()["llm-0"]["pod"] == {"namespace": SPACE, "name": "llm-0"}

        def change(name, **conditions):
            cluster.put(endpoint_slice(f"slice-of-{name}", [endpoint(name, **conditions)], pods[name].port))

        change("llm-0", ready=False, terminating=True, serving=True)
        wait_for_states(router, READY | {"llm-0": "draining"})
        change("llm-1", ready=False)
        wait_for_states(router, READY | {"llm-0": "draining", "llm-1": "draining"})
        assert {ask(router) for _ in range(10)} == {"llm-2"}
        cluster.delete("slice-of-llm-0")
        change("llm-1")
        wait_for_states(router, {"llm-1": "ready", "llm-2": "ready"})

        # The API server goes, comes back and knows no old versions: nobody is lost, and all of it is seen.
        cluster.stop(cluster.apiserver)
        wait_for_words(router, "The 2 replicas stay as they are")
        assert ask(router) in READY
        router.process.send_signal(signal.SIGSTOP)
        try:
            cluster.start()
            cluster.delete("slice-of-llm-1")
            change("llm-0")
            cluster.compact()
            cluster.stop(cluster.apiserver)
            cluster.start()
        finally:
            router.process.send_signal(signal.SIGCONT)
        wait_for_states(router, {"llm-0": "ready", "llm-2": "ready"})
        wait_for_words(router, "the watch's version is too old")
        change("llm-1")
        wait_for_states(router, READY)
        wait_until(lambda: "the API server answers again" in router.output(), router.output)
