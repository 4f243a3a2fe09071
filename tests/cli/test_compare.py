"""`mlport compare` and `mlport prices refresh` as a user types them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from sdk.cli import compare_command, parse
from tests.compare.rows import comparison, row
from tests.warm import commands

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

MODULE = "def double(rows):\n    return [2 * row[0] for row in rows]\n"
FAST = [
    part
    for text in (
        "runs=1", "requests=30", "warm_requests=50", "warm_s=0", "scenarios=[]", "rate=60",
    )
    for part in ("--workload", text)
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "rows.json").write_text("[[[1.0]], [[2.0]]]")
    return tmp_path


def _mlport(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MLPORT_STATE_DIR": str(folder / "state"), "NO_COLOR": "1", **more}
    return commands().run(words, where=folder, env=env)


def test_measures_and_keeps(folder: Path) -> None:
    """From a model to a table, a file that is kept, a page; nothing asked, since nothing is paid."""
    done = _mlport(
        folder, "compare", "mine:double", "-t", "local", "--payloads", "@rows.json", *FAST, "--hardware", "local=0.05",
        "--traffic-per-month", "1e6", "--save", "r.json", "--html", "r.html", "--markdown", "r.md",
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert "the only one that was measured" in done.stdout
    assert "local: " in done.stderr or "local " in done.stderr
    kept = json.loads((folder / "r.json").read_text())
    assert [30] == [one["requests"] for one in kept["rows"]]
    assert (folder / "r.html").stat().st_size < 1_500_000
    assert (folder / "r.md").read_text().startswith("# Comparison")
    assert "no endpoints" in _mlport(folder, "list").stderr


def test_gates_on_a_kept_result(folder: Path) -> None:
    """Exit code 7 when a condition holds for a row; a baseline tells what changed."""
    comparison(row("a", p95=60.0)).to_json(folder / "new.json")
    comparison(row("a", p95=50.0)).to_json(folder / "old.json")
    passed = _mlport(folder, "compare", "--from", "new.json", "--baseline", "old.json", "--fail-if", "p95_ms > 100")
    assert 0 == passed.returncode, passed.stderr
    assert "a: p95 is 10 ms slower" in passed.stdout
    failed = _mlport(folder, "compare", "--from", "new.json", "--fail-if", "p95_ms > 55")
    assert 7 == failed.returncode
    assert "p95_ms > 55 holds for a (p95_ms = 60)" in failed.stderr
    changed = _mlport(
        folder, "compare", "--from", "new.json", "--baseline", "old.json", "--fail-if", "p95_change_ms > 5"
    )
    assert 7 == changed.returncode


def test_another_traffic(folder: Path) -> None:
    """A kept result is worked out for another traffic."""
    comparison(row("a")).to_json(folder / "kept.json")
    done = _mlport(folder, "compare", "--from", "kept.json", "--traffic-per-month", "1e6", "-o", "json")
    assert 0 == done.returncode, done.stderr
    assert 1e6 == json.loads(done.stdout)["traffic"]["per_month"]
    assert 167.9 == round(json.loads(done.stdout)["rows"][0]["cost"]["usd_per_month"], 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare"], "needs one of MODEL, --endpoint and --from"),
        (["compare", "--from", "none.json"], "cannot be read"),
        (["compare", "mine:double", "--fail-if", "p95 > 1"], "did you mean 'p95_ms'"),
        (["compare", "mine:double", "--hardware", "local=cheap"], "is no number of US dollars"),
        (["compare", "mine:double", "--workload", "run=1"], "did you mean 'runs'"),
        (["prices", "refresh"], "'local' has no price source"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(folder: Path, words: list[str], message: str) -> None:
    """Exit code 3, the field and the fix."""
    done = _mlport(folder, *words)
    assert 3 == done.returncode
    assert message in done.stderr


def test_each_line_of_a_csv_file_is_a_request(folder: Path) -> None:
    """With the names of the first line."""
    (folder / "rows.csv").write_text("a,b\n1,x\n2,y\n")
    given = parse.INPUT.convert(f"@{folder / 'rows.csv'}", None, None)
    assert {"payloads": [[{"a": 1, "b": "x"}], [{"a": 2, "b": "y"}]]} == compare_command._arguments({"payloads": given})


def test_dry_run(folder: Path) -> None:
    """What it would do and cost."""
    done = _mlport(folder, "compare", "mine:double", "-t", "local", "--dry-run", "-o", "json")
    assert 0 == done.returncode, done.stderr
    assert (0.0, ["local"]) == (
        json.loads(done.stdout)["usd"],
        [c["key"] for c in json.loads(done.stdout)["candidates"]],
    )
