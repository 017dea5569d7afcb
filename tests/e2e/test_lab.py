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

    def turns(self):
        """How often the number of replicas changed its direction."""
        levels = [row["replicas"] for row in self.rows]
        steps = [b - a for a, b in zip(levels, levels[1:]) if a != b]
        return sum((a > 0) != (b > 0) for a, b in zip(steps, steps[1:]))

    def figures(self):
        before = next(row for row in reversed(self.rows) if row["t"] <= self.load_begun)
        (load,) = self.loads
        return {
            "load_to_decision_s": self.first(lambda row: row["replicas"] > before["replicas"]),
            "load_to_ready_s": self.first(lambda row: row["ready"] > before["ready"]),
            "replicas": sorted({row["replicas"] for row in self.rows}),
            "turns": self.turns(),
            "answers": load["answers"],
            "lost": sum(load["lost"].values()),
            "answer_seconds": load["seconds"],
        }


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
    try:
        yield Lab(folder, programs, variables, out)
    finally:
        subprocess.run([folder / "down.sh"], stdin=subprocess.DEVNULL, capture_output=True)


@pytest.mark.parametrize("name", ["custom", "external", "model"])
def test_scales_out_and_back_with_the_load(lab, name):
    figures = lab.run(name).figures()
    print(json.dumps({name: figures}))
    assert figures["lost"] == 0 and figures["answers"] > 0
    assert figures["turns"] == 1, "it went up once and down once"


def test_scales_to_zero_and_back(lab):
    figures = lab.run("zero").figures()
    print(json.dumps({"zero": figures}))
    assert figures["lost"] == 0 and figures["answers"] > 0
    assert 0 in figures["replicas"] and max(figures["replicas"]) >= 3


def test_rollouts_lose_no_request(lab):
    report = lab.run("rollout")
    (load,) = report.loads
    print(json.dumps({"rollout": load}))
    assert load["lost"] == {} and load["answers"] > 0


def test_scales_on_a_metric_of_pods_through_prometheus(lab):
    if not (lab.programs / "prometheus-adapter").exists():
        pytest.skip(
            f"there is no prometheus-adapter in {lab.programs}: it cannot be built from the module proxy"
        )
    figures = lab.run("prometheus").figures()
    assert figures["lost"] == 0 and figures["turns"] == 1
