#!/usr/bin/env python3
"""Keeps the style that a machine can keep: floors, doors, line length, names, file sizes.

The rules are the tables below; ARCHITECTURE.md says why they are as they are. Reads the source tree it is
given and changes nothing. One line per finding, `path:line: rule: sentence`; exit status 1 when there is one.

    tests/tidy/tidy.py [ROOT]
"""

import os
import re
import sys
from pathlib import Path

COLUMN_LIMIT = 110
LINES_WARN = 500
LINES_FAIL = 800

# Floors from the ground up: what each folder at the root may include. tests and bench look everywhere.
FLOORS = {
    "base": [],
    "kernels": ["base"],
    "models": ["base", "kernels"],
    "engine": ["base", "kernels", "models"],
    "server": ["base", "kernels", "models", "engine"],
    "router": ["base", "server/net", "server/wire", "server/scaling"],
    "deploy": ["base", "server/net", "server/wire", "server/scaling", "router/io"],
}
EVERYWHERE = ["tests", "bench"]

# Rooms within a floor that see less than their floor does: (who, what they may not include, why).
ROOMS = [
    ("kernels/reference/", ["kernels/cpu/", "kernels/cuda/"], "the oracle stands alone"),
    ("kernels/cpu/", ["kernels/cuda/"], "devices do not know one another"),
    ("kernels/cuda/", ["kernels/cpu/"], "devices do not know one another"),
    ("server/net/", ["kernels/", "models/", "engine/", "server/wire/", "server/text/", "server/api/"],
     "HTTP knows no model word"),
    ("server/wire/", ["models/", "server/parsers/", "server/text/", "server/api/"],
     "JSON to structs and back, nothing else"),
    ("server/scaling/",
     ["kernels/", "models/", "engine/", "server/net/", "server/wire/", "server/text/", "server/api/"],
     "what load asks for is arithmetic"),
    ("server/text/", ["engine/", "server/net/", "server/wire/", "server/api/"],
     "text knows no HTTP and no engine"),
    ("server/parsers/",
     ["kernels/", "models/", "engine/", "server/net/", "server/wire/", "server/text/", "server/api/"],
     "parsers know text and nothing else"),
    ("router/core/", ["server/", "router/io/"], "the router's decisions know no socket and no wire"),
    ("engine/scheduler.", ["kernels/", "models/"], "the scheduler is pure"),
    ("engine/block_pool.", ["kernels/", "models/"], "the block pool is pure"),
    ("engine/prefix_cache.", ["kernels/", "models/"], "the prefix cache is pure"),
]
# Declared exceptions to ROOMS: (who, what), each with its reason.
ROOM_EXCEPTIONS = {
    # The repository owns the Fetcher interface that the HTTP client implements: so models stay free of HTTP.
    ("server/net/", "models/repository.h"),
}

# Each dependency has one door: (include pattern, who may, what it is).
DOORS = [
    (r"boost/(asio|beast)", ["server/net/", "router/", "bench/", "tests/"], "Asio and Beast"),
    (r"openssl/", ["server/net/", "router/", "models/checksum.", "tests/"], "OpenSSL"),
    (r"nlohmann/",
     ["server/wire/", "server/scaling/", "server/options", "server/text/", "models/", "router/", "bench/",
      "tests/"],
     "nlohmann JSON"),
    (r"prometheus/", ["server/metrics", "router/metrics", "tests/"], "prometheus-cpp"),
    (r"(server/text/)?text_ffi\.h", ["server/text/", "tests/server/text/"], "the Rust crate"),
    (r"(grpc|google/protobuf)", ["router/keda/"], "gRPC"),
    (r"spdlog/", ["base/log."], "spdlog"),
    (r"CLI/", ["server/options", "router/io/options", "bench/", "deploy/"], "CLI11"),
    (r"cuda|cublas|nccl|nvtx", ["kernels/cuda/"], "CUDA"),
]

