"""Clients of other languages and libraries against the server the tests share: the suites under tests/clients
and the examples of docs/clients.md, each with the packages it needs."""

import json
import re
import shutil
import sys

import pytest
from other_worlds import BUILD, ROOT, SUITES, go_of_clients, node_of_clients, python_of_clients, run


def told(server, model_id, **more):
    return {"SLUICE_URL": server.url, "SLUICE_MODEL": model_id} | more


@pytest.mark.parametrize("suite", sorted(file.name for file in SUITES.glob("javascript/*.test.mjs")))
def test_javascript(server, model_id, suite):
    node, folder = node_of_clients()
    run([node, "--test", "--test-reporter=spec", suite], folder, told(server, model_id))


@pytest.mark.parametrize("suite", sorted(file.name for file in SUITES.glob("python/test_*.py")))
def test_python(server, model_id, suite):
    command = [python_of_clients(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", suite]
    run(command, SUITES / "python", told(server, model_id, PYTHONDONTWRITEBYTECODE="1"))


def test_go(server, model_id):
    go, environment = go_of_clients()
    run([go, "test", "-count=1", "-v", "./..."], SUITES / "go", told(server, model_id, **environment))


PAGE = (ROOT / "docs" / "clients.md").read_text()
EXAMPLES = re.findall(r"^## (.+?)\n.*?^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "language, code", [example[1:] for example in EXAMPLES], ids=[e[0] for e in EXAMPLES]
)
def test_the_example_works_as_pasted(server, model_id, request, language, code):
    code = code.replace("http://localhost:8000", server.url).replace("SmolLM2-135M-Instruct.Q4_1", model_id)
    folder, environment = BUILD / "examples", {}
    folder.mkdir(parents=True, exist_ok=True)
    if language == "python":
        ours = "import anthropic" in code or "from anthropic" in code
        command = [sys.executable if ours else python_of_clients(), "-c", code]
    elif language == "js":
        node, folder = node_of_clients()
        (folder / "example.mjs").write_text(code)
        command = [node, "example.mjs"]
    else:
        assert language == "go"
        go, environment = go_of_clients()
        for file in ("go.mod", "go.sum"):
            shutil.copy(SUITES / "go" / file, folder)
        (folder / "main.go").write_text(code)
        command = [go, "run", "."]
    assert run(command, folder, environment).strip()


def test_the_page_names_the_versions_tested():
    packages = json.loads((SUITES / "javascript" / "package.json").read_text())["dependencies"]
    pins = {name: version for name, version in packages.items() if name != "zod"}
    files = [(ROOT / "tests" / "e2e" / "requirements.txt", r"^((?:openai|anthropic))==(\S+)$")]
    files += [(SUITES / "python" / "requirements.txt", r"^([a-z-]+)(?:\[.*?\])?==(\S+)$")]
    files += [(SUITES / "go" / "go.mod", r"^require (\S+) (\S+)$")]
    for file, pattern in files:
        pins |= {f"{file}: {name}": v for name, v in re.findall(pattern, file.read_text(), re.MULTILINE)}
    del pins[f"{SUITES / 'python' / 'requirements.txt'}: pytest"]
    assert len(pins) == 11
    table = PAGE[: PAGE.index("\n## ")]
    assert [pin for pin in pins.items() if not re.search(rf"[ ,]{re.escape(pin[1])}[ ,]", table)] == []
