"""Reads what the chart makes: the plain YAML of deploy/rendered and the golden files, object by object."""

import functools
import importlib.machinery
import importlib.util
import pathlib

import jsonschema
import referencing
import yaml
from kubernetes_validate import utils

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/sluice"
CASES = sorted((ROOT / "tests/deploy/golden").glob("*.yaml")) + [ROOT / "deploy/rendered"]


def program(name, path):
    """A Python program without a suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


render = program("render", ROOT / "deploy/render")


def documents(path):
    """All objects of a file of many, or of a folder's files but its kustomization."""
    files = [path] if path.is_file() else sorted(set(path.glob("*.yaml")) - {path / "kustomization.yaml"})
    return [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]


class Manifests:
    def __init__(self, path):
        self.objects = documents(path)

    def of(self, kind):
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind, name):
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def names(self, kind):
        return [each["metadata"]["name"] for each in self.of(kind)]

    def workloads(self, component):
        return [
            each
            for each in self.of("Deployment")
            if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
        ]

    @property
    def router(self):
        (found,) = self.workloads("router")
        return found


def pod(workload):
    return workload["spec"]["template"]["spec"]


def container(workload):
    (only,) = pod(workload)["containers"]
    return only


def flags(workload):
    """{name: [values]} of a container's arguments; a switch has the value None."""
    found = {}
    for argument in container(workload)["args"]:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            found.setdefault(name, []).append(value if equals else None)
    return found


def chooses(selector, workload):
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


def load(name, version):
    return utils.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/{name}.json", version)


@functools.cache
def registry(version):
    definitions = referencing.Resource.from_contents(load("_definitions", version))
    return (definitions @ referencing.Registry()).crawl()


@functools.cache
def validator(kind, api_version, version):
    """Of one kind as that version of Kubernetes knows it, unknown fields refused."""
    group, _, number = api_version.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.split(".")[0], number]))
    schema = load(name, version)
    return jsonschema.Draft202012Validator(schema, registry=registry(version))


def versions(*wanted):
    """The newest known patch of each of these, and the newest version there is."""
    known = utils.all_versions()
    return [[v for v in known if v.startswith(f"{w}.")][-1] for w in wanted] + [known[-1]]


def faults(document, version):
    check = validator(document["kind"], document["apiVersion"], version)
    where = f"{document['kind']} {document['metadata']['name']}"
    return [f"{where}: {'.'.join(map(str, e.path))}: {e.message}" for e in check.iter_errors(document)]
