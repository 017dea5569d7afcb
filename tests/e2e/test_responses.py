"""OpenAI's Python SDK against /v1/responses."""

import json
import time

import httpx
import jsonschema
import openai
import pytest
from serving import PATIENCE_S

CAPITAL = "What is the capital of France? Answer in one short sentence."
ALARM = {
    "type": "function",
    "name": "set_alarm",
    "description": "Sets an alarm.",
    "parameters": {
        "type": "object",
        "properties": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}},
        "required": ["hour"],
        "additionalProperties": False,
    },
}
PET = {
    "type": "object",
    "required": ["name", "legs"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
    },
}


@pytest.fixture
def client(server):
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


def create(client, model_id, **fields):
    fields.setdefault("temperature", 0)
    fields.setdefault("max_output_tokens", 40)
    return client.responses.create(model=model_id, **fields)


def wait_until_ended(client, response):
    deadline = time.monotonic() + PATIENCE_S
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
        response = client.responses.retrieve(response.id)
    return response


def test_an_answer_says_the_same_as_chat(client, model_id):
    response = create(client, model_id, input=CAPITAL, instructions="Be brief.")
    chat = client.chat.completions.create(
        model=model_id,
        temperature=0,
        max_tokens=40,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": CAPITAL}],
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.status == "completed" and response.error is None
    assert response.instructions == "Be brief." and response.temperature == 0
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens
    assert response.usage.total_tokens == chat.usage.total_tokens


def test_a_stream_tells_the_answer_in_order(client, model_id):
    whole = create(client, model_id, input=CAPITAL)
    text, numbers, types, done = "", [], [], None
    for event in create(client, model_id, input=CAPITAL, stream=True):
        numbers.append(event.sequence_number)
        types.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "response.output_text.done":
            assert event.text == text
        elif event.type == "response.completed":
            done = event.response
    assert numbers == list(range(len(numbers)))
    shape = [kind for i, kind in enumerate(types) if i == 0 or kind != types[i - 1]]
    assert shape == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert text == whole.output_text == done.output_text
    assert done.usage.output_tokens == whole.usage.output_tokens


def test_the_sdks_own_stream_reader_agrees(client, model_id):
    with client.responses.stream(
        model=model_id, input=CAPITAL, temperature=0, max_output_tokens=40
    ) as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == "".join(deltas)


def test_a_conversation_goes_on_from_the_response_before(client, model_id):
    first = create(client, model_id, input="My name is Ada. Remember it.")
    second = create(client, model_id, input="What is my name?", previous_response_id=first.id)
    told = [
        {"role": "user", "content": "My name is Ada. Remember it."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "What is my name?"},
    ]
    same = create(client, model_id, input=told, store=False)
    assert second.output_text == same.output_text
    assert second.usage.input_tokens == same.usage.input_tokens
    assert second.previous_response_id == first.id
    by_reference = [told[0], {"type": "item_reference", "id": first.output[0].id}, told[2]]
    assert create(client, model_id, input=by_reference).output_text == same.output_text


def test_stored_responses_are_read_listed_and_deleted(client, model_id):
    response = create(client, model_id, input=[{"role": "user", "content": "Hi"}], metadata={"a": "b"})
    read = client.responses.retrieve(response.id)
    assert read == response and read.metadata == {"a": "b"}
    items = client.responses.input_items.list(response.id)
    assert [item.content[0].text for item in items.data] == ["Hi"]
    assert not items.has_more
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        create(client, model_id, input="x", previous_response_id=response.id)
    unstored = create(client, model_id, input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unstored.id)


def test_a_length_limit_makes_it_incomplete(client, model_id):
    response = create(client, model_id, input="Tell me a long story.", max_output_tokens=5)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"
    assert response.usage.output_tokens == 5


def test_functions_are_called_and_answered(client, model_id):
    fields = dict(tools=[ALARM], tool_choice="required", parallel_tool_calls=False, max_output_tokens=200)
    question = {"role": "user", "content": "Wake me at seven."}
    response = create(client, model_id, input=[question], **fields)
    call = response.output[-1]
    assert call.type == "function_call" and call.name == "set_alarm"
    jsonschema.validate(json.loads(call.arguments), ALARM["parameters"])
    arguments, done = "", None
    for event in create(client, model_id, input=[question], stream=True, **fields):
        if event.type == "response.function_call_arguments.delta":
            arguments += event.delta
        elif event.type == "response.function_call_arguments.done":
            done = event.arguments
    assert arguments == done == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    after = create(client, model_id, input=[question, call, result], tools=[ALARM], tool_choice="none")
    chained = create(client, model_id, input=[result], previous_response_id=response.id, tool_choice="none")
    assert after.output_text and after.output_text == chained.output_text
    named = create(
        client,
        model_id,
        input=[question],
        tools=[ALARM, {**ALARM, "name": "other"}],
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "other"}],
        },
        parallel_tool_calls=False,
        max_output_tokens=200,
    )
    assert named.output[-1].name == "other"


