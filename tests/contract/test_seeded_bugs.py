"""The contract catches what it is for: an adapter with a planted bug fails the test that looks for it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
SUITES = """
import pytest
from {module} import BUGS, PlantedRig

@pytest.fixture(scope="class")
def rig(request, tmp_path_factory):
    with PlantedRig(tmp_path_factory.mktemp("rig"), request.cls.planted) as made:
        yield made

for bug, (suite, _) in BUGS.items():
    globals()[f"Test{{bug.__name__}}"] = type(f"Test{{bug.__name__}}", (suite,), {{"planted": bug}})
for number, (suite, _) in enumerate(sorted(set(BUGS.values()), key=str)):
    planted = next(bug for bug in BUGS).__base__
    globals()[f"TestControl{{number}}"] = type(f"TestControl{{number}}", (suite,), {{"planted": planted}})
"""


def load(module: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module, HERE / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def asked(module: str) -> dict[str, tuple[type, str]]:
    """Every planted bug, and every control without one, with the test that is run for it."""
    bugs = load(module).BUGS
    controls = enumerate(sorted(set(bugs.values()), key=str))
    return {
        **{bug.__name__: where for bug, where in bugs.items()},
        **{f"Control{number}": where for number, where in controls},
    }


def outcomes(module: str, folder: Path) -> dict[str, list[str]]:
    """What each class of tests came to: ``passed``, ``failed`` or ``skipped``, test by test."""
    (folder / "test_bugs.py").write_text(SUITES.format(module=module))
    chosen = [f"test_bugs.py::Test{name}::{test}" for name, (_, test) in asked(module).items()]
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


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return outcomes("bugs", tmp_path_factory.mktemp("bugs"))


@pytest.mark.parametrize("name", asked("bugs"))
def test_a_planted_bug_is_found(quick: dict[str, list[str]], name: str) -> None:
    """The adapter with this bug fails the contract; without it (the controls) the same test passes."""
    assert ("failed" in quick[name]) != name.startswith("Control"), quick[name]
    assert {"skipped"} != set(quick[name])


@pytest.mark.full
def test_bugs_of_jobs_metrics_and_logs_are_found(tmp_path: Path) -> None:
    """The same for bugs planted in the local adapter, where processes are real."""
    found = outcomes("local_bugs", tmp_path)
    assert set(asked("local_bugs")) == set(found)
    assert {} == {name: came for name, came in found.items() if ("failed" in came) == name.startswith("Control")}


def test_there_are_enough_bugs() -> None:
    """At least 25 different ones are tried every time."""
    assert len(load("bugs").BUGS) >= 25
