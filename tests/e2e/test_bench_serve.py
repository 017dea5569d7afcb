"""`sluice bench serve` and `sluice bench compare` as users run them: against a server that stamps what it
did, for the figures; against the simulated server, for lengths, counts, sessions and cancels. Latencies are
only held against stamps, in an order that cause and effect dictate, so that a busy machine fails nothing."""

import csv
import json
import os
import signal
import subprocess
import time

import pytest
from scripted_server import ScriptedServer
from serving import PATIENCE_S, Serving


@pytest.fixture(scope="session")
def bench(program):
    return os.path.join(os.path.dirname(os.path.abspath(program)), "sluice-bench-serve")


@pytest.fixture(scope="session")
def compare(program):
    return os.path.join(os.path.dirname(os.path.abspath(program)), "sluice-bench-compare")


@pytest.fixture(scope="module")
def simulated(program):
    with Serving(program, "--simulate=instant") as serving:
        yield serving


class Bench:
    """One finished run: its exit code, what it printed, its JSON and its CSV."""

    def __init__(self, program, folder, *flags, expect=0):
        result, requests = folder / "result.json", folder / "requests.csv"
        for old in (result, requests):
            old.unlink(missing_ok=True)
        done = subprocess.run(
            [program, *map(str, flags), "--result-filename", str(result), "--requests-csv", str(requests)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert self.code == expect, (self.code, self.out, self.err)
        self.json = json.loads(result.read_text()) if result.exists() else None
        self.rows = list(csv.DictReader(requests.open())) if requests.exists() else None


def percentile(samples, p):
    samples = sorted(samples)
    place = p / 100 * (len(samples) - 1)
    below = int(place)
    above = min(below + 1, len(samples) - 1)
    return samples[below] + (samples[above] - samples[below]) * (place - below)


def kinds(points):
    return points["sluice"]["errors_by_kind"]


def remarks(result):
    return {remark["kind"] for remark in result["sluice"]["remarks"]}


def test_latencies_are_those_that_the_server_stamped(bench, tmp_path):
    with ScriptedServer(ttft_s=0.03, gap_s=0.004) as server:
        run = Bench(
            bench,
            tmp_path,
            "--url",
            server.url,
            "--num-prompts",
            30,
            "--max-concurrency",
            1,
            "--random-output-len",
            9,
        )
    assert len(run.rows) == len(server.answers) == 30
    for row, answer in zip(run.rows, server.answers):
        assert row["outcome"] == "done" and row["output_tokens"] == row["events"] == "9"
        # A request is sent before it is received, and a token is written before it arrives.
        assert float(row["ttft_ms"]) > (answer.writes[0] - answer.received) * 1e3 >= 30 - 1e-6
        assert float(row["e2el_ms"]) > (answer.finished - answer.received) * 1e3
        spoken = (float(row["last_token_s"]) - float(row["first_token_s"])) * 1e3
        assert spoken <= float(row["e2el_ms"]) - (answer.writes[0] - answer.received) * 1e3
    # One after the other: what the client counted fits between what the server saw before and after.
    counted = sum(float(row["e2el_ms"]) for row in run.rows[1:-1])
    assert counted < (server.answers[-1].received - server.answers[0].finished) * 1e3 + 0.001 * len(run.rows)
    assert len(run.json["sluice"]["curves_ms"]["itl"]) == 201


def test_percentiles_are_exact(bench, tmp_path):
    with ScriptedServer(ttft_s=0.005, gap_s=0.001) as server:
        run = Bench(
            bench,
            tmp_path,
            "--url",
            server.url,
            "--num-prompts",
            150,
            "--request-rate",
            100,
            "--random-output-len",
            4,
        )
    for metric in ("ttft", "tpot", "e2el"):
        samples = [float(row[f"{metric}_ms"]) for row in run.rows]
        assert run.json[f"mean_{metric}_ms"] == pytest.approx(sum(samples) / len(samples), abs=2e-3)
        for p in ("50", "90", "95", "99", "99.9"):
            assert run.json[f"p{p}_{metric}_ms"] == pytest.approx(percentile(samples, float(p)), abs=2e-3), (
                metric,
                p,
            )
    assert run.json["completed"] == 150 and run.json["total_output_tokens"] == 600
    planned = [float(row["planned_s"]) for row in run.rows]
    assert planned == sorted(planned)
    for row in run.rows:
        assert (
            float(row["planned_s"])
            <= float(row["sent_s"])
            <= float(row["first_token_s"])
            <= float(row["end_s"])
        )


def test_a_wait_for_the_server_is_in_the_latency(bench, tmp_path):
    """No coordinated omission: ten requests a second at a server that takes a fifth of a second each."""
    with ScriptedServer(ttft_s=0.2, gap_s=0, one_at_a_time=True) as server:
        run = Bench(
            bench,
            tmp_path,
            *("--url", server.url, "--num-prompts", 20, "--request-rate", 10, "--arrival", "constant"),
            *("--random-output-len", 1, "--max-concurrency", 1),
        )
    # The last was due at 1.9 s and could not be done before 20 times 0.2 s.
    assert run.json["p99.9_e2el_ms"] > 1900
    assert run.json["p99.9_e2el_from_send_ms"] < run.json["p99.9_e2el_ms"]
    sent = [float(row["sent_s"]) - float(row["planned_s"]) for row in run.rows]
    assert max(sent) > 1.5 and "client_late" in remarks(run.json)


def test_errors_have_kinds(bench, tmp_path):
    script = ["ok", 429, 429, 500, "drop", "garbage", "unended", "error", "ok"]
    with ScriptedServer(ttft_s=0.001, gap_s=0.001, script=script) as server:
        run = Bench(
            bench,
            tmp_path,
            "--url",
            server.url,
            "--num-prompts",
            12,
            "--max-concurrency",
            1,
            "--random-output-len",
            5,
        )
    assert kinds(run.json) == {"http_429": 2, "http_500": 1, "broken": 2, "bad_body": 1, "server": 1}
    assert run.json["completed"] == 5 and run.json["failed"] == 7
    assert "the script says 429" in " ".join(run.json["sluice"]["error_examples"])
    assert "http_429 2" in run.out and "failures" in remarks(run.json)
    assert [row["status"] for row in run.rows[:5]] == ["200", "429", "429", "500", "200"]


def test_a_server_that_hangs_is_a_timeout(bench, tmp_path):
    with ScriptedServer(script=["hang", "ok"]) as server:
        run = Bench(
            bench,
            tmp_path,
            *("--url", server.url, "--num-prompts", 4, "--max-concurrency", 2, "--request-timeout", 3),
            *("--random-output-len", 2),
        )
    assert kinds(run.json) == {"timeout": 1} and run.json["completed"] == 3


def test_nothing_completed_is_a_failure(bench, tmp_path):
    with ScriptedServer(script=[503]) as server:
        run = Bench(bench, tmp_path, "--url", server.url, "--num-prompts", 3, expect=1)
    assert kinds(run.json) == {"http_503": 3}


def test_ctrl_c_ends_with_a_partial_report(bench, tmp_path):
    result = tmp_path / "result.json"
    with ScriptedServer(ttft_s=0.01, gap_s=0.01) as server:
        process = subprocess.Popen(
            [bench, "--url", server.url, "--num-prompts", "100000", "--request-rate", "50"]
            + ["--random-output-len", "20", "--result-filename", str(result)],
            stdout=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + PATIENCE_S
        while sum(answer.finished > 0 for answer in list(server.answers)) < 20:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    got = json.loads(result.read_text())
    assert got["completed"] >= 19 and got["failed"] == 0 and got["sluice"]["interrupted"]
    assert "Interrupted: the report covers" in out


@pytest.mark.parametrize(
    "endpoint", ["/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/embeddings"]
)
def test_prompts_have_the_length_that_was_asked_for(bench, tmp_path, simulated, endpoint):
    run = Bench(
        bench,
        tmp_path,
        *("--url", simulated.url, "--endpoint", endpoint, "--num-prompts", 20, "--max-concurrency", 4),
        *("--random-input-len", 150, "--random-output-len", 6, "--random-range-ratio", 0.3, "--ignore-eos"),
    )
    assert run.json["completed"] == 20 and run.json["failed"] == 0
    asked = run.json["sluice"]
    assert asked["prompts_of_exact_length"] == asked["prompts_of_known_length"] == 20
    lengths = {int(row["input_tokens"]) for row in run.rows}
    assert len(lengths) > 5 and min(lengths) >= 105 and max(lengths) <= 195
    if endpoint != "/v1/embeddings":
        assert all(int(row["output_tokens"]) in range(4, 9) for row in run.rows)


def test_prompts_as_ids_and_the_servers_own_times(bench, tmp_path, simulated):
    run = Bench(
        bench,
        tmp_path,
        *("--url", simulated.url, "--num-prompts", 10, "--random-input-len", 64, "--random-output-len", 3),
        *("--prompt-ids", "--seed", 77),
    )
    assert run.json["total_input_tokens"] == 640 and run.json["sluice"]["cached_tokens"] == 0
    assert all(row["queue_ms"] != "" for row in run.rows)
    again = Bench(
        bench,
        tmp_path,
        *("--url", simulated.url, "--num-prompts", 10, "--random-input-len", 64, "--random-output-len", 3),
        *("--prompt-ids", "--seed", 77),
    )
    # The same seed, the same prompts: the server knows them, and the bench says so.
    assert again.json["sluice"]["cached_tokens"] >= 10 * 48 and "cached" in remarks(again.json)


def test_sessions_tell_what_was_said(bench, tmp_path, simulated):
    run = Bench(
        bench,
        tmp_path,
        *("--url", simulated.url, "--endpoint", "/v1/chat/completions", "--dataset-name", "sessions"),
        *("--num-prompts", 6, "--session-turns", 4, "--session-think-s", 0.01, "--random-input-len", 40),
        *("--random-output-len", 20, "--max-concurrency", 3, "--ignore-eos", "--seed", 5),
    )
    assert len(run.rows) == 24 and run.json["completed"] == 24
    for session in range(6):
        turns = sorted(
            (row for row in run.rows if row["session"] == str(session)), key=lambda row: int(row["turn"])
        )
        assert [row["turn"] for row in turns] == ["0", "1", "2", "3"]
        lengths = [int(row["input_tokens"]) for row in turns]
        # Each turn adds an answer of 20 tokens and a question of 40, and the template's own.
        assert all(later - earlier >= 60 for earlier, later in zip(lengths, lengths[1:]))
        for earlier, later in zip(turns, turns[1:]):
            assert float(later["planned_s"]) >= float(earlier["end_s"])
        assert int(turns[3]["cached_tokens"]) >= lengths[2] // 2


def test_cancels_leave_the_server_idle(bench, tmp_path, program):
    with Serving(program, "--simulate=smg") as server:
        run = Bench(
            bench,
            tmp_path,
            *("--url", server.url, "--num-prompts", 12, "--max-concurrency", 6, "--random-input-len", 30),
            *("--random-output-len", 150, "--ignore-eos", "--cancel-share", 1, "--random-range-ratio", 0.9),
        )
        assert run.json["sluice"]["cancelled"] == 12 and run.json["failed"] == 0
        for row in run.rows:
            assert row["outcome"] == "cancelled" and 1 <= int(row["events"]) <= 285
        server.wait_until_idle()


def test_a_trace_is_replayed_at_its_times(bench, tmp_path, simulated):
    trace = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 100 * i, "input_length": 1100 + i, "output_length": 3, "hash_ids": [1, 2, 100 + i]}
        for i in range(10)
    ]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = Bench(
        bench,
        tmp_path,
        *("--url", simulated.url, "--dataset-name", "mooncake", "--dataset-path", trace, "--trace-speed", 2),
        "--ignore-eos",
    )
    assert [float(row["planned_s"]) for row in run.rows] == pytest.approx([0.05 * i for i in range(10)])
    assert [int(row["input_tokens"]) for row in run.rows] == [1100 + i for i in range(10)]
    # The first two blocks of 512 are the same for all.
    assert all(int(row["cached_tokens"]) >= 1000 for row in run.rows[5:])


def test_a_workload_file_mixes_tenants(bench, tmp_path, simulated):
    workload = tmp_path / "mixed.json"
    workload.write_text(
        json.dumps(
            {
                "name": "mixed",
                "endpoint": "/v1/chat/completions",
                "num_prompts": 60,
                "max_concurrency": 8,
                "random_output_len": 4,
                "parts": [
                    {"share": 2, "tenant": "reader", "random_input_len": 200},
                    {"share": 1, "tenant": "chatter", "random_input_len": 30, "extra_body": {"top_k": 3}},
                ],
            }
        )
    )
    run = Bench(bench, tmp_path, "--url", simulated.url, "--workload", workload, "--seed", 3)
    tenants = [row["tenant"] for row in run.rows]
    assert run.json["dataset"] == "mixed" and run.json["completed"] == 60
    assert 25 <= tenants.count("reader") <= 55 and tenants.count("chatter") == 60 - tenants.count("reader")
    assert {row["input_tokens"] for row in run.rows if row["tenant"] == "reader"} == {"200"}


def test_a_sweep_with_repeats_is_reported_and_compared(bench, compare, tmp_path, simulated):
    page = tmp_path / "report.html"
    run = Bench(
        bench,
        tmp_path,
        *("--url", simulated.url, "--request-rate", "50,100", "--num-prompts", 60, "--seeds", 2),
        *("--random-input-len", 20, "--random-output-len", 4, "--report", page, "--label", "sweep"),
    )
    points = run.json["points"]
    assert [point["request_rate"] for point in points] == [50, 100]
    for point in points:
        low, high = point["sluice"]["intervals_95"]["mean_ttft_ms"]
        assert low <= point["mean_ttft_ms"] <= high and point["completed"] == 120
    text = page.read_text()
    assert text.count("<svg") >= 8 and "<script" not in text and "sweep" in text
    (tmp_path / "a.json").write_text(json.dumps(points[0]))
    worse = dict(points[0], failed=60)
    worse["sluice"] = dict(worse["sluice"], requests=120)
    (tmp_path / "b.json").write_text(json.dumps(worse))

    def exit_code(*files):
        return subprocess.run(
            [compare, *files], cwd=tmp_path, capture_output=True, timeout=PATIENCE_S
        ).returncode

    assert exit_code("a.json", "a.json") == 0
    assert exit_code("a.json", "b.json", "--report", "both.html") == 1
    assert exit_code("a.json", "missing.json") == 2
    assert "failed_share went from 0 to 0.5" in (tmp_path / "both.html").read_text()


def test_the_highest_rate_that_keeps_a_bound(bench, tmp_path):
    """A server that answers one request in a fiftieth of a second keeps half a second up to 50 a second."""
    with ScriptedServer(ttft_s=0.02, gap_s=0, one_at_a_time=True) as server:
        run = Bench(
            bench,
            tmp_path,
            *("--url", server.url, "--find-rate", "--goodput", "ttft:500", "--request-rate", 20),
            *("--find-seconds", 3, "--find-tolerance", 0.5, "--random-output-len", 1),
            *("--arrival", "constant"),
        )
    # Above 58 a second the queue of three seconds is longer than the bound, whatever the machine.
    assert run.json["found_rate"] is None or run.json["found_rate"] < 65
    assert run.json["failed_rate"] > (run.json["found_rate"] or 0)
    assert [point["request_rate"] for point in run.json["points"]] == sorted(
        point["request_rate"] for point in run.json["points"]
    )


def test_wrong_input_gets_a_sentence(bench, tmp_path, simulated):
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        '{"timestamp": 0, "input_length": 5, "output_length": 3, "hash_ids": [1]}\n{"timestamp": "x"}\n'
    )
    url = ("--url", simulated.url)
    for flags, code, words in [
        (("--url", "http://127.0.0.1:1"), 1, "Connection refused"),
        ((*url, "--model", "nobody"), 2, "no model 'nobody'"),
        ((*url, "--endpoint", "/v1/images"), 2, "--endpoint must end with"),
        ((*url, "--dataset-name", "mooncake", "--dataset-path", trace), 2, f"{trace} line 2: timestamp"),
        ((*url, "--workload", tmp_path / "none.json"), 1, "Cannot read"),
        ((*url, "--extra-body", '{"max_tokens": -3}'), 1, "A first request to"),
        ((*url, "--request-rate", "fast"), 2, "--request-rate must be numbers"),
    ]:
        run = Bench(bench, tmp_path, *flags, expect=code)
        assert words in run.err and run.err.count("\n") == 1, (flags, run.err)
