#!/usr/bin/env python3
"""Writes what transformers computes, for tests/models/golden_test.cc to be held against.

Needs: pip install torch transformers safetensors numpy gguf.  Rerun:
  python3 tests/golden/make_model_golden.py                  # tiny random models: tests/golden/models/*
  python3 tests/golden/make_model_golden.py --smollm2 FILE   # and smollm2.json, from the default GGUF
Each folder under models/ is a Hugging Face directory as save_pretrained writes it, plus logits.json: token
ids and the logits of every position, fp32, and hidden.json: the last final hidden state and the mean of
all. smollm2.json holds, for every position of a few prompts, the 32
largest logits and log(sum(exp)).
"""

import argparse
import json
import pathlib
import shutil

import torch
import transformers as tf

HERE = pathlib.Path(__file__).parent
COMMON = dict(
    vocab_size=160,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    rope_theta=500000.0,
    original_max_position_embeddings=32,
)
YARN_ROPE = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, rope_theta=10000.0)
# name -> (config, dtype of the saved weights)
TINY = {
    "llama": (tf.LlamaConfig(**COMMON, tie_word_embeddings=False), torch.float32),
    "llama3": (
        tf.LlamaConfig(**COMMON, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE, head_dim=16),
        torch.bfloat16,
    ),
    "mistral": (
        tf.MistralConfig(**COMMON, tie_word_embeddings=False, sliding_window=8, head_dim=8),
        torch.float16,
    ),
    "qwen2": (tf.Qwen2Config(**COMMON, tie_word_embeddings=True), torch.bfloat16),
    "qwen3": (
        tf.Qwen3Config(**COMMON, tie_word_embeddings=True, head_dim=16, rope_parameters=YARN_ROPE),
        torch.float32,
    ),
}
PROMPTS = [
    "The capital of France is Paris, and the capital of Italy is",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\nGravity is the force",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
]


def tiny(name):
    config, dtype = TINY[name]
    torch.manual_seed(sorted(TINY).index(name))
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():  # the usual initialisation is so small that attention hardly matters
        for key, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.2) + (1.0 if "norm" in key else 0.0))
    folder = HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size="60KB" if name == "llama" else "1GB")
    # Read back, so that buffers which are not weights (rope frequencies) are not rounded to the file's type.
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ids = torch.randint(3, COMMON["vocab_size"], (1, 40))
    with torch.no_grad():
        answer = model.eval()(ids, output_hidden_states=True)
        logits, hidden = answer.logits[0], answer.hidden_states[-1][0]
    pooled = {"last": hidden[-1], "mean": hidden.mean(0)}
    (folder / "hidden.json").write_text(
        json.dumps({k: [round(x, 6) for x in v.tolist()] for k, v in pooled.items()})
    )
    (folder / "logits.json").write_text(
        json.dumps(
            {
                "made_by": f"transformers {tf.__version__}",
                "ids": ids[0].tolist(),
                "logits": [[round(x, 5) for x in row] for row in logits.tolist()],
            }
        )
    )
    print(
        name,
        sum(f.stat().st_size for f in folder.iterdir()),
        "bytes",
        config.to_dict().get("rope_parameters"),
    )


def smollm2(path):
    path = pathlib.Path(path)
    load = dict(gguf_file=path.name)
    tokenizer = tf.AutoTokenizer.from_pretrained(path.parent, **load)
    model = tf.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **load).eval()
    out = {"made_by": f"transformers {tf.__version__}", "prompts": []}
    for text in PROMPTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        top = logits.topk(32)
        out["prompts"].append(
            {
                "text": text,
                "ids": ids,
                "log_sum_exp": [round(x, 4) for x in logits.logsumexp(-1).tolist()],
                "top_ids": top.indices.tolist(),
                "top_logits": [[round(x, 4) for x in r] for r in top.values.tolist()],
            }
        )
    (HERE / "smollm2.json").write_text(json.dumps(out))


parser = argparse.ArgumentParser()
parser.add_argument("--smollm2", metavar="FILE", help="the default model's GGUF")
arguments = parser.parse_args()
for tiny_name in TINY:
    tiny(tiny_name)
if arguments.smollm2:
    smollm2(arguments.smollm2)
