"""Keys, their file and pages of other origins, on real servers."""

import signal
import time

import httpx
import pytest
from serving import Serving, run_to_exit


def status(server, path, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(server.url + path, headers=headers).status_code


@pytest.fixture(scope="module")
def guarded(program, model, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("# clients\nalpha\nbeta\n")
    flags = [
        "--api-key-file",
        str(keys),
        "--admin-api-key",
        "root",
        "--allowed-origins",
        '["https://a.test"]',
    ]
    with Serving(program, model, *flags) as server:
        server.keys = keys
        yield server


def test_each_door_wants_its_key(guarded):
    for path in ("/health", "/ready", "/ping"):
        assert status(guarded, path) == 200
    assert [status(guarded, "/v1/models", key) for key in (None, "wrong", "alpha", "beta", "root")] == [
        401,
        401,
        200,
        200,
        200,
    ]
    for path in ("/metrics", "/version"):
        assert [status(guarded, path, key) for key in (None, "alpha", "root")] == [401, 401, 200]


def test_sighup_reads_the_file_again(guarded):
    guarded.keys.write_text("gamma\nalpha\n")
    guarded.process.send_signal(signal.SIGHUP)
    while status(guarded, "/v1/models", "gamma") != 200:
        time.sleep(0.01)
    assert status(guarded, "/v1/models", "beta") == 401
    guarded.keys.write_text("# nobody\n")  # a mistake: the keys stay
    guarded.process.send_signal(signal.SIGHUP)
    while "stay as they are" not in guarded.output():
        time.sleep(0.01)
    assert status(guarded, "/v1/models", "gamma") == 200
    guarded.keys.write_text("alpha\nbeta\n")
    guarded.process.send_signal(signal.SIGHUP)
    while status(guarded, "/v1/models", "beta") != 200:
        time.sleep(0.01)


def test_pages_of_allowed_origins_may(guarded):
    preflight = {"Origin": "https://a.test", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(guarded.url + "/v1/chat/completions", headers=preflight)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://a.test"
    assert answer.headers["access-control-allow-methods"] == "POST"
    refused = httpx.options(
        guarded.url + "/v1/chat/completions", headers={**preflight, "Origin": "https://b.test"}
    )
    assert "access-control-allow-origin" not in refused.headers
    # Errors carry the header too, or the page could not read them.
    answer = httpx.get(guarded.url + "/v1/models", headers={"Origin": "https://a.test"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://a.test"


@pytest.mark.parametrize(
    "flags",
    [
        ["--api-key-file", "/nowhere/keys"],
        ["--allowed-origins", "https://a.test"],
        ["--allowed-methods", "[5]"],
        ["--admin-api-key", ""],
    ],
)
def test_wrong_flags_end_with_a_sentence(program, model, flags):
    code, output = run_to_exit(program, model, *flags)
    assert code != 0
    assert flags[0] in output
