"""Starting, refusing to start, draining and stopping."""

import signal
import threading
import time

import httpx
import pytest
from serving import PATIENCE_S, Serving, run_to_exit

ENDLESS = {"prompt": "On and on", "max_tokens": 400, "ignore_eos": True, "stream": True}


def test_sigterm_lets_a_stream_end_and_exits_with_0(program, model):
    with Serving(program, model) as server, server.client() as client:
        with client.stream("POST", "/v1/completions", json=ENDLESS) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            # Not ready from now on; whoever asks anew is sent away or finds the door shut.
            for request in (
                lambda: httpx.get(server.url + "/ready"),
                lambda: server.post("/v1/completions", {"prompt": "x", "max_tokens": 1}),
            ):
                end = time.monotonic() + PATIENCE_S
                while time.monotonic() < end:
                    try:
                        if request().status_code == 503:
                            break
                    except httpx.ConnectError:
                        break
                    time.sleep(0.01)
                else:
                    raise AssertionError("still ready after SIGTERM")
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert any('"finish_reason":"length"' in line.replace(": ", ":") for line in rest)
        assert server.process.wait(PATIENCE_S) == 0


def test_sigterm_without_work_exits_with_0(program, model):
    with Serving(program, model) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0


def test_sigint_exits_with_0(program, model):
    with Serving(program, model) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE_S) == 0


def test_a_second_signal_does_not_wait(program, model):
    with Serving(program, model) as server, server.client() as client:
        with client.stream("POST", "/v1/completions", json=ENDLESS | {"max_tokens": 4000}) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            threading.Timer(0.3, server.process.send_signal, [signal.SIGTERM]).start()
            server.process.wait(PATIENCE_S)


def test_a_port_in_use_is_said(program, model, shared_server):
    code, output = run_to_exit(program, model, "--host", "127.0.0.1", "--port", str(shared_server.port))
    assert code > 0
    assert str(shared_server.port) in output and "in use" in output.lower()
    assert shared_server.process.poll() is None


def write_bad_model(folder, model, kind):
    """A model file that cannot be served; its path."""
    path = folder / "bad.gguf"
    with open(model, "rb") as whole:
        if kind == "cut after 1 MB":
            path.write_bytes(whole.read(1 << 20))
        elif kind == "cut in the tensors":
            path.write_bytes(whole.read(60 << 20))
        elif kind == "cut in the header":
            path.write_bytes(whole.read(20))
        elif kind == "another magic":
            path.write_bytes(b"NOPE" + whole.read(4096))
        elif kind == "a huge tensor count":
            path.write_bytes(whole.read(8) + b"\xff" * 8 + whole.read(4096)[8:])
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "zeros":
            path.write_bytes(bytes(1 << 16))
        elif kind == "an empty folder":
            path.mkdir()
        elif kind == "a folder with a broken config":
            path.mkdir()
            (path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "hidden_size": -1}')
        elif kind == "a folder with an unknown architecture":
            path.mkdir()
            (path / "config.json").write_text(
                '{"architectures": ["MambaForCausalLM"], "model_type": "mamba"}'
            )
        else:
            assert kind == "missing"
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty",
        "zeros",
        "another magic",
        "cut in the header",
        "cut after 1 MB",
        "cut in the tensors",
        "a huge tensor count",
        "an empty folder",
        "a folder with a broken config",
        "a folder with an unknown architecture",
    ],
)
def test_a_bad_model_ends_with_a_sentence(program, model, tmp_path, kind):
    path = write_bad_model(tmp_path, model, kind)
    code, output = run_to_exit(program, str(path), "--port", "0")
    assert 0 < code < 128, output  # an exit, not a signal
    assert "bad.gguf" in output
    for word in ("terminate called", "CHECK failed", "std::", "Segmentation"):
        assert word not in output


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "banana"],
        ["--port", "70000"],
        ["--no-such-flag"],
        ["--max-num-seqs", "0"],
        ["--block-size", "7"],
        ["--max-model-len", "-5"],
        ["--kv-cache-dtype", "int3"],
        ["--kv-cache-memory-bytes", "99999999999999"],
    ],
)
def test_a_bad_flag_ends_with_a_sentence_that_names_it(program, model, flags):
    code, output = run_to_exit(program, model, *flags)
    assert 0 < code < 128, output
    assert flags[0].lstrip("-") in output


def test_help_and_version(program):
    code, output = run_to_exit(program, "--help")
    assert code == 0
    for flag in ("--port", "--max-model-len", "--max-num-seqs", "--max-num-queued-reqs"):
        assert flag in output
    code, output = run_to_exit(program, "--version")
    assert code == 0 and output.strip()


def test_an_api_key_guards_the_api_and_not_the_probes(program, model):
    with Serving(program, model, "--api-key", "sesame") as server, server.client() as client:
        body = {"prompt": "x", "max_tokens": 1}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}):
            answer = client.post("/v1/completions", json=body, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        assert (
            client.post("/v1/completions", json=body, headers={"Authorization": "Bearer sesame"}).status_code
            == 200
        )
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 200


def test_probes_and_version(server):
    with server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 200
        assert client.get("/version").json()["version"]
