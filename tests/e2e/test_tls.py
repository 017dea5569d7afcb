"""HTTPS with real clients: streams, a certificate that changes under way, clients that must show theirs."""

import os
import signal
import socket
import ssl
import subprocess
import time

import httpx
import openai
import pytest
from serving import PATIENCE_S, Serving, run_to_exit


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Authority:
    """Signs certificates for this machine, by the openssl program."""

    def __init__(self, folder, name):
        self.folder = folder
        self.certificate = str(folder / f"{name}.pem")
        self.key = str(folder / f"{name}.key")
        openssl("req", "-x509", *self.new_key(self.key), "-out", self.certificate, "-subj", f"/CN={name}")

    @staticmethod
    def new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]

    def sign(self, name):
        """The paths of a new certificate and its key."""
        request, certificate, key, names = (
            str(self.folder / f"{name}.{kind}") for kind in ("csr", "pem", "key", "names")
        )
        with open(names, "w") as file:
            file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("req", *self.new_key(key), "-out", request, "-subj", f"/CN={name}")
        authority = ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"]
        openssl("x509", "-req", "-in", request, *authority, "-out", certificate, "-extfile", names)
        return certificate, key

    def trusted(self, own=None):
        trust = ssl.create_default_context(cafile=self.certificate)
        if own:
            trust.load_cert_chain(*own)
        return trust


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


class Files:
    """The server's files, exchanged as Kubernetes exchanges a secret: by a link renamed over another."""

    def __init__(self, folder):
        self.folder = folder
        self.certificate = str(folder / "tls.crt")
        self.key = str(folder / "tls.key")

    def put(self, certificate, key):
        version = self.folder / f"v{len(os.listdir(self.folder))}"
        version.mkdir()
        (version / "tls.crt").write_bytes(open(certificate, "rb").read())
        (version / "tls.key").write_bytes(open(key, "rb").read())
        (self.folder / "new").symlink_to(version.name)
        (self.folder / "new").rename(self.folder / "data")
        for name in ("tls.crt", "tls.key"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"data/{name}")


@pytest.fixture(scope="module")
def secure(program, model, authority, tmp_path_factory):
    files = Files(tmp_path_factory.mktemp("tls"))
    files.put(*authority.sign("first"))
    flags = ["--ssl-certfile", files.certificate, "--ssl-keyfile", files.key]
    with Serving(program, model, *flags, tls=authority.trusted()) as server:
        server.files = files
        yield server


def sdk(server, trust):
    web = httpx.Client(verify=trust, timeout=PATIENCE_S)
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, http_client=web)


def certificate_name(server, authority):
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as plain:
        with authority.trusted().wrap_socket(plain, server_hostname="localhost") as stream:
            return dict(pair[0] for pair in stream.getpeercert()["subject"])["commonName"]


def wait_for(condition, server):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, server.output()
        time.sleep(0.05)


def test_the_sdk_streams(secure, authority):
    client = sdk(secure, authority.trusted())
    model_id = client.models.list().data[0].id
    question = {"model": model_id, "temperature": 0, "max_tokens": 40}
    question["messages"] = [{"role": "user", "content": "Name three rivers."}]
    whole = client.chat.completions.create(**question).choices[0].message.content
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(stream=True, **question)
    ]
    assert len(pieces) > 5
    assert "".join(pieces) == whole
    assert "ready: https://" in secure.output()


def test_clients_refuse_who_is_not_known(secure):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(secure.url + "/health")


def test_plain_http_is_told_so(secure):
    answer = httpx.post(f"http://127.0.0.1:{secure.port}/v1/completions", json={"prompt": "x" * 100000})
    assert answer.status_code == 400
    assert "https://" in answer.json()["error"]["message"]


def test_large_requests_and_answers_pass(secure, authority):
    text = "river " * 100000
    tokens = secure.post("/tokenize", {"prompt": text}).json()["tokens"]
    assert len(tokens) > 50000
    assert secure.post("/detokenize", {"tokens": tokens}).json()["prompt"] == text


def test_a_new_certificate_does_not_disturb_a_stream(secure, authority):
    before = certificate_name(secure, authority)
    client = sdk(secure, authority.trusted())
    long = {"model": client.models.list().data[0].id, "prompt": "Once", "max_tokens": 1500}
    stream = client.completions.create(stream=True, extra_body={"ignore_eos": True}, **long)
    next(iter(stream))
    secure.files.put(*authority.sign("second"))  # seen without a signal
    wait_for(lambda: certificate_name(secure, authority) == "second", secure)
    assert before == "first"
    assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "length"
    secure.files.put(*authority.sign("third"))
    secure.process.send_signal(signal.SIGHUP)
    wait_for(lambda: certificate_name(secure, authority) == "third", secure)


def test_a_broken_new_pair_changes_nothing(secure, authority):
    before = certificate_name(secure, authority)
    certificate, _ = authority.sign("broken")
    _, key = authority.sign("other")
    secure.files.put(certificate, key)
    wait_for(lambda: "the TLS certificate stays as it is" in secure.output(), secure)
    assert "does not belong to the certificate" in secure.output()
    assert certificate_name(secure, authority) == before
    secure.files.put(*authority.sign("mended"))
    wait_for(lambda: certificate_name(secure, authority) == "mended", secure)


def test_hostile_handshakes_end_and_the_server_lives(secure):
    for bytes_ in (
        b"",
        b"\x00" * 5000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300,
        os.urandom(9000),
    ):
        with socket.create_connection(("127.0.0.1", secure.port), PATIENCE_S) as plain:
            plain.sendall(bytes_)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):
                pass
    with secure.client() as client:
        assert client.get("/health").status_code == 200
    assert secure.process.poll() is None


def test_a_client_that_leaves_cancels(secure):
    body = {"prompt": "Once", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with secure.client() as client:
        with client.stream("POST", "/v1/completions", json=body) as answer:
            next(answer.iter_bytes())
    secure.wait_until_idle()


def test_clients_must_show_a_certificate(program, model, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    alice, server = clients.sign("alice"), authority.sign("strict")
    flags = ["--ssl-certfile", server[0], "--ssl-keyfile", server[1]]
    flags += ["--ssl-ca-certs", clients.certificate, "--ssl-cert-reqs", "2"]
    with Serving(program, model, *flags, tls=authority.trusted(own=alice)) as strict:
        assert sdk(strict, authority.trusted(own=alice)).models.list().data
        for own in (None, authority.sign("mallory")):  # none, and one of another authority
            with pytest.raises(httpx.TransportError):
                httpx.get(strict.url + "/health", verify=authority.trusted(own=own))


@pytest.mark.parametrize("case", ["foreign key", "no file", "key alone", "required without authorities"])
def test_wrong_flags_end_with_a_sentence(program, model, authority, case):
    certificate, key = authority.sign("one")
    _, foreign = authority.sign("two")
    flags, words = {
        "foreign key": (["--ssl-certfile", certificate, "--ssl-keyfile", foreign], "does not belong"),
        "no file": (["--ssl-certfile", "/nowhere/tls.crt"], "cannot be read"),
        "key alone": (["--ssl-keyfile", key], "--ssl-certfile"),
        "required without authorities": (
            ["--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-cert-reqs", "2"],
            "--ssl-ca-certs",
        ),
    }[case]
    code, output = run_to_exit(program, model, *flags)
    assert code != 0
    assert words in output
    assert "ready" not in output
