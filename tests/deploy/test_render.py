"""The derived files are what the chart makes now, and the chart says in a sentence what it cannot make."""

import shutil
import subprocess

import pytest
from manifests import CHART, ROOT, render

STALE = "the chart has changed: run deploy/render"


@pytest.fixture
def helm(request):
    found = shutil.which(request.config.getoption("--helm"))
    if not found:
        pytest.skip("helm is not on the PATH, and --helm names none")
    return found


def test_derived_files_are_of_this_chart():
    assert (ROOT / render.DIGEST).read_text() == render.digest(), STALE


def test_derived_files_are_what_helm_makes(helm):
    made = render.derived(helm)
    there = {
        str(path.relative_to(ROOT)): path.read_text()
        for folder in (render.RENDERED, render.GOLDEN)
        for path in (ROOT / folder).iterdir()
    }
    assert there.keys() == made.keys(), STALE
    for path, text in made.items():
        assert there[path] == text, f"{path}: {STALE}"


@pytest.mark.parametrize(
    "values", [None, *sorted(CHART.glob("ci/*.yaml"))], ids=lambda v: v.stem if v else "default"
)
def test_lint_is_content(helm, values):
    more = [f"--values={values}"] if values else []
    done = subprocess.run([helm, "lint", "--strict", CHART, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def template(helm, *sets):
    command = [helm, "template", "x", CHART, f"--kube-version={render.KUBERNETES}"]
    return subprocess.run(command + [f"--set={each}" for each in sets], capture_output=True, text=True)


@pytest.mark.parametrize(
    "sets, sentence",
    [
        (["models[0].model=a/x", "models[1].model=b/x"], "two are named 'x'; give one of them another name"),
        (
            ["models[0].model=a/x", "models[1].model=a/x", "models[1].name=y"],
            "clients call two of them 'a/x'; give one of them another servedModelName",
        ),
        (["models[0].name=x"], "each wants a model"),
        (["models[0].flags.simulate=smg"], "each wants a model"),
        (["metricsApi.enabled=false"], "set metricsApi.enabled, or autoscaling.enabled to false"),
        (["engine.autoscaling.api=external"], "set metricsApi.external"),
        (
            ["engine.autoscaling.minReplicas=5"],
            "maxReplicas of 'smollm2-135m-instruct' is below its minReplicas",
        ),
        (["metricsApi.tls.caBundle=QQ=="], "want secretName"),
        (["router.replica=2"], "replica"),
    ],
    ids=lambda x: x[-1] if isinstance(x, list) else "",
)
def test_says_what_is_wrong(helm, sets, sentence):
    done = template(helm, *sets)
    assert done.returncode != 0 and sentence in done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize(
    "model, name, served",
    [
        ("Qwen/Qwen3-8B-AWQ", "qwen3-8b-awq", "Qwen/Qwen3-8B-AWQ"),
        ("Qwen/Qwen3-8B@main", "qwen3-8b", "Qwen/Qwen3-8B"),
        ("hf://a/b/Model_Q4.gguf", "model-q4", "Model_Q4"),
        ("https://example.com/m/tiny.gguf?download=1", "tiny", "tiny"),
        ("/models/My.Model.gguf", "my-model", "My.Model"),
        ("a/" + "long-name-" * 9, "long-name-long-name-long-name-long-name", "a/" + "long-name-" * 9),
    ],
)
def test_makes_names_of_a_model(helm, model, name, served):
    done = template(helm, f"models[0].model={model}")
    assert done.returncode == 0, done.stderr
    assert f"  name: x-sluice-{name}\n" in done.stdout
    assert f'"--served-model-name={served}"' in done.stdout


def test_simulates_without_a_model(helm):
    done = template(
        helm, "models[0].flags.simulate=smg", "models[0].name=tiny", "models[0].servedModelName=tiny"
    )
    assert done.returncode == 0, done.stderr
    assert "args:\n            - --host=0.0.0.0\n" in done.stdout and '"--simulate=smg"' in done.stdout


def test_flags_keep_their_kind(helm):
    done = template(
        helm,
        "engine.flags.max-num-seqs=128",
        "engine.flags.enforce-eager=true",
        "engine.flags.deterministic=false",
        "engine.flags.gpu-memory-utilization=0.85",
        "models[0].model=a/b",
        "models[0].flags.max-num-seqs=null",
        "router.flags.replica={http://a:1,http://b:2}",
    )
    assert done.returncode == 0, done.stderr
    assert "- --enforce-eager\n" in done.stdout and '"--gpu-memory-utilization=0.85"' in done.stdout
    assert '"--replica=http://a:1"\n            - "--replica=http://b:2"' in done.stdout
    assert "max-num-seqs" not in done.stdout and "deterministic" not in done.stdout