def test_a_schema_holds(client, model_id):
    response = create(
        client,
        model_id,
        input="Invent a pet.",
        max_output_tokens=100,
        text={"format": {"type": "json_schema", "name": "pet", "schema": PET, "strict": True}},
    )
    jsonschema.validate(json.loads(response.output_text), PET)
    assert response.text.format.name == "pet"


def test_log_probabilities_come_when_included(client, model_id):
    response = create(
        client,
        model_id,
        input=CAPITAL,
        max_output_tokens=4,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    logprobs = response.output[0].content[0].logprobs
    assert "".join(entry.token for entry in logprobs) == response.output_text
    assert all(len(entry.top_logprobs) == 2 for entry in logprobs)


def test_background_goes_on_alone(client, model_id):
    response = create(client, model_id, input=CAPITAL, background=True)
    assert response.status in ("queued", "in_progress")
    ended = wait_until_ended(client, response)
    assert ended.status == "completed"
    assert ended.output_text == create(client, model_id, input=CAPITAL).output_text


def test_a_background_stream_is_resumed_where_it_was_left(client, model_id):
    stream = create(client, model_id, input=CAPITAL, background=True, stream=True)
    first = []
    for event in stream:
        first.append(event)
        if len(first) == 6:
            break
    stream.close()
    response_id = first[0].response.id
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=first[-1].sequence_number))
    numbers = [event.sequence_number for event in first + rest]
    assert numbers == list(range(len(numbers)))
    text = "".join(e.delta for e in first + rest if e.type == "response.output_text.delta")
    assert text == rest[-1].response.output_text == create(client, model_id, input=CAPITAL).output_text


def test_cancelling_ends_a_background_response(client, model_id):
    fields = dict(max_output_tokens=4000, extra_body={"ignore_eos": True})
    response = create(client, model_id, input="Tell me a story.", background=True, **fields)
    assert client.responses.cancel(response.id).status == "cancelled"
    ended = wait_until_ended(client, response)
    assert ended.status == "cancelled"
    assert ended.usage.output_tokens < 4000


def test_truncation_drops_the_oldest_turns(client, model_id):
    old = [{"role": "user", "content": "word " * 3000}, {"role": "assistant", "content": "word " * 3000}]
    question = {"role": "user", "content": CAPITAL}
    full = [*old, *old, *old, question]
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, model_id, input=full)
    assert refused.value.param == "input" and refused.value.code == "context_length_exceeded"
    cut = create(client, model_id, input=full, truncation="auto")
    by_hand = create(client, model_id, input=[*old, question])
    assert cut.usage.input_tokens == by_hand.usage.input_tokens < 8192
    assert cut.output_text == by_hand.output_text


def test_tokens_are_counted(client, model_id):
    counted = client.responses.input_tokens.count(model=model_id, input=CAPITAL, instructions="Be brief.")
    made = create(client, model_id, input=CAPITAL, instructions="Be brief.", max_output_tokens=1)
    assert counted.input_tokens == made.usage.input_tokens


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"input": []}, "input"),
        ({}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "call_id"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "msg_1"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "x", "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "conversation": "c"}, "conversation"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
        ({"input": "x", "background": True, "store": False}, "store"),
        ({"input": "x", "truncation": "some"}, "truncation"),
        ({"input": "x", "reasoning": {"effort": "huge"}}, "reasoning_effort"),
    ],
)
def test_faults_are_named(server, fields, named):
    answer = httpx.post(f"{server.url}/v1/responses", json=fields, timeout=PATIENCE_S)
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["resp_0", "other", "resp_0/input_items", "resp_0/what"])
def test_what_is_not_there_is_not_found(server, path):
    assert httpx.get(f"{server.url}/v1/responses/{path}").status_code == 404
    assert httpx.delete(f"{server.url}/v1/responses/{path}").status_code == 404
    assert httpx.post(f"{server.url}/v1/responses/{path}/cancel", json={}).status_code == 404
