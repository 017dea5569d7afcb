"""Structured output with the real model: what ends with "stop" parses and validates, whatever the model would
rather say."""

import concurrent.futures
import json
import re

import jsonschema
import pydantic
import pytest

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS = {
    "nested": {
        "type": "object",
        "properties": {
            "people": {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 2},
            "place": {
                "type": "object",
                "properties": {
                    "city": {"enum": ["Paris", "Rome"]},
                    "at": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                },
                "required": ["city", "at"],
                "additionalProperties": False,
            },
        },
        "required": ["people", "place"],
        "additionalProperties": False,
    },
    "any_of": {
        "type": "object",
        "properties": {
            "value": {"anyOf": [{"type": "null"}, {"type": "boolean"}, {"type": "string", "maxLength": 8}]}
        },
        "required": ["value"],
        "additionalProperties": False,
    },
    "reference": {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "label": {"type": "string", "maxLength": 6},
                    "children": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/tree"}},
                },
                "required": ["label", "children"],
                "additionalProperties": False,
            }
        },
    },
    "pattern": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
            "day": {"type": "string", "format": "date"},
        },
        "required": ["id", "day"],
        "additionalProperties": False,
    },
    "range": {"type": "integer", "minimum": -5, "maximum": 17},
    "optional": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"const": 7}, "c": {"type": "string", "maxLength": 3}},
        "required": ["b"],
        "additionalProperties": False,
    },
}


def ask(server, seed, **fields):
    body = {
        "messages": [{"role": "user", "content": f"Answer number {seed}, please, about anything."}],
        "temperature": 1,
        "seed": seed,
        "max_tokens": 300,
        **fields,
    }
    answer = server.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_that_stops_validates(server, name):
    schema = SCHEMAS[name]
    form = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        choices = list(pool.map(lambda seed: ask(server, seed, response_format=form), range(24)))
    stopped = [choice for choice in choices if choice["finish_reason"] == "stop"]
    assert len(stopped) >= 4  # the others went on to max_tokens
    for choice in stopped:
        jsonschema.validate(json.loads(choice["message"]["content"]), schema)
    assert {choice["finish_reason"] for choice in choices} <= {"stop", "length"}


def test_json_object_is_an_object(server):
    choices = [ask(server, seed, response_format={"type": "json_object"}) for seed in range(8)]
    for choice in choices:
        assert choice["message"]["content"].startswith("{")
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_an_answer_cut_by_max_tokens_says_length(server):
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}
    assert ask(server, 1, response_format=form, max_tokens=3)["finish_reason"] == "length"


def test_regex_choice_and_grammar(server):
    for seed in range(4):
        text = ask(server, seed, structured_outputs={"regex": r"\d{3}-(ab|cd)+x"})["message"]["content"]
        assert re.fullmatch(r"[0-9]{3}-(ab|cd)+x", text) or len(text) > 100
        choice = ask(server, seed, structured_outputs={"choice": ["yes", "no", 'per"haps']})
        assert choice["message"]["content"] in ("yes", "no", 'per"haps')
        grammar = 'start: "the " animal " sleeps"\nanimal: "cat" | "dog"'
        text = ask(server, seed, guided_grammar=grammar)["message"]["content"]
        assert text in ("the cat sleeps", "the dog sleeps")


def test_n_choices_each_match(server):
    answer = server.post(
        "/v1/completions",
        {"prompt": "A number:", "n": 8, "temperature": 1, "seed": 3, "guided_regex": "[1-9][0-9]"},
    ).json()
    assert all(re.fullmatch("[1-9][0-9]", choice["text"]) for choice in answer["choices"])
    assert len(answer["choices"]) == 8


def test_the_sdk_parses_into_a_class(sdk, model_id):
    class Pet(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=12)
        legs: int = pydantic.Field(ge=0, le=8)

    answer = sdk.chat.completions.parse(
        model=model_id,
        messages=[{"role": "user", "content": "Invent a pet."}],
        temperature=0,
        max_tokens=200,
        response_format=Pet,
    )
    assert isinstance(answer.choices[0].message.parsed, Pet)


def test_an_object_has_no_members_that_its_schema_does_not_list(server):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 9}},
        "required": ["name"],
    }
    for seed in range(8):
        answer = ask(server, seed, structured_outputs={"json": schema})
        assert answer["finish_reason"] == "stop"
        assert json.loads(answer["message"]["content"]).keys() == {"name"}


def test_a_wrong_grammar_is_the_clients_fault(server):
    for fields in (
        {"structured_outputs": {"regex": "(a"}},
        {"structured_outputs": {"json": {"type": "what"}}},
        {"guided_json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}},
        {"guided_grammar": "start: nothing"},
    ):
        body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
        answer = server.post("/v1/chat/completions", body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"]


def test_a_text_the_model_cannot_write_is_the_clients_fault(server):
    """This model has no token with the byte F2."""
    for choice, stream in (("a\U000b079e", False), ("\U000b079e", False), ("a\U000b079e", True)):
        body = {"prompt": "Hi", "structured_outputs": {"choice": [choice]}, "stream": stream}
        answer = server.post("/v1/completions", body)
        if stream:
            assert "no token of this model" in answer.text and "[DONE]" not in answer.text
        else:
            assert answer.status_code == 400, answer.text


def test_other_streams_go_on_while_grammars_compile(server):
    """Heavy new grammars and a stream without one: the stream's answer is what it is alone."""
    free = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 60, "ignore_eos": True}
    alone = server.post("/v1/completions", free).json()["choices"][0]["text"]
    wide = {"type": "object", "properties": {f"p{i}": PERSON for i in range(400)}}

    def heavy(i):
        schema = {**wide, "title": str(i)}
        body = {"prompt": "x", "max_tokens": 4, "structured_outputs": {"json": schema}}
        return server.post("/v1/completions", body).status_code

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        grammars = [pool.submit(heavy, i) for i in range(8)]
        beside = [pool.submit(server.post, "/v1/completions", free) for _ in range(4)]
        assert all(b.result().json()["choices"][0]["text"] == alone for b in beside)
        assert all(g.result() in (200, 400, 429) for g in grammars)
