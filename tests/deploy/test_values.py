"""values.schema.json takes every value that values.yaml and the cases name, and refuses what is not one."""

import copy
import json
import re
import subprocess

import jsonschema
import pytest
import yaml
from manifests import CASES, CHART, ROOT, Manifests, flags, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
CHECK = jsonschema.Draft7Validator(SCHEMA)
VALUES = {
    path.name: yaml.safe_load(path.read_text()) for path in [CHART / "values.yaml", *CHART.glob("ci/*.yaml")]
}


def resolve(schema):
    while "$ref" in schema:
        part = SCHEMA
        for step in schema["$ref"].removeprefix("#/").split("/"):
            part = part[step]
        schema = part
    return schema


def closed_objects(value, schema, path=()):
    """The path of each object in `value` whose names the schema lists."""
    schema = resolve(schema)
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from closed_objects(each, schema.get("items", {}), path + (index,))
    elif isinstance(value, dict):
        if schema.get("additionalProperties") is False or "propertyNames" in schema:
            yield path
        for name, each in value.items():
            yield from closed_objects(each, schema.get("properties", {}).get(name, {}), path + (name,))


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", VALUES)
def test_takes_the_documented_values(name):
    assert [error.message for error in CHECK.iter_errors(VALUES[name])] == []


@pytest.mark.parametrize("name", VALUES)
def test_refuses_a_typo_in_every_object(name):
    paths = list(closed_objects(VALUES[name], SCHEMA))
    assert () in paths and len(paths) > 3
    for path in paths:
        wrong = copy.deepcopy(VALUES[name])
        at = wrong
        for step in path:
            at = at[step]
        at["replikas"] = 1
        assert not CHECK.is_valid(wrong), f"a name nobody knows was taken in {path}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": []},
        {"models": {"model": "Qwen/Qwen3-0.6B"}},
        {"models": [{"model": "two words"}]},
        {"models": [{"model": "x", "name": "Upper"}]},
        {"models": [{"model": "x", "gpus": -1}]},
        {"models": [{"model": "x", "gpus": "1"}]},
        {"models": [{"model": "x", "autoscaling": {"maxReplicas": 0}}]},
        {"models": [{"model": "x", "autoscaling": {"api": "keda"}}]},
        {"models": [{"model": "x", "cache": {"type": "nfs"}}]},
        {"models": [{"model": "x", "flags": {"max-model-length": "8k"}}]},
        {"models": [{"model": "x", "flags": {"api-key": "in the clear"}}]},
        {"models": [{"model": "x", "serviceAccountName": "its-own"}]},
        {"engine": {"drain": {"delaySeconds": -1}}},
        {"engine": {"startupSeconds": "30m"}},
        {"router": {"scaleToZeroAfter": "soon"}},
        {"router": {"flags": {"port": 80}}},
        {"router": {"service": {"port": 0}}},
        {"metricsApi": {"port": 443}},
        {"metricsApi": {"tls": {"caBundle": "-----BEGIN CERTIFICATE-----"}}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"auth": {"key": ""}},
    ],
    ids=str,
)
def test_refuses_wrong_values(wrong):
    assert not CHECK.is_valid(wrong)


def test_the_documentation_speaks_of_values_that_are_there():
    text = (ROOT / "docs/deploy.md").read_text()
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    shown = [each for each in shown if "kind" not in each]
    assert len(shown) >= 3
    for each in shown:
        assert [error.message for error in CHECK.iter_errors(each)] == []
    known = VALUES["values.yaml"]
    for name in re.findall(r"`((?:engine|router|metricsApi|image|auth|networkPolicy)(?:\.\w+)+)`", text):
        at, schema = known, SCHEMA
        for step in name.split("."):
            schema = resolve(schema)["properties"][step]
            at = at[step]


def test_values_yaml_names_everything():
    """What the schema knows stands in values.yaml with its default, so that a reader finds it."""

    def missing(schema, value, path):
        schema = resolve(schema)
        for name, inner in schema.get("properties", {}).items():
            if not isinstance(value, dict) or name not in value:
                yield f"{path}{name}"
            elif isinstance(value[name], dict):
                yield from missing(inner, value[name], f"{path}{name}.")

    told = set(missing(SCHEMA, VALUES["values.yaml"], ""))
    # Left to Kubernetes where nobody asks for them.
    assert told == {
        "global",
        "engine.resources.limits",
        "engine.resources.claims",
        "router.resources.limits",
        "router.resources.claims",
        "engine.autoscaling.behavior.scaleUp.tolerance",
        "engine.autoscaling.behavior.scaleDown.tolerance",
    }


def test_a_model_takes_what_the_engine_takes():
    of_engine, of_model = (set(SCHEMA["definitions"][part]["properties"]) for part in ("engine", "model"))
    assert of_model - of_engine == {"model", "name", "servedModelName"}
    assert of_engine - of_model == {"serviceAccountName"}


def help_of(path):
    return subprocess.run([path, "--help"], check=True, capture_output=True, text=True).stdout


def program(request, name):
    path = ROOT / request.config.getoption("--programs") / name
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return path


@pytest.mark.parametrize("part, name", [("engine", "sluice-serve"), ("router", "sluice-route")])
def test_knows_the_flags_that_the_program_has(request, part, name):
    listed = SCHEMA["definitions"][f"{part}Flags"]["propertyNames"]["enum"]
    assert listed == render.flags_of(program(request, name)), "deploy/render --programs build"


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_programs_have_the_flags_that_the_chart_sets(request, case):
    made = Manifests(case)
    for component, name in (("engine", "sluice-serve"), ("router", "sluice-route")):
        text = help_of(program(request, name))
        for workload in made.workloads(component):
            unknown = [flag for flag in flags(workload) if f"--{flag} " not in text.replace(",", " ")]
            assert unknown == []
