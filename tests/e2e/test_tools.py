"""Tools and reasoning through the OpenAI SDK: calls that must be made are constrained, so even a model that
knows no tools makes valid ones."""

import json
from typing import Literal

import openai
import pydantic
import pytest
from serving import PATIENCE_S, Serving

QUESTION = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "$defs": {"zone": {"enum": ["UTC", "CET"]}},
            "properties": {"zone": {"$ref": "#/$defs/zone"}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}
NAMED = {"type": "function", "function": {"name": "get_weather"}}

CHATML = """{%- if tools %}<|im_start|>system
Tools: {{ tools | tojson }} called as MARKS<|im_end|>
{% endif %}{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def check_weather(arguments):
    parsed = json.loads(arguments)
    assert set(parsed) == {"city", "unit", "days"}
    assert isinstance(parsed["city"], str) and len(parsed["city"]) <= 20
    assert parsed["unit"] in ("celsius", "fahrenheit")
    assert 1 <= parsed["days"] <= 7


def joined(chunks):
    """The calls of a stream as [id, name, arguments], and its finish reason."""
    calls, reason = {}, None
    for chunk in chunks:
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            assert not choice.delta.content
            for piece in choice.delta.tool_calls or []:
                if piece.index not in calls:
                    assert piece.id and piece.type == "function" and piece.function.arguments == ""
                    calls[piece.index] = [piece.id, piece.function.name, ""]
                else:
                    assert piece.id is None and piece.function.name is None
                calls[piece.index][2] += piece.function.arguments
    return [calls[i] for i in sorted(calls)], reason


def ask(sdk, model_id, **fields):
    return sdk.chat.completions.create(
        model=model_id, messages=QUESTION, temperature=0, max_tokens=200, tools=[WEATHER, TIME], **fields
    )


def test_named_function_is_called_with_valid_arguments(sdk, model_id):
    answer = ask(sdk, model_id, tool_choice=NAMED)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert [call.function.name for call in message.tool_calls] == ["get_weather"]
    assert message.tool_calls[0].id.startswith("call_")
    check_weather(message.tool_calls[0].function.arguments)
    calls, reason = joined(ask(sdk, model_id, tool_choice=NAMED, stream=True))
    assert reason == "tool_calls"
    assert [call[1:] for call in calls] == [["get_weather", message.tool_calls[0].function.arguments]]


@pytest.mark.parametrize("seed", range(4))
def test_required_calls_are_valid_at_any_temperature(sdk, model_id, seed):
    answer = sdk.chat.completions.create(
        model=model_id,
        messages=QUESTION,
        temperature=1,
        seed=seed,
        max_tokens=300,
        tools=[WEATHER, TIME],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    if call.function.name == "get_weather":
        check_weather(call.function.arguments)
    else:
        assert json.loads(call.function.arguments)["zone"] in ("UTC", "CET")


@pytest.mark.parametrize("parser", ["hermes", "llama3_json", "mistral", "pythonic", "json"])
def test_every_format_is_written_and_read(program, model, tmp_path, parser):
    template = tmp_path / "template.jinja"
    template.write_text(CHATML)
    with Serving(
        program, model, "--chat-template", str(template), "--tool-call-parser", parser
    ) as serving, openai.OpenAI(base_url=serving.url + "/v1", api_key="none", timeout=PATIENCE_S) as sdk:
        model_id = sdk.models.list().data[0].id
        for choice in (NAMED, "required"):
            calls, reason = joined(
                ask(sdk, model_id, tool_choice=choice, parallel_tool_calls=False, stream=True)
            )
            assert reason == "tool_calls" and len(calls) == 1
            if calls[0][1] == "get_weather":
                check_weather(calls[0][2])
            assert len(calls[0][0]) == (9 if parser == "mistral" else 29)
        # The conversation goes on with the tool's answer.
        answer = sdk.chat.completions.create(
            model=model_id,
            max_tokens=8,
            tools=[WEATHER],
            messages=[
                *QUESTION,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": calls[0][0],
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": calls[0][0], "content": "21 degrees"},
            ],
        )
        assert answer.choices[0].finish_reason in ("stop", "length")


def test_tools_that_may_be_ignored_leave_text_alone(sdk, model_id):
    answer = ask(sdk, model_id, tool_choice="auto")
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls
    answer = ask(sdk, model_id, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None and answer.choices[0].message.content
    empty = sdk.chat.completions.create(model=model_id, messages=QUESTION, max_tokens=4, tools=[])
    assert empty.choices[0].message.content


def test_the_sdk_parses_calls_into_its_models(sdk, model_id):
    class Weather(pydantic.BaseModel):
        city: Literal["Paris", "Rome"]
        days: int = pydantic.Field(ge=1, le=5)

    request = dict(
        model=model_id,
        messages=QUESTION,
        tools=[openai.pydantic_function_tool(Weather)],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=100,
    )
    parsed = sdk.chat.completions.parse(**request).choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(parsed, Weather)
    with sdk.chat.completions.stream(**request) as stream:
        assert any(event.type == "tool_calls.function.arguments.delta" for event in stream)
        final = stream.get_final_completion().choices[0].message
    assert final.tool_calls[0].function.parsed_arguments == parsed


@pytest.mark.parametrize(
    "fields, param, word",
    [
        ({"tools": [WEATHER, WEATHER]}, "tools", "two functions"),
        ({"tools": [TIME], "tool_choice": NAMED}, "tool_choice", "get_weather"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools", "letters"),
        ({"tools": [{"type": "web_search"}]}, "tools", "functions"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice", "no function"),
        ({"tools": [WEATHER], "tool_choice": "perhaps"}, "tool_choice", "required"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]},
            "tools",
            "object",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "f",
                            "parameters": {"type": "object", "properties": {"a": {"type": "nonsense"}}},
                        },
                    }
                ],
                "tool_choice": "required",
            },
            "tools",
            "nonsense",
        ),
    ],
)
def test_bad_tools_are_refused_by_name(server, fields, param, word):
    response = server.post("/v1/chat/completions", {"messages": QUESTION, **fields})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"].startswith(param)
    assert word in response.json()["error"]["message"]


# A template that opens the block, as DeepSeek R1's does.
THINKING = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")


@pytest.fixture(scope="module")
def thinker(program, model, tmp_path_factory):
    template = tmp_path_factory.mktemp("template") / "thinking.jinja"
    template.write_text(THINKING)
    with Serving(program, model, "--chat-template", str(template), "--max-model-len", "2048") as serving:
        with openai.OpenAI(base_url=serving.url + "/v1", api_key="none", timeout=PATIENCE_S) as sdk:
            yield sdk


def think(sdk, budget, **fields):
    fields.setdefault("extra_body", {}).update(thinking_token_budget=budget)
    return sdk.chat.completions.create(
        model=sdk.models.list().data[0].id, messages=QUESTION, temperature=0, max_tokens=80, **fields
    )


def test_a_budget_ends_the_thoughts(thinker):
    answer = think(thinker, 12)
    message = answer.choices[0].message
    assert message.reasoning and message.reasoning == message.reasoning_content
    assert message.content
    assert "think>" not in message.reasoning + message.content
    details = answer.usage.completion_tokens_details
    assert 12 <= details.reasoning_tokens <= 12 + 8  # the mark's own tokens are among them
    reasoning = content = ""
    for chunk in think(thinker, 12, stream=True):
        for choice in chunk.choices:
            reasoning += getattr(choice.delta, "reasoning", None) or ""
            content += choice.delta.content or ""
    assert (reasoning, content) == (message.reasoning, message.content)


def test_reasoning_can_be_left_out(thinker):
    message = think(thinker, 5, extra_body={"include_reasoning": False}).choices[0].message
    assert not hasattr(message, "reasoning") and message.content
    message = think(thinker, 0).choices[0].message
    assert not hasattr(message, "reasoning") and message.content


def test_a_required_call_and_a_schema_follow_the_thoughts(thinker):
    answer = think(thinker, 10, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.reasoning
    check_weather(message.tool_calls[0].function.arguments)
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = think(
        thinker,
        10,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert answer.choices[0].message.reasoning
    assert answer.choices[0].finish_reason == "stop"
    assert 0 <= json.loads(answer.choices[0].message.content)["n"] <= 9
