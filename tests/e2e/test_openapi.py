"""The server against its own description: schemathesis makes requests that follow /openapi.json and requests
that do not, and holds every answer to it. No answer may be a server error."""

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from serving import Serving

EXAMPLES = 60
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@pytest.fixture(scope="module")
def described(program, model):
    """A short context keeps answers short."""
    with Serving(program, model, "--max-model-len", "160") as server:
        yield server
        assert server.process.poll() is None, server.output()


@pytest.fixture(scope="module")
def api(described):
    return schemathesis.openapi.from_url(described.url + "/openapi.json")


PATHS = json.loads((Path(__file__).parents[2] / "server/wire/openapi/paths.json").read_text())["paths"]
OPERATIONS = [
    (path, method, operation)
    for path, item in PATHS.items()
    for method, operation in item.items()
    if "x-endless" not in operation
]
# Nothing can be wrong about the others.
WITH_RULES = [(path, method, o) for path, method, o in OPERATIONS if "takes" in o or "parameters" in o]


def named(operations):
    return pytest.mark.parametrize(
        ("path", "method"),
        [pytest.param(path, method, id=o["operationId"]) for path, method, o in operations],
    )


def ask_often(operation, mode):
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        if isinstance(case.body, dict):
            if isinstance(case.body.get("model"), str):
                del case.body["model"]  # no name that comes by chance is served
            timeout = case.body.get("timeout")
            if isinstance(timeout, float) and 0.001 <= timeout < 60:
                case.body["timeout"] = 60.0  # a 504 would be right, and say little
        case.call_and_validate(checks=CHECKS)

    ask()


@named(OPERATIONS)
def test_requests_that_follow_the_description(api, path, method):
    ask_often(api[path][method], GenerationMode.POSITIVE)


@named(WITH_RULES)
def test_requests_that_do_not(api, path, method):
    ask_often(api[path][method], GenerationMode.NEGATIVE)
