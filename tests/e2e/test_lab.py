"""The chart as it is, on Kubernetes' own controllers: etcd, API server, HPA and scheduler, with pods as
processes of this machine. Its scenarios are in tests/lab. The lab itself is no part of the tree: --lab names
its folder (run.sh, down.sh), K8S_BIN its programs' where they are not in its own. Up to two minutes each."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from routing import router_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "tests/lab"
NEEDED = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "procnode", "helm"]


class Lab:
    def __init__(self, folder, programs, variables, out):
        self.folder, self.programs, self.variables, self.out = folder, programs, variables, out

    def note(self, name, figures):
        file = self.out / "figures.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(known | {name: figures}, indent=1) + "\n")

    def run(self, name):
        """Runs a scenario; its report, once every expectation was met."""
        out = self.out / name
        sets = [f"--set={key}={value}" for key, value in self.variables.items()]
        done = subprocess.run(
            [self.folder / "run.sh", SCENARIOS / f"{name}.json", *sets, "--out", out],
            env=os.environ | {"K8S_BIN": str(self.programs)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert re.search(r"^\d+ passed, 0 failed$", done.stdout, re.MULTILINE), done.stdout + done.stderr
        return Report(out, done.stdout)


class Report:
    def __init__(self, out, text):
        rows = (out / "timeline.jsonl").read_text().splitlines()
        self.text = text
        self.rows = [row for row in map(json.loads, rows) if "replicas" in row]
        self.loads = [json.loads(log.read_text()) for log in sorted(out.glob("load-*.log"))]
        self.load_begun = float(re.search(r"^ *([\d.]+) s  load: ", text, re.MULTILINE)[1])

    def first(self, true):
        """Seconds from the load's begin to the first row of which it is true."""
        for row in self.rows:
            if row["t"] >= self.load_begun and true(row):
                return round(row["t"] - self.load_begun, 1)
        raise AssertionError(self.text)

    def path(self):
        """The numbers of replicas that were asked for, one after the other."""
        levels = [row["replicas"] for row in self.rows]
        return [b for a, b in zip([None, *levels], levels) if a != b]

    def figures(self):
        before = next(row for row in reversed(self.rows) if row["t"] <= self.load_begun)
        path = self.path()
        over = self.ended("load ended")
        (load,) = self.loads
        return {
            "load_to_decision_s": self.first(lambda row: row["replicas"] > before["replicas"]),
            "load_to_ready_s": self.first(lambda row: row["ready"] > before["ready"]),
            "load_to_all_ready_s": self.first(lambda row: row["ready"] == max(path)),
            "load_ended_s": over,
            "back_s": self.first(lambda row: row["t"] - self.load_begun > over and row["status"] == path[-1]),
            "replicas": path,
            "answers": load["answers"],
            "lost": sum(load["lost"].values()),
            "answer_seconds": load["seconds"],
        }

    def ended(self, words):
        told = re.search(rf"^ *([\d.]+) s  {words}", self.text, re.MULTILINE)
        return round(float(told[1]) - self.load_begun, 1)


def turns(path):
    """How often a path changes its direction."""
    up = [b > a for a, b in zip(path, path[1:])]
    return sum(a != b for a, b in zip(up, up[1:]))


@pytest.fixture(scope="module")
def lab(request, program, model, tmp_path_factory):
    named = request.config.getoption("--lab")
    if not named:
        pytest.skip("--lab names no folder with the lab's run.sh")
    folder = pathlib.Path(named).resolve()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    programs = pathlib.Path(os.environ.get("K8S_BIN") or f"{home}/sluice-k8s-lab/bin")
    missing = [name for name in NEEDED if not (programs / name).exists()]
    if not (folder / "run.sh").exists() or missing:
        pytest.skip(f"the lab has no {', '.join(missing) or 'run.sh'}: {folder}, {programs}")
    server = pathlib.Path(program).resolve()
    router = pathlib.Path(router_program(program)).resolve()
    for each in (server, router, pathlib.Path(model).resolve()):
        assert not str(each).startswith("/tmp/"), f"pods have a /tmp of their own and do not see {each}"
    assert router.parent == server.parent, f"{server} and {router} must be in one folder"
    variables = {
        "LAB": SCENARIOS,
        "CHART": f"{programs / 'helm'} template sluice {ROOT / 'deploy/helm/sluice'} --kube-version 1.34.0",
        "LOAD": f"{sys.executable} {SCENARIOS / 'load.py'}",
        "PROGRAMS": server.parent,
        "MODEL": pathlib.Path(model).resolve(),
    }
    out = pathlib.Path(request.config.getoption("--lab-out") or tmp_path_factory.mktemp("lab")).resolve()
    out.mkdir(parents=True, exist_ok=True)
    pids = pathlib.Path(os.environ.get("K8S_RUN") or f"{home}/sluice-k8s-lab/run") / "pids"
    was_up = pids.exists() and pids.stat().st_size > 0
    yield Lab(folder, programs, variables, out)
    if not was_up:
        subprocess.run([folder / "down.sh"], stdin=subprocess.DEVNULL, capture_output=True)


@pytest.mark.parametrize("name", ["custom", "external", "model"])
def test_scales_out_and_back_with_the_load(lab, name):
    figures = lab.run(name).figures()
    lab.note(name, figures)
    assert figures["lost"] == 0 and figures["answers"] > 0
    assert turns(figures["replicas"]) == 1, "up and down again, and no to and fro"


def test_scales_to_zero_and_back(lab):
    figures = lab.run("zero").figures()
    lab.note("zero", figures)
    assert figures["lost"] == 0 and figures["answers"] > 0
    path = figures["replicas"]
    assert path[:3] == [1, 0, 1] and path[-1] == 0 and max(path) >= 3
    assert turns(path) == 2


def test_rollouts_lose_no_request(lab):
    report = lab.run("rollout")
    (load,) = report.loads
    lab.note("rollout", {"rolling_restarts_of_engines": 5, "of_the_routers": 5} | load)
    assert load["lost"] == {} and load["answers"] > 0


def test_scales_on_a_metric_of_pods_through_prometheus(lab):
    if not (lab.programs / "prometheus-adapter").exists():
        pytest.skip(
            f"there is no prometheus-adapter in {lab.programs}: it cannot be built from the module proxy"
        )
    figures = lab.run("prometheus").figures()
    lab.note("prometheus", figures)
    assert figures["lost"] == 0 and turns(figures["replicas"]) == 1
