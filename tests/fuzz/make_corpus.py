#!/usr/bin/env python3
"""Writes the seed corpus of the model readers' fuzz targets: small valid files, and each of them with one
number of its structure replaced by 0, 1, the largest value and the one below it.

Rerun: python3 tests/fuzz/make_corpus.py"""
import json
import pathlib
import shutil
import struct

HERE = pathlib.Path(__file__).parent / "corpus"
U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9


class Writer:
    """Bytes, and where the numbers lie that tell a reader how to go on."""

    def __init__(self):
        self.out, self.fields = bytearray(), []

    def number(self, form, value, name=None):
        if name:
            self.fields.append((len(self.out), form, name))
        self.out += struct.pack("<" + form, value)

    def text(self, text, name=None):
        self.number("Q", len(text), name)
        self.out += text


def gguf(version, mark):
    """A Llama of one layer in few bytes; `mark`: which numbers are fields."""
    w = Writer()
    w.out += b"GGUF"
    keys = [("general.architecture", STRING, b"llama"), ("llama.block_count", U32, 1),
            ("llama.embedding_length", U32, 4), ("llama.feed_forward_length", U32, 4),
            ("llama.context_length", U32, 8), ("llama.attention.head_count", U32, 1),
            ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), ("general.alignment", U32, 8),
            ("tokenizer.ggml.model", STRING, b"gpt2"), ("tokenizer.ggml.tokens", ARRAY, [b"a", b"b"]),
            ("tokenizer.ggml.add_bos_token", BOOL, 1), ("tokenizer.ggml.eos_token_id", U32, 1)]
    tensors = [("token_embd.weight", 0, (4, 2), bytes(32)), ("output_norm.weight", 0, (4,), bytes(16)),
               ("blk.0.ffn_up.weight", 3, (32, 1), bytes(24))]
    w.number("I", version, "version")
    w.number("Q", len(tensors), "tensors")
    w.number("Q", len(keys), "keys")
    for i, (key, kind, value) in enumerate(keys):
        named = key.split(".")[-1] if key in mark else None
        w.text(key.encode(), f"{named}_key" if named else None)
        w.number("I", kind, f"{named}_type" if named else None)
        if kind == STRING:
            w.text(value, named)
        elif kind == ARRAY:
            w.number("I", STRING, f"{named}_element" if named else None)
            w.number("Q", len(value), f"{named}_count" if named else None)
            for text in value:
                w.text(text, f"{named}_length" if named and text is value[-1] else None)
        else:
            w.number({U32: "I", F32: "f", BOOL: "B"}[kind], value, named if kind == U32 else None)
    offset = 0
    for name, kind, shape, data in tensors:
        named = name.split(".")[-2] if name in mark else None
        w.text(name.encode(), f"{named}_name" if named else None)
        w.number("I", len(shape), f"{named}_dimensions" if named else None)
        for d, extent in enumerate(shape):
            w.number("Q", extent, f"{named}_extent{d}" if named else None)
        w.number("I", kind, f"{named}_type" if named else None)
        w.number("Q", offset, f"{named}_offset" if named else None)
        offset += len(data)
    w.out += bytes(-len(w.out) % 8)
    for *_, data in tensors:
        w.out += data
    return w


def write_gguf():
    folder = HERE / "gguf"
    (folder).mkdir(parents=True)
    (folder / "v2").write_bytes(gguf(2, ()).out)
    marks = ("general.architecture", "llama.block_count", "llama.embedding_length",
             "llama.attention.head_count", "general.alignment", "tokenizer.ggml.tokens",
             "tokenizer.ggml.eos_token_id", "token_embd.weight")
    good = gguf(3, marks)
    (folder / "v3").write_bytes(good.out)
    for place, form, name in good.fields:
        most = 2 ** (8 * struct.calcsize(form)) - 1
        for label, value in (("0", 0), ("1", 1), ("max", most), ("max1", most - 1)):
            changed = bytearray(good.out)
            struct.pack_into("<" + form, changed, place, value)
            if changed != good.out:
                (folder / f"{name}_{label}").write_bytes(changed)


def write_safetensors():
    folder = HERE / "safetensors"
    folder.mkdir(parents=True)

    def file(header, data=bytes(48), length=None):
        text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    def header(**changes):
        entry = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
        entry.update(changes)
        other = {"dtype": "BF16", "shape": [8], "data_offsets": [32, 48]}
        return {"__metadata__": {"format": "pt"}, "a": entry, "b": other}

    most = 2 ** 64 - 1
    (folder / "good").write_bytes(file(header()))
    for label, value in (("0", 0), ("1", 1), ("max", most), ("max1", most - 1)):
        (folder / f"length_{label}").write_bytes(file(header(), length=value))
        (folder / f"begin_{label}").write_bytes(file(header(data_offsets=[value, 32])))
        (folder / f"end_{label}").write_bytes(file(header(data_offsets=[0, value])))
        (folder / f"rows_{label}").write_bytes(file(header(shape=[value, 4])))
        (folder / f"columns_{label}").write_bytes(file(header(shape=[2, value])))
    for kind in ("F16", "I64", "F8_E4M3", "", 7):
        (folder / f"dtype_{kind}").write_bytes(file(header(dtype=kind)))
    (folder / "deep").write_bytes(file(b"[" * 500))
    (folder / "twice").write_bytes(file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}'))
    (folder / "index").write_bytes(b'{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}')
    (folder / "index_out").write_bytes(b'{"weight_map":{"a":"../model-1.safetensors"}}')


def write_model_config():
    folder = HERE / "model_config"
    folder.mkdir(parents=True)
    base = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 320,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "eos_token_id": 2}
    generation = {"eos_token_id": [2, 3], "temperature": 0.7, "top_k": 20}
    tokenizer = {"eos_token": {"content": "</s>"}, "added_tokens_decoder": {"2": {"content": "</s>"}},
                 "chat_template": [{"name": "default", "template": "x"}]}
    special = {"bos_token": "<s>"}

    def write(name, config, *others):
        parts = (config, *(others or (generation, tokenizer, special)))
        (folder / name).write_bytes(b"\x1e".join(json.dumps(part).encode() for part in parts))

    write("llama", base)
    write("mistral", base | {"architectures": ["MistralForCausalLM"], "sliding_window": 128})
    window = {"use_sliding_window": True, "sliding_window": 128, "max_window_layers": 0}
    write("qwen2", base | {"architectures": ["Qwen2ForCausalLM"]} | window)
    layers = {"layer_types": ["full_attention"] * 2}
    write("qwen3", base | {"architectures": ["Qwen3ForCausalLM"], "head_dim": 16} | layers)
    llama3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 256}
    write("llama3", base | {"rope_scaling": llama3})
    yarn = {"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5}
    write("yarn", base | {"rope_parameters": yarn})
    write("linear", base | {"rope_scaling": {"type": "linear", "factor": 2.0}})
    write("quantised", base | {"quantization_config": {"quant_method": "gptq"}})
    for key, value in base.items():
        if isinstance(value, int):
            for label, number in (("0", 0), ("1", 1), ("max", 2 ** 31 - 1), ("over", 2 ** 64), ("below", -1)):
                write(f"{key}_{label}", base | {key: number}, {}, {}, {})


if __name__ == "__main__":
    for part in ("gguf", "safetensors", "model_config"):
        shutil.rmtree(HERE / part, ignore_errors=True)
    write_gguf()
    write_safetensors()
    write_model_config()
    files = [f for f in HERE.rglob("*") if f.is_file()]
    print(len(files), "files,", sum(f.stat().st_size for f in files), "bytes")
