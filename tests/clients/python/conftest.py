import os

import httpx
import pytest

# Bounds a hang; no claim about speed.
PATIENCE_S = 120


@pytest.fixture(scope="session")
def url():
    """The server's own URL, without /v1."""
    return os.environ["SLUICE_URL"]


@pytest.fixture(scope="session")
def model():
    return os.environ["SLUICE_MODEL"]


@pytest.fixture(scope="session")
def plain(url, model):
    """The answer to a request written by hand: what each client's answer is compared to."""

    def ask(path, **body):
        answer = httpx.post(f"{url}/v1/{path}", json={"model": model} | body, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask
