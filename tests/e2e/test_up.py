"""`sluice up`: a router and as many replicas as the load asks for, as processes of one machine."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import httpx
import pytest
from serving import PATIENCE_S, Serving, free_port, run_to_exit
from routing import wait_until

SLOW = {"base": "smg", "max_num_seqs": 4, "load_s": 0.3, "mean_answer_tokens": 0}
QUICK = ("--index-bytes=8MiB", "--dictionary-bytes=2MiB")


def up_program(server_program):
    return str(pathlib.Path(server_program).with_name("sluice-up"))


class Up(Serving):
    """A sluice-up process; ready when it serves by a replica."""

    def __init__(self, server_program, simulate, *flags, replicas="1..3", environment=None):
        super().__init__(
            up_program(server_program),
            f"--simulate={simulate}",
            f"--replicas={replicas}",
            "--served-model-name=slow",
            "--scale-down-window=2",
            *flags,
            "--",
            *QUICK,
            environment=environment,
        )

    def wait_until_ready(self):
        wait_until(lambda: "serving at " in self.output(), self.explain)

    def explain(self):
        return f"exit status {self.process.poll()}:\n{self.output()}"

    def replicas(self):
        """name -> what the router says of it"""
        return {each["name"]: each for each in httpx.get(self.url + "/router/replicas").json()["replicas"]}

    def ready(self):
        return sum(each["state"] == "ready" for each in self.replicas().values())

    def wait_for_ready(self, count):
        wait_until(lambda: self.ready() == count, self.explain)

    def children(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in pathlib.Path(path).read_text().split()]


def is_alive(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # A zombie that nobody has waited for yet runs no more.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "slow.json"
    path.write_text(json.dumps(SLOW))
    return path


def ask(url, tokens, number=0, stream=True):
    """All tokens of one answer came, one by one."""
    body = {
        "stream": stream,
        "max_tokens": tokens,
        "temperature": 0,
        "messages": [{"role": "user", "content": f"Tell me about river {number}."}],
    }
    with httpx.stream("POST", url + "/v1/chat/completions", json=body, timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    assert answer.status_code == 200, text
    assert "error" not in text, text
    assert text.rstrip().endswith("data: [DONE]"), text[-300:]
    return "".join(re.findall(r'"content":"(.*?)"', text))


def test_replicas_come_with_the_load_and_go_with_it(program, slow_model):
    with Up(program, slow_model) as up, concurrent.futures.ThreadPoolExecutor(64) as pool:
        assert up.ready() == 1
        step = [pool.submit(ask, up.url, 250, number) for number in range(48)]
        up.wait_for_ready(3)
        for each in step:
            assert each.result()
        # Whoever still speaks while they go is not cut.
        late = [pool.submit(ask, up.url, 600, number) for number in range(6)]
        wait_until(lambda: len(up.replicas()) == 1, up.explain)
        assert all(each.result() for each in late)
        wait_until(lambda: len(up.children()) == 2, up.explain)  # a router and a replica
        assert "3 replicas are wanted" in up.output()
        assert " has left" in up.output()
    assert up.process.returncode == 0


def test_sleeps_at_zero_and_wakes_for_who_waits(program, slow_model):
    with Up(program, slow_model, replicas="0..2") as up:
        wait_until(lambda: len(up.children()) == 1, up.explain)  # the router alone
        assert up.replicas() == {}
        assert ask(up.url, 5)
        assert up.ready() == 1
        wait_until(lambda: len(up.children()) == 1, up.explain)
        assert ask(up.url, 5, stream=True)
    assert up.process.returncode == 0


def test_a_crash_under_load_loses_no_stream(program, slow_model):
    with Up(program, slow_model, replicas="2..2") as up, concurrent.futures.ThreadPoolExecutor(16) as pool:
        up.wait_for_ready(2)
        alone = ask(up.url, 300, 7)
        streams = [pool.submit(ask, up.url, 300, 7) for _ in range(8)]
        wait_until(lambda: all(each["in_flight"] > 0 for each in up.replicas().values()), up.explain)
        router = next(pid for pid in up.children() if b"sluice-route" in cmdline(pid))
        victim = next(pid for pid in up.children() if pid != router)
        os.kill(victim, signal.SIGKILL)
        assert [each.result() for each in streams] == [alone] * 8  # token by token the same
        wait_until(lambda: "was ended by signal 9" in up.output(), up.explain)
        up.wait_for_ready(2)
        assert ask(up.url, 5)


def cmdline(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def test_one_interrupt_lets_answers_end_and_two_do_not(program, slow_model):
    with Up(program, slow_model) as up, concurrent.futures.ThreadPoolExecutor() as pool:
        stream = pool.submit(ask, up.url, 400)
        wait_until(lambda: any(each["in_flight"] for each in up.replicas().values()), up.explain)
        children = up.children()
        up.process.send_signal(signal.SIGINT)
        assert stream.result()
        assert up.process.wait(PATIENCE_S) == 0
        assert not any(map(is_alive, children))
        assert "stopped" in up.output().splitlines()[-1]
    with Up(program, slow_model) as up, concurrent.futures.ThreadPoolExecutor() as pool:
        stream = pool.submit(ask, up.url, 20_000)
        wait_until(lambda: any(each["in_flight"] for each in up.replicas().values()), up.explain)
        children = up.children()
        up.process.send_signal(signal.SIGINT)
        wait_until(lambda: "once more stops at once" in up.output(), up.explain)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(PATIENCE_S) == 1
        assert stream.exception() is not None
        assert not any(map(is_alive, children))


def test_no_child_outlives_it_whatever_ends_it(program, slow_model):
    up = Up(program, slow_model, replicas="3")
    with up:
        up.wait_for_ready(3)
        children = up.children()
        assert len(children) == 4
        up.process.kill()
        wait_until(lambda: not any(map(is_alive, children)), lambda: f"{children} of them live on")


def test_a_router_that_dies_comes_back(program, slow_model):
    with Up(program, slow_model) as up:
        router = next(pid for pid in up.children() if b"sluice-route" in cmdline(pid))
        os.kill(router, signal.SIGKILL)
        wait_until(lambda: "the router was ended by signal 9" in up.output(), up.explain)

        def answers():
            with contextlib.suppress(httpx.TransportError):
                return up.ready() == 1

        wait_until(answers, up.explain)
        assert ask(up.url, 5)


def test_keys_guard_the_only_door(program, slow_model, tmp_path):
    with Up(program, slow_model, "--api-key=sesame", environment={"SLUICE_API_KEY": ""}) as up:
        chat = {"messages": [{"role": "user", "content": "Hi."}], "max_tokens": 3}
        assert httpx.post(up.url + "/v1/chat/completions", json=chat).status_code == 401
        opened = {"Authorization": "Bearer sesame"}
        answer = httpx.post(up.url + "/v1/chat/completions", json=chat, headers=opened, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        told = httpx.get(up.url + "/router/replicas", headers=opened).json()["replicas"]
        # A replica is reached by the router alone, though its port is on this machine too.
        assert httpx.post(told[0]["url"] + "/v1/chat/completions", json=chat).status_code == 401
        assert (
            httpx.post(told[0]["url"] + "/v1/chat/completions", json=chat, headers=opened).status_code == 401
        )


def test_what_cannot_work_is_said_at_once(program, slow_model):
    up = up_program(program)
    code, text = run_to_exit(up, "/no/such/model.gguf", f"--port={free_port()}", "--", *QUICK)
    assert code == 1
    assert "replica-1 ended with status 1 before it was ready" in text and "/no/such/model.gguf" in text
    code, text = run_to_exit(up, "--simulate=smg", "--no-such-flag", f"--port={free_port()}", "--", *QUICK)
    assert code == 1 and text.count("--no-such-flag") >= 2  # where it was said, and at the end
    with Serving(program, f"--simulate={slow_model}") as other:
        code, text = run_to_exit(up, "--simulate=smg", f"--port={other.port}", "--", *QUICK)
        assert code == 1 and "in use" in text and "the router ended with status 1" in text
    code, text = run_to_exit(up, "--replicas=4..1", "--simulate=smg")
    assert code == 2 and "must be MIN..MAX" in text


def test_a_replica_that_never_comes_is_told_of(program, tmp_path):
    path = tmp_path / "stuck.json"
    path.write_text(json.dumps({"base": "smg", "load_s": 100}))
    code, text = run_to_exit(
        up_program(program),
        f"--simulate={path}",
        "--startup-timeout=1",
        f"--port={free_port()}",
        "--",
        *QUICK,
    )
    assert code == 1
    assert "not ready within --startup-timeout 1 s" in text and "simulating" in text.splitlines()[-2]
