"""Run tests repeatedly under CPU load, and list those that did not pass every time.

``python tools/stress.py --times 20 --load 6 tests/local`` keeps six processes busy during the runs. Arguments after the
known options go to pytest. The exit status is 1 when any test failed at least once.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET  # reads a report that pytest has just written
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = "while True: pass"


@contextlib.contextmanager
def load(count: int) -> Iterator[None]:
    """Keep `count` processes busy inside the block."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def once(arguments: list[str], report: Path) -> tuple[list[str], list[str]]:
    """Run pytest once; return the names of the tests that passed and of those that did not."""
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    status = subprocess.run(command, check=False, env=dict(os.environ)).returncode
    if status not in {0, 1}:
        sys.exit(status)
    passed, failed = [], []
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = case.find("failure") is not None or case.find("error") is not None
        (failed if bad else passed).append(name)
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="how often (20)")
    parser.add_argument("--load", type=int, default=6, help="busy processes beside the tests (6)")
    options, rest = parser.parse_known_args()
    failures: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, load(options.load):
        for number in range(1, options.times + 1):
            passed, failed = once(rest, Path(folder, "report.xml"))
            seen.update(passed, failed)
            failures.update(failed)
            print(f"== run {number} of {options.times}: {len(passed)} passed, {len(failed)} failed")
    for name, count in failures.most_common():
        print(f"failed {count} of {options.times}: {name}")
    print(f"{len(seen)} tests, {len(seen) - len(failures)} of them passed {options.times} of {options.times} times")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
