"""The result in continuous integration: the comment, the JUnit report, and the example workflow, run as it stands."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from sdk.compare.baseline import since
from sdk.compare.gate import judge
from sdk.errors import ConfigError
from tests.compare.rows import comparison, row
from tests.warm import commands

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "ci" / "compare.yml"
MODULE = "import sdk\ndef double(rows):\n    return [2 * row[0] for row in rows]\n"
MODEL = MODULE + "iris = sdk.model(double, name='iris', example=[[1.0], [2.0]])\n"
FIELDS = ("runs=1", "requests=30", "warm_requests=50", "warm_s=0", "scenarios=[]", "rate=60")
QUICK = [word for field in FIELDS for word in ("--workload", field)]


def _three() -> tuple[Any, Any]:
    """A comparison of a slower subject, an equal one, a new one and a failed one, with its baseline."""
    old = comparison(row("slower", p95=50.0), row("equal", p95=40.0), created="2026-01-02T03:04:05+00:00")
    new = comparison(
        row("slower", p95=80.0),
        row("equal", p95=40.0),
        row("new|one", p95=20.0),
        row("gone", failed="no quota \x1b[31m"),
    )
    return new, old


def test_each_row_has_a_result_and_its_values() -> None:
    """With a condition, and without one: then only a subject without figures does not pass."""
    new, old = _three()
    judged = judge(new, "p95_ms > 60 or p95_change_ms > 5", old)
    assert [False, True, True, False] == [one.passed for one in judged]
    assert "p95_change_ms = 30, p95_ms = 80" == judged[0].values
    assert [True, True, True, False] == [one.passed for one in judge(new, None)]
    with pytest.raises(ConfigError, match="asks for a change"):
        judge(new, "p95_change_ms > 5")


def test_every_row_says_what_is_known_since_the_baseline() -> None:
    """A change, no difference, and that a row is new: nothing is passed over in silence."""
    slower = [("slower", "p50 is 15 ms slower"), ("slower", "p95 is 30 ms slower")]
    others = [("equal", "no difference shown"), ("new|one", "not in the baseline"), ("gone", "not in the baseline")]
    assert slower + others == since(*_three())


def test_the_comment_begins_with_verdict_gate_and_differences() -> None:
    """In this order, before the table; names from users do not break a table."""
    new, old = _three()
    text = new.to_markdown(fail_if="p95_ms > 60", baseline=old)
    places = [
        text.index(part)
        for part in (
            new.verdict.split(":")[0],
            "**Gate failed for 2 of 4:** fail if p95_ms > 60",
            "| slower | failed | p95_ms = 80 |",
            "| gone | no figures | no quota",
            "**Differences to the baseline of 2026-01-02T03:04:05+00:00**",
            "| slower | p95 is 30 ms slower |",
            "| equal | no difference shown |",
            "| subject | host |",
        )
    ]
    assert places == sorted(places)
    assert r"| new\|one | passed | p95_ms = 20 |" in text
    assert "**Gate passed for 2 of 2:**" in old.to_markdown(fail_if="p95_ms > 60")
    assert new.to_markdown().count("Gate") == 0


def test_the_junit_report(tmp_path: Path) -> None:
    """A case for each row; counts that fit; any parser reads it, whatever a name or an error contains."""
    new, old = _three()
    new.to_junit(tmp_path / "r.xml", fail_if="p95_ms > 60", baseline=old)
    (suite,) = ET.parse(tmp_path / "r.xml").getroot()
    assert {"tests": "4", "failures": "1", "errors": "1"} == {
        name: suite.attrib[name] for name in ("tests", "failures", "errors")
    }
    cases = {case.attrib["name"]: case for case in suite.iter("testcase")}
    (failure,) = cases["slower"].iter("failure")
    assert "p95_ms > 60 holds: p95_ms = 80" == failure.attrib["message"]
    assert "no quota [31m" == next(cases["gone"].iter("error")).attrib["message"]
    assert ["system-out"] == [child.tag for child in cases["equal"]]
    assert "p95 is 30 ms slower" in (cases["slower"].findtext("system-out") or "")
    assert new.verdict.replace("\x1b", "") == suite.findtext("system-out")


def _mlport(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MLPORT_STATE_DIR": str(folder / "state"), "NO_COLOR": "1"}
    return commands().run(words, where=folder, env=env)


def _steps() -> list[dict[str, Any]]:
    read = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert {"name", True, "permissions", "jobs"} == set(read)  # YAML 1.1 reads "on" as true
    steps: list[dict[str, Any]] = read["jobs"]["compare"]["steps"]
    return steps


def test_the_example_workflow(tmp_path: Path) -> None:
    """Its command runs as it stands (with a shorter workload), from the baseline that its first lines make."""
    (tmp_path / "flowers.py").write_text(MODEL)
    head = next(line for line in WORKFLOW.read_text(encoding="utf-8").splitlines() if "--save baseline.json" in line)
    made = _mlport(tmp_path, *shlex.split(head.strip("# "))[1:], *QUICK)
    assert 0 == made.returncode, made.stderr
    (step,) = [step for step in _steps() if "mlport compare" in step.get("run", "")]
    done = _mlport(tmp_path, *shlex.split(step["run"])[1:], *QUICK)
    assert done.returncode in {0, 7}, done.stderr  # 7: a busy machine may be slower than it allows
    assert "since the baseline of" in done.stdout
    uploaded = {path.name for path in tmp_path.glob("compare.*")}
    assert {"compare.json", "compare.html", "compare.md", "compare.xml"} == uploaded
    result = "passed" if done.returncode == 0 else "failed"
    assert f"**Gate {result} for 1 of 1:**" in (tmp_path / "compare.md").read_text()
    (case,) = ET.parse(tmp_path / "compare.xml").getroot().iter("testcase")
    assert "local" == case.attrib["name"]


def test_files_are_written_when_the_gate_fails(tmp_path: Path) -> None:
    """The comment and the report are most needed then. An unreadable baseline is refused before measuring."""
    new, old = _three()
    new.to_json(tmp_path / "new.json")
    old.to_json(tmp_path / "old.json")
    done = _mlport(
        tmp_path, "compare", "--from", "new.json", "--baseline", "old.json", "--fail-if", "p95_ms > 60",
        "--markdown", "c.md", "--junit", "c.xml",
    )  # fmt: skip
    assert 7 == done.returncode
    assert "Gate failed for 2 of 4" in (tmp_path / "c.md").read_text()
    assert 'failures="1"' in (tmp_path / "c.xml").read_text()
    refused = _mlport(tmp_path, "compare", "flowers:iris", "--baseline", "none.json")
    assert 3 == refused.returncode
    assert "none.json" in refused.stderr
    assert json.loads((tmp_path / "new.json").read_text())["schema"] == "mlport.compare/1"
