#!/usr/bin/env python3
"""Writes text/templates/cases.json: what transformers renders from the templates beside it.

Needs: pip install transformers jinja2.  Rerun: python3 tests/golden/make_template_golden.py
The templates are ours, each after the format of a published family (ChatML, Llama 3.1, Qwen3, Mistral v3) and
python_ways.jinja after what templates use of Python. A case has `text`, or `refused`: the words of
raise_exception.
"""

import json
import pathlib

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

FOLDER = pathlib.Path(__file__).parent / "text" / "templates"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def user(content):
    return {"role": "user", "content": content}


def system(content):
    return {"role": "system", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


def call(name, arguments, id="abcdefghi"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in <place> & \"time\", naïvely — 天气",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City, e.g. Zürich"},
                "days": {"type": "integer", "minimum": 1, "default": 3},
                "exact": {"type": "number", "default": 0.5},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "empty": {},
                "none": [],
            },
            "required": ["place"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "Now", "parameters": {"type": "object", "properties": {}}},
}
TALK = [user("Hello, world! "), assistant("  Hi there.\n"), user("What's 1 + 1?\n\n")]
CALLS = [
    system(" Be brief. "),
    user("Weather in Zürich?"),
    assistant(
        "",
        tool_calls=[
            call(
                "get_weather",
                {"place": "Zürich", "days": 2, "exact": 1e-7, "big": 1e20, "yes": True, "no": None},
            )
        ],
    ),
    tool('{"sky": "clear"}', tool_call_id="abcdefghi"),
    assistant("Clear."),
    user("Thanks"),
]
TWO_CALLS = [
    user("Both?"),
    assistant("Yes", tool_calls=[call("clock", {}), call("clock", {"zone": "CET"}, "123456789")]),
    tool("12:00", tool_call_id="abcdefghi"),
    tool("13:00", tool_call_id="123456789"),
]
REASONING = [
    user("2+2?"),
    assistant("<think>\nadd them\n</think>\n\n4"),
    user("and 3+3?"),
    assistant("6", reasoning_content="again\n"),
    tool("x"),
    assistant("<think>still</think>done"),
]
VALUES = {
    "one": 1.0,
    "half": 0.5,
    "big": 1e20,
    "small": 1e-5,
    "tiny": 2.5e-12,
    "million": 1e6,
    "third": 0.1 + 0.2,
    "int": 12345678901234,
    "negative": -3,
    "flag": True,
    "nothing_here": None,
    "list": [3, 1, 2],
    "nested": {"b": 1, "a": [1, {"x": "y"}], "Z": "ü"},
    "text": "naïve ✓ 😀 \"q\" \\ / \u007f \u2028",
    "empty": {},
    "none": [],
}

CASES = []


def add(template, messages, **variables):
    source = (FOLDER / f"{template}.jinja").read_text()
    given = {"messages": messages, **variables}
    case = {"template": template, "variables": json.loads(json.dumps(given))}
    options = dict(variables)
    try:
        rendered, _ = render_jinja_template(
            conversations=[messages],
            chat_template=source,
            tools=options.pop("tools", None),
            documents=options.pop("documents", None),
            add_generation_prompt=options.pop("add_generation_prompt", False),
            continue_final_message=options.pop("continue_final_message", False),
            **TOKENS,
            **options,
        )
        case["text"] = rendered[0]
    except jinja2.exceptions.TemplateError as refusal:
        case["refused"] = str(refusal)
    CASES.append(case)


for template in ("chatml", "llama3_tools", "qwen_tools", "mistral_tools"):
    add(template, TALK, add_generation_prompt=True)
    add(template, TALK)
    add(template, [system("You are 'it'.")] + TALK, add_generation_prompt=True)
    add(template, [user("")])
    add(
        template,
        [user("emoji 😀 e\u0301 中文 \x01 <b>&amp;</b> {{ not }} {% jinja %} \\n")],
        add_generation_prompt=True,
    )
    add(template, TALK[:2], continue_final_message=True)
    add(template, [user("a"), assistant("Sure, here")], continue_final_message=True)
for template in ("llama3_tools", "qwen_tools", "mistral_tools"):
    add(template, CALLS, tools=[WEATHER, CLOCK], add_generation_prompt=True)
    add(template, CALLS, tools=[WEATHER])
    add(template, CALLS)
    add(template, TWO_CALLS, tools=[CLOCK], add_generation_prompt=True)
    add(template, [system("Only me")], tools=[WEATHER])
add("llama3_tools", CALLS, tools=[WEATHER], tools_in_user_message=False, date_string="1 Jan 2026")
add("qwen_tools", REASONING, add_generation_prompt=True)
add("qwen_tools", REASONING, add_generation_prompt=True, enable_thinking=False)
add("qwen_tools", [user("q"), assistant("a", reasoning="because"), user("r"), assistant("b", thinking="so")])
add("mistral_tools", [user("a"), user("b")])
add("mistral_tools", [user("a"), {"role": "critic", "content": "b"}])
add("python_ways", [user("q"), assistant("said")], v=VALUES)
lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in CASES)
(FOLDER / "cases.json").write_text("[\n" + lines + "\n]\n")
print(len(CASES), "cases,", sum("refused" in case for case in CASES), "refused")
