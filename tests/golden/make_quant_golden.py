#!/usr/bin/env python3
"""Writes quant_blocks.bin: random blocks of every quantised GGUF format, their values by the gguf package.

Needs: pip install gguf numpy.  Rerun: python3 tests/golden/make_quant_golden.py
File, per format: u32 name length, name, u32 blocks, u32 block bytes, u32 block weights, bytes, f32 values.
"""

import pathlib
import struct

import gguf
import numpy as np

# Format -> byte offsets of its f16 fields, which must stay finite.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
BLOCKS = 3

rng = np.random.default_rng(7)
out = bytearray()
for name, halves in HALVES.items():
    kind = gguf.GGMLQuantizationType[name]
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for offset in halves:
        scale = rng.uniform(-0.1, 0.1, BLOCKS).astype(np.float16)
        blocks[:, offset : offset + 2] = scale.view(np.uint8).reshape(BLOCKS, 2)
    values = gguf.quants.dequantize(blocks, kind).astype(np.float32)
    assert values.shape == (BLOCKS, weights), (name, values.shape)
    out += struct.pack("<I", len(name)) + name.encode() + struct.pack("<III", BLOCKS, size, weights)
    out += blocks.tobytes() + values.tobytes()
path = pathlib.Path(__file__).with_name("quant_blocks.bin")
path.write_bytes(out)
print(f"{path.name}: {len(out)} bytes")
