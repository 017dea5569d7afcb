#!/usr/bin/env python3
"""Writes tiny quantised checkpoints of every kind that is served, and what transformers computes with the
weights that they stand for, for tests/models/golden_test.cc to be held against.

Needs: pip install torch transformers safetensors numpy.  Rerun: python3 tests/golden/make_quantised_golden.py
Each folder under quantised/ is a Hugging Face directory with logits.json as make_model_golden.py's. The
weights are random; each is rounded to integers or E4M3 here, packed as the tools of that kind pack it, and
put back into the model as (q - zero) * scale in fp32: what is packed and what is computed share nothing else.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import transformers as tf
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent / "quantised"
CONFIG = dict(
    vocab_size=160,
    hidden_size=64,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
    max_position_embeddings=256,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    tie_word_embeddings=False,
)
PACKED_CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "ignore": ["lm_head"],
    "quantization_status": "compressed",
}


def compressed(weights):
    return PACKED_CONFIG | {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


# name -> (quantization_config, how to quantise)
KINDS = {
    "awq": (
        dict(quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemm"),
        dict(layout="awq", group=32, zeros=True),
    ),
    "gptq": (
        dict(quant_method="gptq", bits=4, group_size=64, sym=False, desc_act=False),
        dict(layout="gptq", group=64, zeros=True, less_one=True),
    ),
    "gptq_v2": (
        dict(quant_method="gptq", bits=4, group_size=-1, sym=False, checkpoint_format="gptq_v2"),
        dict(layout="gptq", group=0, zeros=True),
    ),
    "gptq_order": (
        dict(quant_method="gptq", bits=4, group_size=32, sym=True, desc_act=True, checkpoint_format="gptq"),
        dict(layout="gptq", group=32, zeros=False, less_one=True, shuffled=True),
    ),
    "packed": (
        compressed(dict(num_bits=4, type="int", symmetric=False, strategy="group", group_size=64)),
        dict(layout="packed", group=64, zeros=True),
    ),
    "packed_rows": (
        compressed(dict(num_bits=4, type="int", symmetric=True, strategy="channel", group_size=None)),
        dict(layout="packed", group=0, zeros=False),
    ),
    "f8_tensor": (
        dict(quant_method="fp8", activation_scheme="static"),
        dict(layout="f8", block=None, scales="tensor"),
    ),
    "f8_rows": (
        PACKED_CONFIG
        | dict(format="float-quantized")
        | dict(
            config_groups={
                "group_0": {
                    "targets": ["Linear"],
                    "weights": dict(num_bits=8, type="float", strategy="channel"),
                }
            }
        ),
        dict(layout="f8", block=None, scales="rows"),
    ),
    "f8_blocks": (
        dict(quant_method="fp8", activation_scheme="dynamic", weight_block_size=[32, 128]),
        dict(layout="f8", block=(32, 128), scales="blocks"),
    ),
}
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack_words(values, order):
    """Eight neighbours along the last axis into an int32, the one at order[i] in the i-th nibble."""
    eights = values.reshape(*values.shape[:-1], -1, 8).astype(np.uint32)
    words = np.zeros(eights.shape[:-1], dtype=np.uint32)
    for i, at in enumerate(order):
        words |= eights[..., at] << np.uint32(4 * i)
    return torch.from_numpy(words.view(np.int32).copy())


def int4(weight, base, site, how):
    """The tensors of one weight [out, in], and what they stand for."""
    outputs, inputs = weight.shape
    size = how["group"] or inputs
    groups = inputs // size
    group_of = np.arange(inputs) // size
    if how.get("shuffled"):
        group_of = np.random.default_rng(site).permutation(group_of)
    scales = np.zeros((outputs, groups), dtype=np.float16)
    zeros = np.full((outputs, groups), 8, dtype=np.int64)
    for g in range(groups):
        part = weight[:, group_of == g]
        if how["zeros"]:
            low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
            scales[:, g] = (high - low) / 15
            zeros[:, g] = np.clip(np.round(-low / scales[:, g].astype(np.float32)), 0, 15)
        else:
            scales[:, g] = np.abs(part).max(1) / 7.5
    s = scales.astype(np.float32)[:, group_of]
    q = np.clip(np.round(weight / s) + zeros[:, group_of], 0, 15).astype(np.int64)
    stands_for = (q - zeros[:, group_of]).astype(np.float32) * s
    straight = list(range(8))
    if how["layout"] == "awq":
        tensors = {
            "qweight": pack_words(q.T, AWQ_ORDER),
            "qzeros": pack_words(zeros.T, AWQ_ORDER),
            "scales": torch.from_numpy(scales.T.copy()),
        }
    elif how["layout"] == "gptq":
        stored = (zeros - 1) % 16 if how.get("less_one") else zeros
        tensors = {
            "qweight": pack_words(q, straight).T.contiguous(),
            "qzeros": pack_words(stored.T, straight),
            "scales": torch.from_numpy(scales.T.copy()),
            "g_idx": torch.from_numpy(group_of.astype(np.int32)),
        }
    else:
        tensors = {
            "weight_packed": pack_words(q, straight),
            "weight_scale": torch.from_numpy(scales),
            "weight_shape": torch.tensor([outputs, inputs]),
        }
        if how["zeros"]:
            tensors["weight_zero_point"] = pack_words(zeros.T, straight).T.contiguous()
    return {base + k: v for k, v in tensors.items()}, stands_for


def f8(weight, base, how):
    outputs, inputs = weight.shape
    rows, columns = {"tensor": (outputs, inputs), "rows": (1, inputs), "blocks": how["block"]}[how["scales"]]
    across, down = -(-inputs // columns), -(-outputs // rows)
    scales = np.zeros((down, across), dtype=np.float32)
    full = np.zeros_like(weight)
    for i in range(down):
        for j in range(across):
            at = np.s_[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            scales[i, j] = np.abs(weight[at]).max() / 448
            full[at] = scales[i, j]
    stored = torch.from_numpy(weight / full).to(torch.float8_e4m3fn)
    scale = torch.from_numpy(scales)
    if how["scales"] == "tensor":
        tensors = {"weight_scale": scale[0, 0], "input_scale": torch.tensor(0.1)}
    else:
        tensors = {"weight_scale_inv" if how["scales"] == "blocks" else "weight_scale": scale}
    tensors = {base + k: v for k, v in (tensors | {"weight": stored}).items()}
    return tensors, stored.float().numpy() * full


def write(index, name, quantization_config, how):
    torch.manual_seed(100 + index)
    config = tf.LlamaConfig(**CONFIG)
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config).float()
    tensors = {}
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.2 + (1.0 if "norm" in key else 0.0))
            if "proj" not in key:
                p.copy_(p.half().float())
                tensors[key] = p.half().clone()
                continue
            # The matrices that share an input share its order.
            layer, module = int(key.split(".")[2]), key.split(".")[-2]
            site = 4 * layer + {"o_proj": 1, "gate_proj": 2, "up_proj": 2, "down_proj": 3}.get(module, 0)
            base = key[: -len("weight")]
            made = f8(p.numpy(), base, how) if how["layout"] == "f8" else int4(p.numpy(), base, site, how)
            tensors |= made[0]
            p.copy_(torch.from_numpy(made[1]))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    written = config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    written["quantization_config"] = quantization_config
    (folder / "config.json").write_text(json.dumps(written, indent=1))
    ids = torch.randint(3, CONFIG["vocab_size"], (1, 20))
    with torch.no_grad():
        logits = model.eval()(ids).logits[0]
    (folder / "logits.json").write_text(
        json.dumps(
            {
                "made_by": f"transformers {tf.__version__}",
                "ids": ids[0].tolist(),
                "logits": [[round(x, 5) for x in row] for row in logits.tolist()],
            }
        )
    )
    print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


for number, kind in enumerate(KINDS.items()):
    write(number, kind[0], *kind[1])
