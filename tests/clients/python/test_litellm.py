"""LiteLLM, told `openai/<model>` and where the server is; its Anthropic route too."""

import asyncio
import json

import litellm
import pytest
from conftest import PATIENCE_S

litellm.suppress_debug_info = True

CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Paris", "Rome"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def place(url, model):
    return dict(
        model=f"openai/{model}",
        api_base=f"{url}/v1",
        api_key="none",
        timeout=PATIENCE_S,
        num_retries=0,
        max_retries=0,
    )


@pytest.fixture(scope="module")
def expected(plain):
    return plain("chat/completions", messages=CAPITAL, temperature=0, max_tokens=40)


def test_completion_says_what_the_plain_answer_says(place, expected):
    answer = litellm.completion(**place, messages=CAPITAL, temperature=0, max_tokens=40)
    assert answer.choices[0].message.content == expected["choices"][0]["message"]["content"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == expected["usage"]["prompt_tokens"]
    assert answer.usage.completion_tokens == expected["usage"]["completion_tokens"]


def test_a_stream_joins_to_the_same_text(place, expected):
    chunks = list(
        litellm.completion(
            **place,
            messages=CAPITAL,
            temperature=0,
            max_tokens=40,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == expected["choices"][0]["message"]["content"]
    assert chunks[-1].usage.completion_tokens == expected["usage"]["completion_tokens"]
    whole = litellm.stream_chunk_builder(chunks, messages=CAPITAL)
    assert whole.choices[0].message.content == text
    assert whole.choices[0].finish_reason == "stop"


def test_asynchronous_requests_do_not_mix(place):
    def ask(question):
        return dict(place, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=20)

    questions = ["Name a river.", "Count to five."]

    async def together():
        return await asyncio.gather(*(litellm.acompletion(**ask(question)) for question in questions))

    for question, answer in zip(questions, asyncio.run(together()), strict=True):
        alone = litellm.completion(**ask(question))
        assert answer.choices[0].message.content == alone.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_tools_are_called(place, choice, stream):
    answer = litellm.completion(
        **place,
        messages=CAPITAL,
        tools=[WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=200,
        stream=stream,
    )
    if stream:
        answer = litellm.stream_chunk_builder(list(answer))
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and call.id.startswith("call_")
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Paris", "Rome") and 1 <= arguments["days"] <= 7


def test_a_schema_holds(place):
    schema = WEATHER["function"]["parameters"]
    answer = litellm.completion(
        **place,
        messages=CAPITAL,
        temperature=1,
        seed=2,
        max_tokens=100,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "weather", "strict": True, "schema": schema},
        },
    )
    assert answer.choices[0].finish_reason == "stop"
    assert json.loads(answer.choices[0].message.content)["city"] in ("Paris", "Rome")


def test_text_completion(place, plain):
    request = dict(prompt="The capital of France is", temperature=0, max_tokens=5)
    answer = litellm.text_completion(
        **(place | {"model": place["model"].replace("openai/", "text-completion-openai/")}), **request
    )
    assert answer.choices[0].text == plain("completions", **request)["choices"][0]["text"]


def test_embedding(place, plain):
    texts = ["The cat sleeps.", "Revenue grew."]
    answer = litellm.embedding(**place, input=texts)
    expected = plain("embeddings", input=texts)
    for item, other in zip(answer.data, expected["data"], strict=True):
        assert item["embedding"] == pytest.approx(other["embedding"], abs=1e-6)
    assert answer.usage.prompt_tokens == expected["usage"]["prompt_tokens"]


def test_responses(place, expected):
    answer = litellm.responses(**place, input=CAPITAL[0]["content"], temperature=0, max_output_tokens=40)
    assert answer.output_text == expected["choices"][0]["message"]["content"]
    assert answer.usage.output_tokens == expected["usage"]["completion_tokens"]
    events = list(
        litellm.responses(
            **place, input=CAPITAL[0]["content"], temperature=0, max_output_tokens=40, stream=True
        )
    )
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == answer.output_text
    assert events[-1].type == "response.completed"


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_route(url, model, expected, stream):
    answer = litellm.completion(
        model=f"anthropic/{model}",
        api_base=url,
        api_key="none",
        messages=CAPITAL,
        temperature=0,
        max_tokens=40,
        stream=stream,
    )
    if stream:
        answer = litellm.stream_chunk_builder(list(answer))
    assert answer.choices[0].message.content == expected["choices"][0]["message"]["content"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == expected["usage"]["completion_tokens"]


def test_anthropic_messages(url, model, expected):
    answer = asyncio.run(
        litellm.anthropic_messages(
            model=f"anthropic/{model}",
            api_base=url,
            api_key="none",
            messages=CAPITAL,
            temperature=0,
            max_tokens=40,
        )
    )
    assert answer["content"][0]["text"] == expected["choices"][0]["message"]["content"]
    assert answer["stop_reason"] == "end_turn"


def test_errors_are_litellms(place):
    with pytest.raises(litellm.BadRequestError) as caught:
        litellm.completion(**place, messages=CAPITAL, temperature=-1)
    assert caught.value.status_code == 400 and "temperature" in str(caught.value)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**(place | {"model": "openai/no-such-model"}), messages=CAPITAL)
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**place, messages=[{"role": "user", "content": "word " * 20000}])
