"""The checks behind `make check` find what they are there for."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A check, loaded from its file."""
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The check of the budgets."""
    return tool("check_budgets", monkeypatch)


NOQA = "noqa_per_10k_lines"
LIMITS = {
    "file_lines": 9,
    "function_lines": 3,
    "import_cycles": 0,
    "noqa_per_10k_lines": 1,
    "type_ignores_per_10k_lines": 0,
}
FOUND = {
    "file_lines": [(9, "a.py"), (10, "b.py")],
    "function_lines": [(3, "a.py:1 f"), (4, "a.py:5 g")],
    "import_cycles": [(1, "a -> b -> a")],
    "noqa_per_10k_lines": [(1, "a.py:1"), (1, "a.py:2")],
    "type_ignores_per_10k_lines": [],
}


def test_whatever_is_over_its_budget_is_named(budgets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, cycles and suppressed warnings, with their place; what keeps its budget is not."""
    monkeypatch.setattr(budgets, "shipped_lines", lambda: 10_000)
    said = "\n".join(line for line in budgets.complaints(FOUND, LIMITS) if "raised" not in line)
    named = ["b.py has 10, budget 9", "a.py:5 g has 4, budget 3", "a -> b -> a", NOQA + ": 2 found, budget 1"]
    assert (named, False, False) == ([n for n in named if n in said], "a.py has" in said, ":1 f" in said)


def test_suppressed_warnings_are_counted_per_line_of_code(budgets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree twice as large may have twice as many; the number is rounded up, never down."""
    monkeypatch.setattr(budgets, "shipped_lines", lambda: 20_000)
    assert [0, 1, 1, 2] == [budgets.density(marks) for marks in (0, 1, 2, 3)]


def test_a_file_is_measured_in_lines_functions_and_marks(budgets: Any) -> None:
    """Docstrings are no code, only comments are marks, and tests may do wrong things."""
    source = (
        'def f():\n    """Doc\n    string."""\n    return 1  # noqa: X  a reason\n\n\nx = "# noqa"  # type: ignore[y]\n'
    )
    path = budgets.ROOT / "sdk" / "a.py"
    measured = [*budgets.sizes(path, source), *budgets.marks(path, source)]
    expected = [("file_lines", 7), ("function_lines", 2), (NOQA, 1), ("type_ignores_per_10k_lines", 1)]
    assert (expected, []) == ([m[:2] for m in measured], list(budgets.marks(budgets.ROOT / "tests" / "a.py", source)))


def test_a_budget_can_be_lowered_but_not_raised(budgets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest value a repository ever committed holds for ever."""
    file = tmp_path / "tools" / "budgets.json"
    file.parent.mkdir()
    monkeypatch.setattr(budgets, "shipped_lines", lambda: 10_000)
    monkeypatch.setattr(budgets, "ROOT", tmp_path)
    monkeypatch.setattr(budgets, "BUDGETS", file)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    for noqa in (5, 3):
        file.write_text(json.dumps({**LIMITS, NOQA: noqa}))
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    nothing: dict[str, list[tuple[int, str]]] = {name: [] for name in LIMITS}
    said = {noqa: list(budgets.complaints(nothing, {**LIMITS, NOQA: noqa})) for noqa in (2, 3, 4)}
    assert {2: [], 3: [], 4: ["budget noqa_per_10k_lines was raised above 3: lower it again"]} == said


TEXTS = {
    "home": ("see /" + "home/ada/x", "machine path"),
    "registry": ("index = https://" + "pypi" + ".org/simple", "registry host name"),
    "clean": ("see docs/x and example.org, /" + "home", ""),
}


@pytest.mark.parametrize("case", TEXTS)
def test_local_names_are_found_in_texts(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of one machine and hosts of registries are named with their line."""
    text, expected = TEXTS[case]
    found = list(tool("check_docs", monkeypatch).local_names("f.md", f"first\n{text}\n"))
    assert ([f"f.md:2: {expected}: {text}"] if expected else []) == found


SOURCES = {
    "note": ("x = 1  # TO" + "DO later\n", True),
    "call": ("def f():\n    raise NotImplemented" + "Error('x')\n", True),
    "name": ("def f():\n    raise NotImplemented" + "Error\n", True),
    "finished": ('def f():\n    """TO' + 'DO lists are data here."""\n    raise ValueError\n', False),
}


@pytest.mark.parametrize("case", SOURCES)
def test_unfinished_code_is_found(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks in comments and bodies that only refuse; words in texts do not count."""
    source, expected = SOURCES[case]
    assert expected is bool(list(tool("check_docs", monkeypatch).unfinished("a.py", source)))


def test_the_makefile_needs_nothing_but_python_and_make() -> None:
    """Every target that people use is listed, and makes its own environment."""
    makefile = TOOLS.parent / "Makefile"
    listed = subprocess.run(
        ["make", "-f", str(makefile), "help"], cwd=TOOLS.parent, capture_output=True, text=True, check=True
    )
    targets = {line.split()[1] for line in listed.stdout.splitlines() if line.startswith("  make ")}
    wanted = {"help", "demo", "test", "test-full", "check", "contract", "bench", "docs", "mock"}
    lacking = [t for t in sorted(wanted - {"help"}) if f"{t}: $(STAMP)" not in makefile.read_text()]
    assert (set(), []) == (wanted - targets, lacking)
