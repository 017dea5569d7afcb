import openai
import pytest
from serving import PATIENCE_S, Serving


def pytest_addoption(parser):
    parser.addoption("--server", required=True, help="the sluice-serve program")
    parser.addoption("--kubernetes", default="", help="folder with etcd and kube-apiserver; kubectl on PATH")
    parser.addoption("--lab", default="", help="folder of the Kubernetes lab, with its run.sh")
    parser.addoption("--lab-out", default="", help="where its scenarios leave their records")
    parser.addoption("--model", required=True, help="a GGUF of SmolLM2-135M-Instruct")


@pytest.fixture(scope="session")
def program(request):
    return request.config.getoption("--server")


@pytest.fixture(scope="session")
def model(request):
    return request.config.getoption("--model")


@pytest.fixture(scope="session")
def shared_server(program, model):
    with Serving(program, model, "--max-num-seqs", "64") as serving:
        yield serving


@pytest.fixture
def server(shared_server):
    """The server most tests share: alive before and after each, and idle again afterwards."""
    yield shared_server
    assert shared_server.process.poll() is None, shared_server.output()
    shared_server.wait_until_idle()


@pytest.fixture
def sdk(server):
    with openai.OpenAI(
        base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


@pytest.fixture
def model_id(sdk):
    return sdk.models.list().data[0].id
