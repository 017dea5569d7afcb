#!/usr/bin/env python3
"""What structured output costs: the same load with every answer held to a JSON schema, and with none.

python3 bench/structured_cost.py --url http://127.0.0.1:8000 [--rounds 5] [--out FILE]
Alternates the two within each round; every answer has exactly --output-tokens tokens (the schema asks for
more than they can end). Prints output tokens per second of both and the median ratio. Standard library only.
"""

import argparse
import concurrent.futures
import http.client
import json
import statistics
import time
import urllib.parse

SCHEMA = {
    "type": "array",
    "minItems": 1000,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 60},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "email": {"type": "string", "pattern": "^[a-z]{2,12}@[a-z]{2,12}\\.(com|org)$"},
            "kind": {"enum": ["person", "company", "other"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
        },
        "required": ["name", "age", "email", "kind", "tags"],
        "additionalProperties": False,
    },
}


def one(options, seed, structured):
    body = {
        "prompt": f"List number {seed}: people with name, age, email, kind and tags, as JSON:\n",
        "max_tokens": options.output_tokens,
        "temperature": 0.7,
        "seed": seed,
        "ignore_eos": True,
    }
    if structured:
        body["structured_outputs"] = {"json": SCHEMA}
    connection = http.client.HTTPConnection(urllib.parse.urlparse(options.url).netloc, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    tokens = answer["usage"]["completion_tokens"]
    if tokens != options.output_tokens:
        raise SystemExit(f"an answer had {tokens} tokens: {answer}")


def load(options, seed, structured):
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(options.streams) as pool:
        list(pool.map(lambda i: one(options, seed * 1000 + i, structured), range(options.streams)))
    return options.streams * options.output_tokens / (time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--out")
    options = parser.parse_args()
    for structured in (False, True):
        load(options, 0, structured)  # warm-up: the grammar is compiled here
    samples = {"free": [], "structured": []}
    for r in range(options.rounds):
        for structured in (False, True) if r % 2 == 0 else (True, False):
            rate = load(options, r + 1, structured)
            samples["structured" if structured else "free"].append(round(rate, 1))
    ratio = statistics.median(s / f for s, f in zip(samples["structured"], samples["free"]))
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "streams": options.streams,
        "output_tokens": options.output_tokens,
        "output_tokens_per_s": samples,
        "structured_to_free": round(ratio, 3),
    }
    print(json.dumps(record, indent=1))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


main()
