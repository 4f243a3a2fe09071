"""The contract catches what it is for: an adapter with a planted bug fails the test that looks for it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("bugs", HERE / "bugs.py")
assert _spec is not None
assert _spec.loader is not None
bugs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bugs)

ASKED = {
    **{bug.__name__: where for bug, where in bugs.BUGS.items()},
    **{f"Control{number}": where for number, where in enumerate(sorted(set(bugs.BUGS.values()), key=str))},
}

SUITES = """
import pytest
from bugs import BUGS, QuickRig, ShelfAdapter

@pytest.fixture(scope="class")
def rig(request, tmp_path_factory):
    with QuickRig(tmp_path_factory.mktemp("rig"), request.cls.planted) as made:
        yield made

for bug, (suite, _) in BUGS.items():
    globals()[f"Test{bug.__name__}"] = type(f"Test{bug.__name__}", (suite,), {"planted": bug})
for number, (suite, _) in enumerate(sorted(set(BUGS.values()), key=str)):
    globals()[f"TestControl{number}"] = type(f"TestControl{number}", (suite,), {"planted": ShelfAdapter})
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each class of tests came to: ``passed``, ``failed`` or ``skipped``, test by test."""
    folder = tmp_path_factory.mktemp("bugs")
    (folder / "test_bugs.py").write_text(SUITES)
    chosen = [f"test_bugs.py::Test{name}::{test}" for name, (_, test) in ASKED.items()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=out.xml", *chosen]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (folder / "out.xml").exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ET.parse(folder / "out.xml").iter("testcase"):
        tags = {child.tag for child in case}
        outcome = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        found.setdefault(case.attrib["classname"].split(".Test")[-1], []).append(outcome)
    return found


@pytest.mark.parametrize("bug", [bug.__name__ for bug in bugs.BUGS])
def test_a_planted_bug_is_found(outcomes: dict[str, list[str]], bug: str) -> None:
    """The adapter with this bug fails the contract."""
    assert "failed" in outcomes[bug]


@pytest.mark.parametrize("control", [name for name in ASKED if name.startswith("Control")])
def test_without_a_bug_the_same_tests_pass(outcomes: dict[str, list[str]], control: str) -> None:
    """It is the bug that fails: the same test passes with the adapter as it is."""
    assert "passed" in outcomes[control], ASKED[control]
    assert "failed" not in outcomes[control], ASKED[control]


def test_there_are_enough_bugs() -> None:
    """At least 25 different ones are tried."""
    assert len(bugs.BUGS) >= 25
