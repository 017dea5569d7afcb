#!/usr/bin/env python3
"""Plants one violation of each tidy rule in a small clean tree and looks that tidy finds it, and only it."""

import tempfile
import unittest
from pathlib import Path

import tidy

CLEAN = {
    "base/result.h": "// Results.\n#pragma once\n",
    "kernels/backend.h": '// The contract.\n#pragma once\n#include "base/result.h"\n',
    "kernels/cpu/matmul.h": '// Products.\n#pragma once\n#include "kernels/backend.h"\n',
    "kernels/make_backend.cc": '#include "kernels/cpu/matmul.h"\n',
    "models/model.h": '// A model.\n#pragma once\n#include "kernels/backend.h"\n',
    "models/repository.h": "// Where models come from.\n#pragma once\n",
    "engine/request.h": '// Requests.\n#pragma once\n#include "kernels/backend.h"\n',
    "engine/scheduler.cc": '#include "engine/request.h"\nint plan() { return 0; }\n',
    "server/net/session.h": "// A connection.\n#pragma once\n#include <boost/asio.hpp>\n",
    "server/net/fetch.cc": '#include "models/repository.h"\n',
    "server/wire/chat.h": '// JSON.\n#pragma once\n#include <nlohmann/json.hpp>\n',
    "server/text/tokenizer.cc": '#include "server/text/text_ffi.h"\n#include "models/model.h"\n',
    "server/text/text_ffi.h": "// The Rust crate.\n#pragma once\n",
    "server/metrics.cc": "#include <prometheus/registry.h>\n",
    "server/main.cc": '#include "server/net/session.h"\nauto home = std::getenv("HOME");\n',
    "tests/engine/scheduler_test.cc": '#include "kernels/cpu/matmul.h"\n',
}


class TidyFinds(unittest.TestCase):
    def findings(self, **planted):
        """Tidy's findings over the clean tree with files replaced: {path: text}."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in (CLEAN | planted.get("files", {})).items():
                Path(root, path).parent.mkdir(parents=True, exist_ok=True)
                Path(root, path).write_text(text)
            return tidy.Tidy(root).run()

    def expect(self, rule, path, text):
        """One finding of RULE in the planted file; an arrow up may close a circle as well."""
        found = [f for f in self.findings(files={path: text}) if rule != "floors" or ": circle: " not in f]
        self.assertEqual([(path, rule)], [(f.split(":")[0], f.split(": ")[1]) for f in found], found)

    def test_a_clean_tree_has_no_findings(self):
        self.assertEqual([], self.findings())

    def test_an_arrow_up(self):
        self.expect("floors", "kernels/embed.cc", '#include "models/model.h"\n')
        self.expect("floors", "models/llama.cc", '#include "engine/request.h"\n')
        self.expect("floors", "engine/loop.cc", '#include "server/net/session.h"\n')
        self.expect("floors", "base/hash.cc", '#include "kernels/backend.h"\n')

    def test_the_router_reaching_the_engine(self):
        self.expect("floors", "router/main.cc", '#include "engine/request.h"\n')
        self.assertEqual([], self.findings(files={"router/proxy.cc": '#include "server/net/session.h"\n'}))

    def test_the_routers_core_reaching_the_world(self):
        self.expect("rooms", "router/core/fleet.cc", '#include "server/net/session.h"\n')
        self.expect("purity", "router/core/fleet.cc", "#include <boost/asio.hpp>\n")
        self.expect("purity", "router/core/fleet.cc", "auto t = std::chrono::steady_clock::now();\n")

    def test_models_reaching_one_device(self):
        self.expect("floors", "models/llama.cc", '#include "kernels/cpu/matmul.h"\n')

    def test_a_look_at_the_tests(self):
        self.expect("floors", "engine/loop.cc", '#include "tests/engine/scheduler_test.cc"\n')

    def test_model_words_in_net(self):
        self.expect("rooms", "server/net/session.cc", '#include "models/model.h"\n')
        self.expect("rooms", "server/net/session.cc", '#include "server/wire/chat.h"\n')

    def test_kernels_in_the_scheduler(self):
        self.expect("rooms", "engine/scheduler.cc", '#include "kernels/backend.h"\n')
        self.expect("rooms", "engine/prefix_cache.cc", '#include "kernels/backend.h"\n')

    def test_a_clock_in_the_scheduler(self):
        self.expect("purity", "engine/scheduler.cc", "auto t = Clock::now();\n")

    def test_a_dependency_beside_its_door(self):
        self.expect("door", "server/api/chat.cc", "#include <boost/beast/http.hpp>\n")
        self.expect("door", "engine/loop.cc", "#include <nlohmann/json.hpp>\n")
        self.expect("door", "server/api/chat.cc", "#include <prometheus/counter.h>\n")
        self.expect("door", "server/api/chat.cc", '#include "server/text/text_ffi.h"\n')
        self.expect("door", "models/llama.cc", "#include <cuda_runtime.h>\n")
        self.expect("door", "engine/loop.cc", "#include <spdlog/spdlog.h>\n")

    def test_a_long_line(self):
        self.expect("line-length", "base/hash.cc", "int x;  // " + "y" * 100 + "\n")
        self.expect("line-length", "scripts/setup.sh", "# " + "y" * 110 + "\n")

    def test_a_retired_word(self):
        self.expect("retired-word", "engine/loop.cc", "class BlockManager {\n")
        self.expect("retired-word", "engine/loop.cc", "struct StepContext final : Step {\n")
        self.expect("retired-word", "engine/loop.cc", "using RouteHandler = int;\n")
        self.expect("retired-word", "engine/string_utils.cc", "int x;\n")
        harmless = "struct Database {\n// class Manager {\n"
        self.assertEqual([], self.findings(files={"engine/loop.cc": harmless}))

    def test_a_file_with_two_stories(self):
        self.expect("file-size", "engine/loop.cc", "int x;\n" * 801)
        self.assertEqual([], self.findings(files={"engine/loop.cc": "int x;\n" * 501}))

    def test_a_header_without_pragma_or_comment(self):
        self.expect("pragma-once", "engine/loop.h", "// The loop.\n")
        self.expect("top-comment", "engine/loop.h", "#pragma once\n")
        textual = "// Loops. Included last by isa_*.cc.\n"
        self.assertEqual([], self.findings(files={"kernels/cpu/loops.h": textual}))

    def test_getenv_below_main(self):
        self.expect("getenv", "server/options.cc", 'auto home = std::getenv("HOME");\n')
        self.assertEqual([], self.findings(files={"server/options.cc": "// getenv(x) is for main\n"}))

    def test_circles(self):
        files = {
            "engine/a.h": '// A.\n#pragma once\n#include "engine/b.h"\n',
            "engine/b.h": '// B.\n#pragma once\n#include "engine/a.h"\n',
        }
        self.assertEqual(["engine/a.h:1: circle: files include one another: engine/a.h, engine/b.h"],
                         self.findings(files=files))
        files = {
            "server/api/a.h": '// A.\n#pragma once\n#include "server/console/c.h"\n',
            "server/api/b.h": "// B.\n#pragma once\n",
            "server/console/c.h": "// C.\n#pragma once\n",
            "server/console/d.h": '// D.\n#pragma once\n#include "server/api/b.h"\n',
        }
        self.assertEqual(["server/api:1: circle: folders include one another: server/api, server/console"],
                         self.findings(files=files))

    def test_a_relative_include(self):
        self.expect("include-path", "engine/loop.cc", '#include "../base/result.h"\n')
        self.expect("include-path", "engine/loop.cc", '#include "request.h"\n')


if __name__ == "__main__":
    unittest.main()
