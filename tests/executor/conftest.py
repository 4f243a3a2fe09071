"""Counts of what was tried, printed at the end so that they can be quoted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNTS: pytest.StashKey[Counter[str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Counter[str]:
    """How many runs of each sort were made."""
    counts: Counter[str] = Counter()
    pytestconfig.stash[_COUNTS] = counts
    return counts


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    counts = terminalreporter.config.stash.get(_COUNTS, None)
    if counts:
        terminalreporter.section("kill matrix")
        for sort, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:7} {sort}")
