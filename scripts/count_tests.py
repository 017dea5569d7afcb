#!/usr/bin/env python3
"""Adds up test results: one line per folder of results, then `N passed, N failed, N skipped`.

A folder holds what one phase of ./test left: ctest.xml or pytest.xml (JUnit), and one GoogleTest JSON per
test program, so that cases are counted and not programs. A program that failed without a failed case (it
crashed, or ran out of time) counts as one failed case; a test that is no GoogleTest program counts as one.

    scripts/count_tests.py FOLDER…
"""

import json
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

PASSED, FAILED, SKIPPED = range(3)


def gtest_cases(path):
    """The counts of one GoogleTest program, and the names of its failed cases."""
    counts, failed = [0, 0, 0], []
    for suite in json.loads(path.read_text())["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("failures"):
                counts[FAILED] += 1
                failed.append(f"{suite['name']}.{case['name']}")
            elif case["result"] == "SKIPPED":
                counts[SKIPPED] += 1
            elif case["result"] == "COMPLETED":
                counts[PASSED] += 1
    return counts, failed


def junit_cases(path):
    """(name, PASSED | FAILED | SKIPPED) of each case of a JUnit file of ctest or pytest."""
    for case in xml.parse(path).iter("testcase"):
        name = case.get("name")
        if case.get("status") == "fail" or any(case.find(tag) is not None for tag in ("failure", "error")):
            yield name, FAILED
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            yield name, SKIPPED
        else:
            yield name, PASSED


def count(folder):
    counts, failed = [0, 0, 0], []
    for junit in ("ctest.xml", "pytest.xml"):
        if not (folder / junit).exists():
            continue
        for name, outcome in junit_cases(folder / junit):
            cases = folder / f"{name}.json"
            if cases.exists():
                inner, names = gtest_cases(cases)
                if outcome == FAILED and inner[FAILED] == 0:
                    inner[FAILED] += 1
                    names.append(name)
                counts = [a + b for a, b in zip(counts, inner)]
                failed += names
            else:
                counts[outcome] += 1
                if outcome == FAILED:
                    failed.append(name)
    return counts, failed


def main():
    total = [0, 0, 0]
    for folder in map(Path, sys.argv[1:]):
        counts, failed = count(folder)
        total = [a + b for a, b in zip(total, counts)]
        passed, wrong, skipped = counts
        print(f"{folder.name:8} {passed:5} passed {wrong:4} failed {skipped:4} skipped")
        for name in failed:
            print(f"{'':8} failed: {name}")
    print(f"{total[PASSED]} passed, {total[FAILED]} failed, {total[SKIPPED]} skipped")
    return 1 if total[FAILED] or not total[PASSED] else 0


if __name__ == "__main__":
    sys.exit(main())
