"""Instructor: answers as Pydantic models, by tools, by JSON schema and by plain JSON."""

import contextlib
import json
from typing import Literal

import instructor
import openai
import pytest
from conftest import PATIENCE_S
from instructor.core import InstructorRetryException
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "Invent a pet."}]


class Pet(BaseModel):
    """A pet."""

    kind: Literal["cat", "dog", "parrot"]
    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)


@pytest.fixture
def connect(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S) as client:
        yield lambda mode: instructor.from_openai(client, mode=mode)


MODES = [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("temperature", [0, 1])
def test_the_first_answer_validates(connect, model, mode, temperature):
    pet, completion = connect(mode).chat.completions.create_with_completion(
        model=model,
        messages=QUESTION,
        response_model=Pet,
        max_retries=0,
        temperature=temperature,
        seed=3,
        max_tokens=150,
    )
    assert isinstance(pet, Pet)
    assert completion.usage.completion_tokens > 0


@pytest.mark.parametrize("mode", MODES)
def test_partial_models_grow_to_a_whole_one(connect, model, mode):
    partials = list(
        connect(mode).chat.completions.create_partial(
            model=model, messages=QUESTION, response_model=Pet, max_retries=0, temperature=0, max_tokens=150
        )
    )
    assert len(partials) > 3
    Pet.model_validate(partials[-1].model_dump())
    filled = [sum(value is not None for value in partial.model_dump().values()) for partial in partials]
    assert filled == sorted(filled) and filled[0] < filled[-1] == 3


def test_json_mode_gives_an_object_that_instructor_may_refuse(connect, model):
    """This mode promises an object, its fields only by words in the prompt: a small model may miss them."""
    seen = []
    client = connect(instructor.Mode.JSON)
    client.on("completion:response", seen.append)
    with contextlib.suppress(InstructorRetryException):
        pet = client.chat.completions.create(
            model=model, messages=QUESTION, response_model=Pet, max_retries=0, temperature=0, max_tokens=400
        )
        assert isinstance(pet, Pet)
    (choice,) = seen[0].choices
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)
