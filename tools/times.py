"""A pytest plugin that records the time of each test, and a script that prints the table of times by folder.

Record with ``pytest -p tools.times`` (``MLPORT_TEST_TIMES`` names the file to append to), then run
``python tools/times.py FILE``. Each phase (setup, call, teardown) of each test is one line of JSON with its wall
seconds and the CPU seconds of the worker and of the children that it has waited for. The difference is idle time:
waiting for timers, sockets and processes that are still running.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

import pytest

STARTED = time.perf_counter()


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


class Recorder:
    """A plugin that appends one line per phase to a file that all workers share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, nodeid: str, phase: str, wall: float, cpu: float) -> None:
        line = json.dumps({"test": nodeid, "phase": phase, "wall": round(wall, 4), "cpu": round(cpu, 4)})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _phase(self, nodeid: str, phase: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu()
        try:
            return (yield)
        finally:
            self.write(nodeid, phase, time.perf_counter() - wall, _cpu() - cpu)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._phase(item.nodeid, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._phase(item.nodeid, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._phase(item.nodeid, "teardown"))

    def pytest_collection_finish(self) -> None:
        self.write("(imports and collection)", "collect", time.perf_counter() - STARTED, _cpu())


def pytest_configure(config: pytest.Config) -> None:
    """Register the recorder in the workers, or in the only process if there are no workers."""
    path = os.environ.get("MLPORT_TEST_TIMES")
    runs_tests = not config.getoption("numprocesses", None) or hasattr(config, "workerinput")
    if path and runs_tests:
        config.pluginmanager.register(Recorder(Path(path).resolve()), "mlport-test-times")


def _folder(nodeid: str) -> str:
    file = nodeid.split("::", maxsplit=1)[0]
    parts = file.split("/")
    return file if parts[0] == "contract_tests" else "/".join(parts[:2])


def table(lines: list[dict[str, Any]]) -> str:
    """Return wall, CPU and idle seconds by folder, the most expensive first."""
    sums: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for line in lines:
        for folder in (_folder(line["test"]), "all"):
            sums[folder]["wall"] += line["wall"]
            sums[folder]["cpu"] += line["cpu"]
            sums[folder]["tests"] += line["phase"] == "call"
    rows = [f"{'folder':44} {'tests':>6} {'wall s':>8} {'CPU s':>8} {'idle s':>8}"]
    for folder, got in sorted(sums.items(), key=lambda item: -item[1]["wall"]):
        idle = max(0.0, got["wall"] - got["cpu"])
        rows.append(f"{folder:44} {got['tests']:6} {got['wall']:8.1f} {got['cpu']:8.1f} {idle:8.1f}")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]))
