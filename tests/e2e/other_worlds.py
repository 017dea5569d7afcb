"""Installs the clients of other languages and libraries, and runs programs among them. All of it lies below
build/clients, nothing is written into tests. A machine without node or go, or without a way to the packages,
skips what needs them."""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "tests" / "clients"
BUILD = ROOT / "build" / "clients"

# Bounds so that a hang ends a test, no claims about speed.
INSTALL_S = 1200
RUN_S = 1800

OUT_OF_REACH = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|dial tcp|i/o timeout|no such host"
    r"|Temporary failure in name resolution|Name or service not known|NewConnectionError|ConnectTimeoutError"
)


def complete(command, timeout_s, folder, environment=None):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def install(command, folder, environment=None):
    """Fetches packages. A machine that cannot reach their registry skips the suite; other failures fail."""
    code, output = complete(command, INSTALL_S, folder, environment)
    if code and OUT_OF_REACH.search(output):
        pytest.skip(f"`{' '.join(map(str, command))}` cannot reach the registry of its packages from here")
    assert code == 0, output


def run(command, folder, environment=None):
    """What the program printed; when it fails, so does the test, and shows it."""
    code, output = complete(command, RUN_S, folder, environment)
    assert code == 0, "\n" + output
    return output


def program(*names, instead=()):
    """The first of these programs that is on the machine; the test is skipped when there is none."""
    for name in [*names, *instead]:
        if found := shutil.which(name):
            return found
    pytest.skip(f"{names[0]} is not on this machine")


def installed(mark, source):
    """Whether what lies at `mark` was made from the file `source`, as it is now."""
    return mark.exists() and mark.read_bytes() == source.read_bytes()


@functools.cache
def node_of_clients():
    """The interpreter, and the folder with the packages and the suites."""
    node, npm = program("node"), program("npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"these clients need node 20 or newer; here is {version}")
    folder = BUILD / "javascript"
    lock, mark = SUITES / "javascript" / "package-lock.json", folder / "installed.json"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.mjs"):
        old.unlink()
    for file in (SUITES / "javascript").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    if not installed(mark, lock):
        mark.unlink(missing_ok=True)
        install([npm, "ci", "--no-audit", "--no-fund"], folder)
        shutil.copy(lock, mark)
    return node, folder


@functools.cache
def python_of_clients():
    """Not the interpreter of these tests: one of the clients wants an older openai than they do."""
    folder, requirements = BUILD / "python", SUITES / "python" / "requirements.txt"
    python, mark = folder / "bin" / "python", folder / "requirements.txt"
    if not installed(mark, requirements):
        BUILD.mkdir(parents=True, exist_ok=True)
        install([sys.executable, "-m", "venv", "--clear", folder], BUILD)
        install(
            [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", requirements, "--quiet"],
            BUILD,
        )
        shutil.copy(requirements, mark)
    return python


@functools.cache
def go_of_clients():
    """The compiler, and the environment to call it in; its packages are there."""
    go = program("go", instead=["/usr/local/go/bin/go"])
    environment = {
        name: os.environ.get(name, str(BUILD / "go" / name.lower())) for name in ("GOCACHE", "GOMODCACHE")
    }
    # -modcacherw: so that build/ can be deleted by ordinary means.
    environment["GOFLAGS"] = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    environment["GOTOOLCHAIN"] = "local"
    code, output = complete([go, "list", "-m"], INSTALL_S, SUITES / "go", environment)
    if code and "requires go >=" in output:
        pytest.skip(f"the go on this machine is too old: {output.strip()}")
    install([go, "mod", "download"], SUITES / "go", environment)
    return go, environment
