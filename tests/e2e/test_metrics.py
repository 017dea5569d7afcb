"""/metrics speaks the names, labels and buckets that dashboards and gateways of this field read."""

import re

import httpx
import pytest

GAUGES = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",  # its former name
    "sluice_demand_replicas",
    "sluice_demand_raw",
    "sluice_demand_term",
    "sluice_demand_reason",
    "sluice_backlog_seconds",
    "sluice_concurrency_per_replica",
]
COUNTERS = [
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_queries_total",  # their former names
    "vllm:gpu_prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
]
HISTOGRAMS = [
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:time_per_output_token_seconds",  # its former name
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "vllm:request_inference_time_seconds",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:iteration_tokens_total",
]


@pytest.fixture
def text(server):
    assert server.post("/v1/completions", {"prompt": "Hello", "max_tokens": 4}).status_code == 200
    answer = httpx.get(server.url + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


@pytest.mark.parametrize(
    ("names", "kind"), [(GAUGES, "gauge"), (COUNTERS, "counter"), (HISTOGRAMS, "histogram")]
)
def test_names_and_kinds(text, names, kind):
    for name in names:
        assert f"# TYPE {name} {kind}\n" in text
        assert re.search(rf'^{name}(_bucket)?\{{.*model_name="', text, re.MULTILINE), name


def test_cache_config_tells_block_size_and_count(text):
    line = re.search(r"^vllm:cache_config_info\{(.*)\} 1", text, re.MULTILINE).group(1)
    assert int(re.search(r'block_size="(\d+)"', line).group(1)) == 16
    assert int(re.search(r'num_gpu_blocks="(\d+)"', line).group(1)) > 0


def test_buckets_of_time_to_first_token(text):
    found = re.findall(r'^vllm:time_to_first_token_seconds_bucket\{.*le="([^"]+)"\}', text, re.MULTILINE)
    wanted = [
        0.001,
        0.005,
        0.01,
        0.02,
        0.04,
        0.06,
        0.08,
        0.1,
        0.25,
        0.5,
        0.75,
        1,
        2.5,
        5,
        7.5,
        10,
        20,
        40,
        80,
        160,
        640,
        2560,
    ]
    assert [float(bound) for bound in found] == [*wanted, float("inf")]


def test_every_line_is_exposition_format(text):
    sample = re.compile(
        r'^[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="([^"\\\n]|\\.)*",?)*\})? (NaN|[+-]?(Inf|[\d.e+-]+))$'
    )
    for line in text.splitlines():
        assert line.startswith("# ") or line == "" or sample.match(line), line


def test_a_request_is_counted(server):
    before = {name: server.metric(name) for name in COUNTERS}
    usage = server.post(
        "/v1/completions", {"prompt": "Count me, please.", "max_tokens": 7, "ignore_eos": True}
    ).json()["usage"]
    server.wait_for_metric("vllm:generation_tokens_total", before["vllm:generation_tokens_total"] + 7)
    server.wait_for_metric(
        "vllm:prompt_tokens_total", before["vllm:prompt_tokens_total"] + usage["prompt_tokens"]
    )
    server.wait_for_metric("vllm:request_success_total", before["vllm:request_success_total"] + 1)
