"""deploy/prometheus-adapter.yaml against what the programs tell: a rule whose series nobody exports scales
nothing, and nobody notices."""

import pathlib
import re

import httpx
import pytest
import yaml
from routing import Routing, replicas_of

RULES = yaml.safe_load((pathlib.Path(__file__).parents[2] / "deploy/prometheus-adapter.yaml").read_text())[
    "rules"
]
NAME = r"[a-zA-Z_:][\w:]*"


@pytest.fixture(scope="module")
def told(program):
    """{component: {series: names of its labels}} of a live router and engine."""
    with replicas_of(program, 1, "--served-model-name=tiny") as replicas, Routing(
        program, replicas
    ) as router:
        texts = {
            "external": httpx.get(router.url + "/metrics").text,
            "custom": httpx.get(replicas[0].url + "/metrics").text,
        }
    return {
        part: {
            name: set(re.findall(rf"({NAME})=", labels))
            for name, labels in re.findall(rf"^({NAME})(?:{{(.*?)}})? \S+$", text, re.MULTILINE)
        }
        for part, text in texts.items()
    }


def series_of(rule, names):
    """The series that a rule is about: those its query finds among `names`, and those it names itself."""
    pattern = re.search(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    if pattern:
        found = [name for name in names if re.search(pattern[1], name)]
        (wanted,) = re.findall(r"\((.*?)\)", pattern[1])
        assert len(found) == len(wanted.split("|")), f"{pattern[1]} finds {found} alone"
    else:
        found = [re.match(NAME, rule["seriesQuery"])[0]]
    return found + re.findall(rf"\b({NAME}){{", rule["metricsQuery"].replace("<<.Series>>", ""))


@pytest.mark.parametrize("part", ["external", "custom"])
def test_every_rule_finds_its_series(told, part):
    for rule in RULES[part]:
        for name in series_of(rule, told[part]):
            assert name in told[part], f"nobody tells {name}"
            if part == "external":
                assert "model" in told[part][name]
                assert re.sub(rule["name"]["matches"], r"sluice_\1", name).startswith("sluice_")
        assert "<<.LabelMatchers>>" in rule["metricsQuery"]
        # HPAs sum External items, and match Pods items by name: without an aggregation it would be a lottery.
        assert re.match(r"(sum|max)\(", rule["metricsQuery"])


def test_the_demand_is_told_by_each_router_for_all(told):
    (rule,) = [
        r for r in RULES["external"] if "sluice_router_demand_replicas" in series_of(r, told["external"])
    ]
    assert rule["metricsQuery"].startswith("max(")


def test_a_rule_of_a_series_that_is_gone_is_noticed(told):
    wrong = dict(RULES["external"][0], seriesQuery='{__name__=~"^sluice_router_(queue_depth|demand)$"}')
    with pytest.raises(AssertionError):
        series_of(wrong, told["external"])
