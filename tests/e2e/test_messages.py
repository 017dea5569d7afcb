"""Anthropic's Python SDK against /v1/messages."""

import json

import anthropic
import httpx
import pytest
from serving import PATIENCE_S

CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
ALARM = {
    "name": "set_alarm",
    "description": "Sets an alarm.",
    "input_schema": {
        "type": "object",
        "properties": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}},
        "required": ["hour"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(server):
    with anthropic.Anthropic(
        base_url=server.url, api_key="none", max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


def test_an_answer_and_its_usage(client, model_id):
    message = client.messages.create(
        model=model_id, max_tokens=40, extra_body={"temperature": 0}, messages=CAPITAL
    )
    assert message.type == "message" and message.role == "assistant" and message.id.startswith("msg_")
    assert message.model == model_id
    assert "Paris" in message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 3
    again = client.messages.create(
        model=model_id, max_tokens=40, extra_body={"temperature": 0}, messages=CAPITAL
    )
    assert again.content[0].text == message.content[0].text
    assert again.usage.cache_read_input_tokens > 0
    total = message.usage.input_tokens + message.usage.cache_read_input_tokens
    assert again.usage.input_tokens + again.usage.cache_read_input_tokens == total


def test_a_stream_says_the_same(client, model_id):
    request = dict(
        model=model_id, max_tokens=40, extra_body={"temperature": 0}, messages=CAPITAL, system="Be brief."
    )
    whole = client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert events[0] == "message_start" and events[-1] == "message_stop"
    kept = [
        event for event in events if event in ("content_block_start", "content_block_stop", "message_delta")
    ]
    assert kept == ["content_block_start", "content_block_stop", "message_delta"]


def test_reasons_to_stop(client, model_id):
    request = dict(model=model_id, extra_body={"temperature": 0}, messages=CAPITAL)
    assert client.messages.create(**request, max_tokens=2).stop_reason == "max_tokens"
    stopped = client.messages.create(**request, max_tokens=40, stop_sequences=["Paris"])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "Paris"


def test_tools_and_their_results(client, model_id):
    request = dict(model=model_id, max_tokens=200, extra_body={"temperature": 0}, tools=[ALARM])
    ask = [{"role": "user", "content": "Wake me at seven."}]
    choice = {"type": "tool", "name": "set_alarm"}
    message = client.messages.create(**request, messages=ask, tool_choice=choice)
    assert message.stop_reason == "tool_use"
    call = message.content[-1]
    assert call.type == "tool_use" and call.name == "set_alarm" and 0 <= call.input["hour"] <= 23
    with client.messages.stream(**request, messages=ask, tool_choice=choice) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[-1].input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Done."}]}
    back = [*ask, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(**request, messages=back, tool_choice={"type": "none"})
    assert answer.content[0].type == "text"


def test_tokens_are_counted_as_they_are_used(client, model_id):
    counted = client.messages.count_tokens(model=model_id, messages=CAPITAL, system="Be brief.")
    used = client.messages.create(model=model_id, max_tokens=1, messages=CAPITAL, system="Be brief.").usage
    assert counted.input_tokens == used.input_tokens + used.cache_read_input_tokens


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": None},
        {"max_tokens": 0},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "f"}]}]},
        {"system": 5},
        {"temperature": "hot"},
        {"stop_sequences": [5]},
        {"tools": [{"name": "f"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tool_choice": {"type": "maybe"}},
        {"tool_choice": {"type": "any"}},
        {"thinking": {"type": "perhaps"}},
    ],
)
def test_bad_input_is_refused_in_anthropics_words(server, change):
    body = {"max_tokens": 5, "messages": CAPITAL, **change}
    answer = server.post("/v1/messages", {k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 400, answer.text
    error = answer.json()
    assert error["type"] == "error" and error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"] and error["request_id"] == answer.headers["x-request-id"]


def test_other_errors_keep_the_shape(server):
    answer = server.post("/v1/messages", {"model": "nobody", "max_tokens": 5, "messages": CAPITAL})
    assert answer.status_code == 404 and answer.json()["error"]["type"] == "not_found_error"
    answer = httpx.post(
        server.url + "/v1/messages", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400 and answer.json()["type"] == "error"
    answer = httpx.get(server.url + "/v1/messages")
    assert answer.status_code == 405 and answer.json()["type"] == "error"


def test_a_client_that_leaves_frees_its_place(server):
    body = {"max_tokens": 4000, "messages": CAPITAL, "stream": True}
    with httpx.stream("POST", server.url + "/v1/messages", json=body, timeout=PATIENCE_S) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:])["type"] == "content_block_delta":
                break
    server.wait_until_idle()
