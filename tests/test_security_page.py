"""Each rule of docs/security.md names the test that shows it, and each test and module that the page names is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
SPANS = set(re.findall(r"`([^`]+)`", PAGE))
TESTS = sorted(span for span in SPANS if re.search(r"(^|/)test_\w+(\.py)?$", span))
MODULES = sorted(
    span for span in SPANS if re.fullmatch(r"(sdk/[\w/]+/)?\w+\.py|sdk/\w+\.py", span) and span not in TESTS
)


@cache
def sources() -> dict[Path, str]:
    return {
        path: path.read_text("utf-8") for part in ("tests", "contract_tests") for path in (ROOT / part).rglob("*.py")
    }


def is_there(name: str) -> bool:
    """Whether a span names files of tests, by path or by name, or a function in one of them."""
    if "/" in name:
        return any(ROOT.glob(name))
    if name.endswith(".py"):
        return any(path.name == name for path in sources())
    return any(re.search(rf"^ *(async )?def {name}\(", text, re.MULTILINE) for text in sources().values())


def rows() -> list[str]:
    """The rows of the tables that have a column for tests; the first two lines of a table are its head."""
    tables = re.findall(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE)
    return [row for table in tables if "| Test |" in table.partition("\n")[0] for row in table.splitlines()[2:]]


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_is_named_is_there(name: str) -> None:
    assert is_there(name), f"docs/security.md names {name}, which does not exist"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_is_named_is_there(name: str) -> None:
    where = [ROOT / name] if "/" in name else [*(ROOT / "sdk").rglob(name)]
    assert any(path.is_file() for path in where)


def named(row: str) -> list[str]:
    """The tests in the last cell of a row."""
    return [name for name in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2]) if name in TESTS]


def test_every_rule_and_every_attacker_names_a_test() -> None:
    """The tables without a column for tests list limits or addresses."""
    assert [] == [row for row in rows() if not named(row)]
    assert len(rows()) > 50
    assert rows()[0].startswith("| Author of a model bundle")


def test_what_is_not_there_is_noticed() -> None:
    assert not is_there("test_that_does_not_exist")
    assert not is_there("tests/test_nothing.py")
    assert [] == named("| a rule without a test | `sdk/config/trust.py` |")
