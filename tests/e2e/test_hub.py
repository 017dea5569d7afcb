"""Models by name: the server downloads from a hub (here a small fake one) into the hub's own cache, and
starts from it without a network afterwards."""

import sys
from pathlib import Path

import pytest
from serving import Serving, run_to_exit

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from fake_hub import FakeHub  # noqa: E402


@pytest.fixture
def hub_root(tmp_path, model):
    repository = tmp_path / "hub" / "acme" / "tiny"
    repository.mkdir(parents=True)
    (repository / "tiny.Q4_1.gguf").symlink_to(Path(model).resolve())
    (repository / "README.md").write_text("A tiny model.\n")
    return tmp_path / "hub"


@pytest.fixture
def elsewhere(tmp_path):
    """Where the hub's cache lies, for the server's environment."""
    return {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_CACHE": "", "HF_TOKEN": "", "HF_HUB_OFFLINE": ""}


def answers(serving):
    answer = serving.post(
        "/v1/completions", {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 3}
    )
    return answer.status_code == 200 and "Paris" in answer.json()["choices"][0]["text"]


def test_a_model_by_name_is_fetched_once_and_then_served_offline(program, hub_root, elsewhere):
    with FakeHub(hub_root) as hub:
        environment = elsewhere | {"HF_ENDPOINT": hub.endpoint}
        with Serving(program, "acme/tiny", environment=environment) as serving:
            assert answers(serving)
            with serving.client() as client:
                assert client.get("/v1/models").json()["data"][0]["id"] == "acme/tiny"
        bodies = [path for method, origin, path, _ in hub.requests if method == "GET" and origin == "content"]
        assert bodies
        with Serving(program, "acme/tiny", environment=environment) as serving:
            assert answers(serving)
        again = [path for method, origin, path, _ in hub.requests if method == "GET" and origin == "content"]
        assert again == bodies  # nothing was fetched twice
    with Serving(program, "acme/tiny", environment=environment | {"HF_HUB_OFFLINE": "1"}) as serving:
        assert answers(serving)
    blobs = list(Path(elsewhere["HF_HOME"], "hub", "models--acme--tiny").glob("snapshots/*/*.gguf"))
    assert len(blobs) == 1  # the layout that other tools read


def test_a_download_survives_broken_connections(program, hub_root, elsewhere):
    faults = ["status:acme/tiny:1:503", "cut:.gguf:2:30000000"]
    with FakeHub(hub_root, faults=faults) as hub:
        with Serving(program, "acme/tiny", environment=elsewhere | {"HF_ENDPOINT": hub.endpoint}) as serving:
            assert answers(serving)


def test_a_gated_model_needs_the_token_and_it_stays_at_home(program, hub_root, elsewhere):
    with FakeHub(hub_root, token="secret-word") as hub:
        environment = elsewhere | {"HF_ENDPOINT": hub.endpoint}
        code, output = run_to_exit(program, "acme/tiny", "--port", "0", environment=environment)
        assert 0 < code < 128
        assert "HF_TOKEN" in output
        with Serving(program, "acme/tiny", environment=environment | {"HF_TOKEN": "secret-word"}) as serving:
            assert answers(serving)
            assert "secret-word" not in serving.output()
        elsewhere_headers = [headers for _, origin, _, headers in hub.requests if origin == "content"]
        assert elsewhere_headers and not any("authorization" in headers for headers in elsewhere_headers)


@pytest.mark.parametrize("name", ["acme/nothing", "acme/tiny@no-such-branch", "hf://acme/tiny/other.gguf"])
def test_an_unknown_name_ends_with_a_sentence(program, hub_root, elsewhere, name):
    with FakeHub(hub_root) as hub:
        code, output = run_to_exit(
            program, name, "--port", "0", environment=elsewhere | {"HF_ENDPOINT": hub.endpoint}
        )
    assert 0 < code < 128, output
    assert "acme/" in output
    assert "terminate called" not in output


def test_no_hub_there_ends_with_a_sentence(program, elsewhere):
    environment = elsewhere | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    code, output = run_to_exit(program, "acme/tiny", "--port", "0", environment=environment)
    assert 0 < code < 128, output
    assert "127.0.0.1:9" in output


def test_a_gguf_by_url(program, hub_root, elsewhere, tmp_path):
    with FakeHub(hub_root) as hub:
        url = f"{hub.endpoint}/acme/tiny/resolve/main/tiny.Q4_1.gguf"
        environment = elsewhere | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        with Serving(program, url, environment=environment) as serving:
            assert answers(serving)
