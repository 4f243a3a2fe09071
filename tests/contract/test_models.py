"""Contract tests of users' own models: what they accept, what they find, and how they say it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sdk.cli.output import Output
from sdk.cli.testing import do_test
from sdk.errors import ConfigError
from sdk.packaging.model import model
from sdk_contract.model_contract import Refused, bad_rows, differences

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "model_tests"

PROJECT = """
import sdk
import sdk_contract
from sdk_contract import Case, Refused

def double(rows):
    return [2 * row["a"] for row in rows]

packed = sdk.model(double, name="double", example=[{"a": 1}])

class TestGood(sdk_contract.ModelContract):
    model = packed
    cases = [[{"a": 3}], Case([{"a": 1}, {"a": 2}], expected=[2, 4])]
    objective_ms = 60_000

class TestWrong(sdk_contract.ModelContract):
    model = packed
    cases = [Case([{"a": 1}, {"a": 2}], expected=[2, 5])]
    refused = [Refused([{"a": 1}])]
    objective_ms = 0.000001

def test_a_fixture_alone(mlport_target):
    assert mlport_target.cloud is None
    assert mlport_target.client.list() == []
"""


def run(folder: Path, *options: str) -> tuple[int, str, dict[str, str]]:
    """Run a project's tests as its owner does: exit code, output, and what became of each test."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", f"--junit-xml={report}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MLPORT_"))}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    found = {
        f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}": case[0].tag if len(case) else "passed"
        for case in ET.parse(report).iter("testcase")  # written by pytest a moment ago
    }
    return done.returncode, done.stdout + done.stderr, found


def test_a_project_of_ones_own(tmp_path: Path) -> None:
    """A good model passes; a wrong one fails with the target, the row and the value; nothing is left."""
    (tmp_path / "test_double.py").write_text(PROJECT)
    (tmp_path / "mlport.toml").write_text('[target.here]\nprovider = "local"\n')
    code, output, found = run(tmp_path)
    assert 1 == code
    assert {"passed"} == {state for name, state in found.items() if "TestGood" in name and "refuses" not in name}
    assert "passed" == found["test_double.test_a_fixture_alone[here]"]
    wrong = {name for name, state in found.items() if state == "failure"}
    assert {"answers_as", "refuses", "objective"} == {
        word for word in ("answers_as", "refuses", "objective", "update", "leaves") for name in wrong if word in name
    }
    assert "target here, case 0, expected, row 1: answered 4 for 5" in output
    assert "target here: [{'a': 1}] was answered with [2]" in output
    assert re.search(r"target here: p95 is \d+\.\d ms", output)


def test_unknown_targets_are_refused_before_anything_runs(tmp_path: Path) -> None:
    """Both in a marker and in an option."""
    marked = "import pytest\n@pytest.mark.mlport('gcq')\ndef test_one(mlport_target): pass\n"
    (tmp_path / "test_marked.py").write_text(marked)
    assert "no target 'gcq' is configured; there are: local" in run(tmp_path)[1]
    (tmp_path / "test_marked.py").write_text(marked.replace("'gcq'", "'local'"))
    assert "no target 'aws' is configured" in run(tmp_path, "--mlport-target", "aws")[1]


def test_an_unknown_runner_is_refused_before_anything_is_packed() -> None:
    """With the names that there are, as for an unknown target."""
    with pytest.raises(ConfigError, match="no runner 'kube'") as refused:
        do_test(Output(environ={}), model="none.joblib", runner="kube")
    assert "there are: process, docker" == refused.value.hint


STOPPED = """
import pytest
from sklearn.linear_model import LogisticRegression
from sdk.errors import Interrupted

def stop():
    raise Interrupted("contract-churn: stopped; everything was undone") from KeyboardInterrupt()

@pytest.fixture
def before():
    if "{where}" == "before":
        stop()
    yield
    if "{where}" == "after":
        stop()

def test_one(before):
    if "{where}" == "in":
        stop()

def test_two(): pass
"""


@pytest.mark.parametrize(
    "where", ["in", *(pytest.param(where, marks=pytest.mark.full) for where in ("before", "after"))]
)
def test_a_stopped_change_ends_the_run(tmp_path: Path, where: str) -> None:
    """Ctrl-C in a deploy is no failed test after which the next one deploys again."""
    (tmp_path / "test_stopped.py").write_text(STOPPED.replace("{where}", where))
    code, output, found = run(tmp_path)
    assert pytest.ExitCode.INTERRUPTED == code
    assert "contract-churn: stopped; everything was undone" in output
    assert "test_stopped.test_two" not in found


def test_the_command_of_the_page_runs(tmp_path: Path) -> None:
    """It works exactly as it stands, on a model file and a CSV file without a header."""
    rows = np.array([[1.0, 9.0], [2.0, 7.0], [24.0, 1.0], [36.0, 0.0]])
    joblib.dump(LogisticRegression().fit(rows, [1, 1, 0, 0]), tmp_path / "model.joblib")
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",")
    page = (ROOT / "docs" / "testing-models.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ (mlport test .*)$", page, re.MULTILINE)
    env = os.environ | {"MLPORT_STATE_DIR": str(tmp_path / "state")}
    words = [sys.executable, "-m", "sdk", *command.split()[1:]]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    states = [case[0].tag if len(case) else "passed" for case in ET.parse(tmp_path / "report.xml").iter("testcase")]
    assert 3 <= states.count("passed")
    assert {"passed", "skipped"} >= set(states)


@pytest.mark.full
@pytest.mark.parametrize("runner", ["process", "docker"])
def test_the_example_passes_on_every_target(tmp_path: Path, runner: str) -> None:
    """The layout that the docs show, from a folder of its own."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "churn")
    code, output, found = run(folder, f"--mlport-runner={runner}", "-p", "xdist", "-n", "2")
    assert 0 == code, output
    assert {"aws", "gcp", "local"} == {name.partition("[")[2].rstrip("]") for name in found}


@pytest.mark.parametrize(
    ("answer", "wanted", "said"),
    [
        ([1, 2], [1, 2], []),
        ([1.0 + 1e-9], [1.0], []),
        ([1, 2], np.array([1, 3]), [", row 1: answered 2 for 3"]),
        ([1, 2], [1], [": answered [1, 2] for [1]"]),
        ([{"a": 1, "b": [1, 2]}], [{"a": 1, "b": [1, 3]}], [", row 0, 'b', item 1: answered 2 for 3"]),
        ([{"a": 1}], [{"b": 1}], [", row 0: answered {'a': 1} for {'b': 1}"]),
        ([True], [1], []),
        ([None, "x"], [None, "y"], [", row 1: answered 'x' for 'y'"]),
        ([float("nan")], [float("nan")], []),
        (["1"], [1], [", row 0: answered '1' for 1"]),
    ],
)
def test_differences_are_named(answer: object, wanted: object, said: list[str]) -> None:
    assert said == differences(answer, wanted, "", 1e-6)


def test_bad_rows_follow_from_the_signature() -> None:
    """None are made for a model that takes any JSON."""
    table = model(lambda rows: [0.0 for _ in range(len(rows))], name="sums", example=np.array([[1.0, 2.0]]))
    assert [Refused([[1.0, 2.0, 1.0]]), Refused([["text", 2.0]])] == bad_rows(table)
    assert [] == bad_rows(model(lambda rows: rows, name="same", example=[{"text": "a"}]))
