"""The table of reports from public trackers names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.packaging.test_reported_answers import CASES

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (ROOT / "tests" / "reported-cases.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "::" in line
]
SOURCE = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+#\d+")


def test_there_are_forty_reports_and_each_is_listed_once() -> None:
    assert 40 <= len(ROWS) == len({row[0] for row in ROWS})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_test_of_a_report_is_there(row: list[str]) -> None:
    """Its file has the function; one of the table of answers names the report."""
    source, reported, here, test = row
    assert SOURCE.fullmatch(source)
    assert reported
    assert here
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name == "test_reported_case":
        repository, _, number = source.partition("#")
        assert any(case.startswith(f"{repository}#") and f"#{number}" in case for case in CASES)


def test_each_answer_with_a_source_is_in_the_table() -> None:
    """Those that were in the first list of cases, and so are no further ones, are left out."""
    named = {match[0] for case in CASES if (match := SOURCE.match(case))}
    known = {"kserve/kserve#5973", "SeldonIO/MLServer#304", "Lightning-AI/LitServe#66"}
    assert set() == named - known - {row[0] for row in ROWS}