PURE = re.compile(r"^(engine/(scheduler|block_pool|prefix_cache)\.|router/core/)")
RETIRED = {"Manager", "Handler", "Helper", "Util", "Impl", "Data", "Info", "Context", "Base"}
RETIRED_FILE = re.compile(r"(^|_)(manager|handler|helper|util|impl|data|info|context|base)s?$")

CPP = {".h", ".cc", ".cu", ".cuh"}
LONG_LINES = CPP | {".py", ".rs", ".sh", ".cmake", ".go", ".mjs"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CLASS = re.compile(r"\b(?:class|struct|union|enum(?:\s+(?:class|struct))?)\s+(?:\[\[[^\]]*\]\]\s*)?"
                   r"([A-Z]\w*)\s*(?:final\s*)?(?::(?!:)|\{|$)")
ALIAS = re.compile(r"\busing\s+([A-Z]\w*)\s*=")
ENVIRONMENT = re.compile(r"\b(secure_)?getenv\s*\(")
NOW = re.compile(r"::now\s*\(")


def source_files(root):
    """Paths below ROOT that are ours: not build trees, not dot folders."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(d for d in subfolders if not d.startswith((".", "build")) and d not in
                               ("target", "__pycache__", "corpus", "venv"))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in LONG_LINES or name in ("CMakeLists.txt", "run", "test"):
                yield path.relative_to(root).as_posix()


def code_only(line, in_comment):
    """LINE without comments and string contents; and whether a /* comment goes on."""
    out, i = [], 0
    while i < len(line):
        if in_comment:
            end = line.find("*/", i)
            if end < 0:
                return "".join(out), True
            i, in_comment = end + 2, False
        elif line.startswith("//", i):
            break
        elif line.startswith("/*", i):
            i, in_comment = i + 2, True
        elif line[i] == '"':
            end = i + 1
            while end < len(line) and line[end] != '"':
                end += 2 if line[end] == "\\" else 1
            out.append('""')
            i = end + 1
        else:
            out.append(line[i])
            i += 1
    return "".join(out), in_comment


def starts_with_any(path, prefixes):
    return any(path.startswith(p) for p in prefixes)


class Tidy:
    def __init__(self, root):
        self.root = Path(root)
        self.findings = []
        self.warnings = []
        self.includes = {}  # file -> [(line, target)], targets within the tree only

    def find(self, path, line, rule, sentence):
        self.findings.append(f"{path}:{line}: {rule}: {sentence}")

    def run(self):
        for path in source_files(self.root):
            text = (self.root / path).read_text(encoding="utf-8", errors="replace")
            lines = text.splitlines()
            self.check_lines(path, lines)
            if Path(path).suffix in CPP:
                self.check_cpp(path, lines)
        self.check_circles()
        return self.findings

    def check_lines(self, path, lines):
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMN_LIMIT and "http" not in line:
                self.find(path, number, "line-length", f"{len(line)} columns; the limit is {COLUMN_LIMIT}")
        if len(lines) > LINES_FAIL:
            self.find(path, len(lines), "file-size",
                      f"{len(lines)} lines; past {LINES_FAIL} a file tells two stories: part them by subject")
        elif len(lines) > LINES_WARN:
            self.warnings.append(f"{path}: {len(lines)} lines; past {LINES_WARN} it may tell two stories")

    def check_cpp(self, path, lines):
        floor = path.split("/")[0]
        if path.endswith((".h", ".cuh")):
            if not lines or not lines[0].startswith(("//", "/*")):
                self.find(path, 1, "top-comment",
                          "a header begins with what it owns and what it leaves out")
            # A header whose top comment says who includes it is text for several places.
            textual = any(re.search(r"\bIncluded\b.* by\b", line) for line in lines[:3])
            if not textual and not any(re.match(r"#pragma once\b", line) for line in lines):
                self.find(path, 1, "pragma-once", "a header has #pragma once")
        if RETIRED_FILE.search(Path(path).stem) and floor not in EVERYWHERE:
            self.find(path, 1, "retired-word", f"the name '{Path(path).name}' hides the file's subject")
        self.includes[path] = []
        in_comment = False
        for number, line in enumerate(lines, 1):
            include = INCLUDE.match(line) if not in_comment else None
            code, in_comment = code_only(line, in_comment)
            if include:
                self.check_include(path, number, include.group(1), include.group(2))
                continue
            for match in list(CLASS.finditer(code)) + list(ALIAS.finditer(code)):
                last = re.findall(r"[A-Z][a-z0-9]*", match.group(1))[-1]
                if last.rstrip("s") in RETIRED or last in RETIRED:
                    self.find(path, number, "retired-word", f"'{match.group(1)}': '{last}' hides what it is")
            if ENVIRONMENT.search(code) and floor not in EVERYWHERE and Path(path).name != "main.cc":
                self.find(path, number, "getenv",
                          "the environment is read in main.cc alone; pass the value down")
            if PURE.match(path) and NOW.search(code):
                self.find(path, number, "purity", "no clock in here; time comes in as an argument")

    def check_include(self, path, number, kind, target):
        floor = path.split("/")[0]
        for pattern, allowed, what in DOORS:
            if re.match(pattern, target) and not starts_with_any(path, allowed):
                self.find(path, number, "door", f"{what} ({target}) belongs behind {', '.join(allowed)}")
        if kind == "<":
            if path.startswith("router/core/") and "/" in target:
                self.find(path, number, "purity", f"{target}: the router's core stands on the language alone")
            return
        if ".." in target.split("/"):
            self.find(path, number, "include-path", f"'{target}': write includes from the root")
            return
        if not (self.root / target).exists():
            if (self.root / path).parent.joinpath(target).exists():
                self.find(path, number, "include-path", f"'{target}': write includes from the root")
            return  # else generated or a system header in quotes
        self.includes[path].append((number, target))
        if floor in EVERYWHERE or floor not in FLOORS:
            return
        to = target.split("/")[0]
        if to in EVERYWHERE:
            self.find(path, number, "floors", f"{target}: nobody looks at {to}/")
        elif to != floor and not starts_with_any(target, [f"{d}/" for d in FLOORS[floor]]):
            self.find(path, number, "floors", f"{floor} may not include {target}: arrows only go down")
        elif to != floor and to == "kernels" and target.count("/") > 1:
            self.find(path, number, "floors", f"{target}: above kernels/ nobody sees one device")
        for who, forbidden, why in ROOMS:
            if path.startswith(who) and starts_with_any(target, forbidden) and not any(
                    path.startswith(w) and target == t for w, t in ROOM_EXCEPTIONS):
                self.find(path, number, "rooms", f"{who}* may not include {target}: {why}")

    def check_circles(self):
        files = {path: [t for _, t in targets] for path, targets in self.includes.items()}
        for circle in circles(files):
            self.find(circle[0], 1, "circle", "files include one another: " + ", ".join(circle))
        folders = {}
        for path, targets in files.items():
            here = os.path.dirname(path)
            for target in targets:
                there = os.path.dirname(target)
                # A folder and its parent are one house: kernels/make_backend.cc opens kernels/cpu, and that
                # stands on kernels/.
                if not f"{here}/".startswith(f"{there}/") and not f"{there}/".startswith(f"{here}/"):
                    folders.setdefault(here, set()).add(there)
        for circle in circles({k: sorted(v) for k, v in folders.items()}):
            self.find(circle[0], 1, "circle", "folders include one another: " + ", ".join(circle))


def circles(graph):
    """The strongly connected parts of GRAPH that hold a circle (Tarjan, 1972)."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for to in graph.get(node, []):
            if to not in index:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in on_stack:
                low[node] = min(low[node], index[to])
        if low[node] == index[node]:
            part = []
            while True:
                part.append(stack.pop())
                on_stack.discard(part[-1])
                if part[-1] == node:
                    break
            if len(part) > 1 or node in graph.get(node, []):
                found.append(sorted(part))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    tidy = Tidy(root)
    findings = tidy.run()
    for warning in tidy.warnings:
        print(f"note: {warning}")
    for finding in findings:
        print(finding)
    print(f"{len(tidy.includes)} C++ files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
