"""LangChain's ChatOpenAI and OpenAIEmbeddings."""

from typing import Literal

import openai
import pytest
import tiktoken
from conftest import PATIENCE_S
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

CAPITAL = "What is the capital of France? Answer in one short sentence."


class Pet(BaseModel):
    """A pet."""

    kind: Literal["cat", "dog", "parrot"]
    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)


@tool
def get_weather(city: Literal["Paris", "Rome"], days: Literal[1, 2, 3]) -> str:
    """The weather of a city."""
    return f"21 degrees in {city} for {days} days"


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def chat(url, model, request):
    return ChatOpenAI(
        base_url=f"{url}/v1",
        api_key="none",
        model=model,
        temperature=0,
        max_tokens=40,
        max_retries=0,
        timeout=PATIENCE_S,
        stream_usage=True,
        use_responses_api=request.param,
    )


def longer(chat, max_tokens=200):
    return chat.model_copy(update={"max_tokens": max_tokens})


@pytest.fixture(scope="module")
def expected(plain):
    return plain(
        "chat/completions",
        temperature=0,
        max_tokens=40,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": CAPITAL}],
    )


MESSAGES = [SystemMessage("Be brief."), HumanMessage(CAPITAL)]


def test_invoke_says_what_the_plain_answer_says(chat, expected):
    message = chat.invoke(MESSAGES)
    assert isinstance(message, AIMessage)
    assert message.text == expected["choices"][0]["message"]["content"]
    assert message.usage_metadata["input_tokens"] == expected["usage"]["prompt_tokens"]
    assert message.usage_metadata["output_tokens"] == expected["usage"]["completion_tokens"]
    assert message.usage_metadata["total_tokens"] == expected["usage"]["total_tokens"]
    assert message.usage_metadata["input_token_details"]["cache_read"] >= 0


def test_a_stream_joins_to_the_same_message(chat, expected):
    chunks = list(chat.stream(MESSAGES))
    assert len(chunks) > 3
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.text == expected["choices"][0]["message"]["content"]
    assert whole.usage_metadata["output_tokens"] == expected["usage"]["completion_tokens"]
    assert whole.usage_metadata["input_tokens"] == expected["usage"]["prompt_tokens"]


def test_a_batch_keeps_its_order(chat):
    questions = ["Name a river.", "Count to five.", "What is the capital of Italy?"]
    together = chat.batch(questions)
    assert [answer.text for answer in together] == [chat.invoke(question).text for question in questions]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_the_class_asked_for(chat, method):
    answer = longer(chat).with_structured_output(Pet, method=method, include_raw=True).invoke("Invent a pet.")
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Pet)
    assert answer["parsed"].legs <= 8 and len(answer["parsed"].name) <= 12
    assert bool(answer["raw"].tool_calls) == (method == "function_calling")


def test_structured_output_streams(chat):
    pieces = list(longer(chat).with_structured_output(Pet, method="json_schema").stream("Invent a pet."))
    assert isinstance(pieces[-1], Pet)


@pytest.mark.parametrize("choice", ["required", "get_weather", "any", True])
def test_bound_tools_are_called_and_their_answers_read(chat, choice):
    bound = longer(chat).bind_tools([get_weather], tool_choice=choice, parallel_tool_calls=False)
    called = bound.invoke(CAPITAL)
    assert [call["name"] for call in called.tool_calls] == ["get_weather"]
    assert not called.invalid_tool_calls
    result = get_weather.invoke(called.tool_calls[0])
    assert isinstance(result, ToolMessage) and result.content.startswith("21 degrees")
    after = chat.bind_tools([get_weather], tool_choice="none").invoke([HumanMessage(CAPITAL), called, result])
    assert after.text and not after.tool_calls


def test_a_streamed_call_joins_to_the_whole_one(chat):
    bound = longer(chat).bind_tools([get_weather], tool_choice="get_weather", parallel_tool_calls=False)
    chunks = list(bound.stream(CAPITAL))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    called = bound.invoke(CAPITAL)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [
        (call["name"], call["args"]) for call in called.tool_calls
    ]


def test_previous_response_goes_on(url, model, plain):
    chat = ChatOpenAI(
        base_url=f"{url}/v1",
        api_key="none",
        model=model,
        temperature=0,
        max_tokens=40,
        use_responses_api=True,
        use_previous_response_id=True,
    )
    first = chat.invoke(CAPITAL)
    assert first.response_metadata["id"].startswith("resp_")
    second = chat.invoke([HumanMessage(CAPITAL), first, HumanMessage("And Italy?")])
    answer = plain(
        "chat/completions",
        temperature=0,
        max_tokens=40,
        messages=[
            {"role": "user", "content": CAPITAL},
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "And Italy?"},
        ],
    )
    assert second.text == answer["choices"][0]["message"]["content"]


def test_logprobs_arrive(url, model):
    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model=model, temperature=0, max_tokens=5)
    message = chat.bind(logprobs=True, top_logprobs=2).invoke(CAPITAL)
    content = message.response_metadata["logprobs"]["content"]
    assert len(content) == 5 and all(len(token["top_logprobs"]) == 2 for token in content)


def test_completions(url, model, plain):
    expected = plain("completions", prompt="The capital of France is", temperature=0, max_tokens=5)
    language_model = OpenAI(
        base_url=f"{url}/v1", api_key="none", model=model, temperature=0, max_tokens=5, max_retries=0
    )
    assert language_model.invoke("The capital of France is") == expected["choices"][0]["text"]
    assert "".join(language_model.stream("The capital of France is")) == expected["choices"][0]["text"]


def test_embeddings_of_texts(url, model, plain):
    texts = ["The cat sleeps.", "Revenue grew."]
    embeddings = OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key="none", model=model, check_embedding_ctx_length=False, max_retries=0
    )
    vectors = embeddings.embed_documents(texts)
    for vector, item in zip(vectors, plain("embeddings", input=texts)["data"], strict=True):
        assert vector == pytest.approx(item["embedding"], abs=1e-6)
    assert embeddings.embed_query(texts[0]) == pytest.approx(vectors[0], abs=1e-6)


def test_embeddings_of_token_ids(url, model, plain, monkeypatch):
    """By default LangChain sends ids of a vocabulary of its own choice; here one whose ids are bytes, for any
    server with another vocabulary reads other words. A text beyond embedding_ctx_length goes in parts."""
    letters = tiktoken.Encoding(
        "letters", pat_str=r"[\s\S]", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda name: letters)
    embeddings = OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key="none", model=model, max_retries=0, embedding_ctx_length=20
    )
    texts = ["The cat sleeps.", "Revenue grew by nine percent."]
    ids = [list(text.encode()) for text in texts]
    first, second = embeddings.embed_documents(texts)
    expected = plain("embeddings", input=[ids[0], ids[1][:20], ids[1][20:]])
    assert expected["usage"]["prompt_tokens"] == len(texts[0]) + len(texts[1])
    whole, begin, end = (item["embedding"] for item in expected["data"])
    assert first == pytest.approx(whole, abs=1e-6)
    mean = [(a * 20 + b * (len(ids[1]) - 20)) / len(ids[1]) for a, b in zip(begin, end, strict=True)]
    length = sum(x * x for x in mean) ** 0.5
    assert second == pytest.approx([x / length for x in mean], abs=1e-5)


def test_errors_are_openais(chat, url, model):
    with pytest.raises(openai.BadRequestError) as caught:
        chat.bind(temperature=-1).invoke(CAPITAL)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        chat.bind(model="no-such-model").invoke(CAPITAL)
