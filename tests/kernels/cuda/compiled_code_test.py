#!/usr/bin/env python3
"""What the compiler made of the kernels: nothing spilled from registers to memory, and the instructions there
that the kernels were written for. Reads the machine code of each architecture; needs no GPU.

    compiled_code_test.py --cuobjdump PROGRAM LIBRARY
"""

import argparse
import collections
import re
import subprocess
import sys

# Kernels that must have these instructions, on every architecture unless one is named.
CLAIMS = [
    (r"dense_kernel", r"HMMA\.16816\.F32\.BF16", "matrix units in bf16"),
    (r"dense_kernel", r"LDG\.E.*\.128", "loads of 16 bytes"),
    (r"quantised_kernel", r"HMMA\.16816\.F32\.BF16", "matrix units in bf16"),
    (r"quantised_kernel", r"LDG\.E.*\.128", "loads of 16 bytes"),
    (r"fp8_skinny_kernel", r"HMMA\.16816\.F32\.BF16", "matrix units in bf16"),
    (r"fp8_skinny_kernel", r"LDG\.E.*\.128", "loads of 16 bytes"),
    (r"fp8_rows_kernel", r"STG\.E\.128", "stores of 16 bytes"),
    (r"15quantise_kernel", r"LDG\.E\.128", "loads of 16 bytes"),
    (r"reorder_kernel", r"STG\.E\.128", "stores of 16 bytes"),
    (r"tiled_kernel", r"HMMA\.16816\.F32\.BF16", "matrix units in bf16"),
    (r"tiled_kernel", r"LDGSTS\.E\.BYPASS\.128", "asynchronous copies of 16 bytes"),
    (r"tiled_kernel", r"LDSM\.16\.M88\.4", "matrix loads"),
    (r"prefill_kernel", r"HMMA\.16816\.F32", "matrix units"),
    (r"prefill_kernel", r"LDGSTS\.E\..*128", "asynchronous copies of 16 bytes"),
    (r"prefill_kernel", r"LDSM\.16", "matrix loads"),
    (r"decode_kernel", r"HMMA\.16816\.F32", "matrix units"),
    (r"decode_kernel", r"LDGSTS\.E\..*128", "asynchronous copies of 16 bytes"),
    (r"decode_kernel", r"LDSM\.16", "matrix loads"),
    (r"adjust_kernel", r"LDG\.E\.128", "loads of 16 bytes"),
    (r"weigh_kernel", r"LDG\.E\.128", "loads of 16 bytes"),
    (r"copy_kv_kernel", r"STG\.E\.128", "stores of 16 bytes"),
    (r"11norm_kernel", r"LDG\.E\.128", "loads of 16 bytes"),
    (r"gated_activation_kernel", r"STG\.E\.128", "stores of 16 bytes"),
]
# Kernels that may keep something in local memory, and why.
MAY_USE_STACK = {
    r"rope_angles_kernel": "the reduction of large angles has a table",
}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def resources(cuobjdump, library):
    """(architecture, kernel) -> {"REG": …, "STACK": …, "LOCAL": …, "SHARED": …}."""
    found, architecture, kernel = {}, None, None
    for line in output(cuobjdump, "--dump-resource-usage", library).splitlines():
        if match := re.search(r"arch = (sm_\w+)", line):
            architecture = match[1]
        elif match := re.search(r"Function (\S+):", line):
            kernel = match[1]
        elif kernel and "REG:" in line:
            found[architecture, kernel] = {
                k: int(v) for k, v in re.findall(r"([A-Z]+(?:\[\d\])?):(\d+)", line)
            }
            kernel = None
    return found


def instructions(cuobjdump, library):
    """(architecture, kernel) -> the machine code."""
    found, architecture, kernel = collections.defaultdict(list), None, None
    for line in output(cuobjdump, "-sass", library).splitlines():
        if match := re.search(r"arch = (sm_\w+)", line):
            architecture = match[1]
        elif match := re.search(r"Function : (\S+)", line):
            kernel = match[1]
        elif kernel and (match := re.search(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", line)):
            found[architecture, kernel].append(match[1])
    return {key: "\n".join(lines) for key, lines in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuobjdump", required=True)
    parser.add_argument("library")
    arguments = parser.parse_args()
    faults = []
    used = resources(arguments.cuobjdump, arguments.library)
    code = instructions(arguments.cuobjdump, arguments.library)
    architectures = {architecture for architecture, _ in code}
    if not architectures:
        faults.append("there is no machine code in the library")
    for (architecture, kernel), use in used.items():
        if use.get("STACK", 0) + use.get("LOCAL", 0) == 0:
            continue
        if not any(re.search(pattern, kernel) for pattern in MAY_USE_STACK):
            faults.append(f"{architecture} {kernel}: spills or keeps arrays in memory: {use}")
    for pattern, instruction, what in CLAIMS:
        for architecture in sorted(architectures):
            kernels = [
                (k, text) for (a, k), text in code.items() if a == architecture and re.search(pattern, k)
            ]
            if not kernels:
                faults.append(f"{architecture}: no kernel is named {pattern}")
            for kernel, text in kernels:
                if not re.search(instruction, text):
                    faults.append(f"{architecture} {kernel}: no {what} ({instruction})")
    registers = collections.Counter(use["REG"] for use in used.values())
    span = f"registers {min(registers)} to {max(registers)}"
    print(f"{len(used)} kernels for {', '.join(sorted(architectures))}; {span}")
    print("\n".join(faults) or "all as it was written")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
