"""The image's root, made by the Dockerfile's own script from the programs that are built: with nothing else
in it they start, as a user without rights, answer probes and end when told to. Docker is not asked."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from manifests import ROOT, Manifests, container, pod

DOCKER = ROOT / "deploy/docker"
UID = 65532


@pytest.fixture(scope="module")
def root(request, tmp_path_factory):
    programs = [
        ROOT / request.config.getoption("--programs") / each for each in ("sluice-serve", "sluice-route")
    ]
    for each in programs:
        if not each.exists():
            pytest.skip(f"{each} is not built")
    if os.geteuid() != 0 or not shutil.which("chroot"):
        pytest.skip("only root may chroot")
    into = tmp_path_factory.mktemp("image") / "root"
    subprocess.run([DOCKER / "image_root.sh", into, *programs], check=True)
    for folder in (into.parent, into):  # pytest's folders are closed to others
        folder.chmod(0o755)
    return into


def inside(root, *command, **more):
    chroot = [shutil.which("chroot"), f"--userspec={UID}:{UID}", str(root), *command]
    return subprocess.Popen(chroot, env={"HOME": "/cache"}, stdin=subprocess.DEVNULL, text=True, **more)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, process):
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < end, url
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status
        except OSError:
            time.sleep(0.1)


@pytest.mark.parametrize(
    "command",
    [
        ["/usr/local/bin/sluice-serve", "--simulate=instant", "--served-model-name=x"],
        ["/usr/local/bin/sluice-route", "--replica=http://127.0.0.1:9", "--index-bytes=8MiB"],
    ],
    ids=["server", "router"],
)
def test_runs_with_nothing_else(root, command):
    port = free_port()
    process = inside(root, *command, "--host=127.0.0.1", f"--port={port}", stderr=subprocess.DEVNULL)
    try:
        assert wait_for(f"http://127.0.0.1:{port}/ready", process) == 200
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{UID}\s+{UID}", status, re.MULTILINE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()


def test_there_is_no_shell(root):
    assert sorted(each.name for each in (root / "usr/local/bin").iterdir()) == [
        "sluice-route",
        "sluice-serve",
    ]
    assert not list(root.glob("**/sh")) and not list(root.glob("**/busybox"))
    assert b"BEGIN CERTIFICATE" in (root / "etc/ssl/certs/ca-certificates.crt").read_bytes()


def test_hadolint_is_content_with_the_dockerfile(tmp_path):
    hadolint = pathlib.Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "Dockerfile"
    wrong.write_text((DOCKER / "Dockerfile").read_text().replace("ENTRYPOINT [", "ENTRYPOINTS ["))
    assert subprocess.run([hadolint, wrong], capture_output=True).returncode != 0


def test_the_images_fit_the_chart():
    text = (DOCKER / "Dockerfile").read_text()
    made = Manifests(ROOT / "deploy/rendered")
    stages = {
        name: body
        for name, body in re.findall(r"^FROM scratch AS (\S+)\n(.*?)(?=^FROM|\Z)", text, re.M | re.S)
    }
    assert stages.keys() == {"router", "server", "server-cuda"}
    for body in stages.values():
        assert f"USER {UID}:{UID}" in body
    for workload, stage in ((made.router, "router"), (made.workloads("engine")[0], "server")):
        image = container(workload)["image"]
        assert f"--target {stage} -t {image} ." in text
        assert pod(workload)["securityContext"]["runAsUser"] == UID
        for port in container(workload)["ports"]:
            assert re.search(rf"^EXPOSE .*\b{port['containerPort']}\b", stages[stage], re.MULTILINE)
    # Each name that a later stage takes from is there before, and so is each file that is copied.
    for name in re.findall(r"--from=(\S+)", text):
        assert f" AS {name}\n" in text
    for file in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / file).exists(), file
