"""What workflows, hooks, templates and CONTRIBUTING name is there: a renamed target or file is noticed here first."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
PAIRS = set(re.findall(r"^([A-Z]+)\s*\??:?=|\$\(([A-Z])\)", MAKEFILE, re.MULTILINE))
VARIABLES = {name for pair in PAIRS for name in pair if name}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def _runs(path: Path) -> list[tuple[str, str]]:
    """The commands of a workflow, each with its matrix put in, one for each combination."""
    found: list[tuple[str, str]] = []
    for name, job in _read(path)["jobs"].items():
        matrix = job.get("strategy", {}).get("matrix", {})
        rows = matrix.get("include") or [{key: one} for key, many in matrix.items() for one in many] or [{}]
        for step in job["steps"]:
            for row in rows if "run" in step else ():
                line = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda m, row=row: str(row[m[1]]), step["run"])  # type: ignore[misc]
                found.append((f"{path.name}: {name}", line))
    return found


def _wrong(line: str) -> list[str]:
    """What a command line names that is not there: a target or variable of make, a file of ours."""
    words = shlex.split(line, comments=True)
    if words and words[0] == "make":
        given = [word.partition("=")[0] if "=" in word else word for word in words[1:]]
        return [word for word in given if word not in TARGETS | VARIABLES]
    paths = [word.partition("::")[0] for word in words if word.startswith((".ci/", "tests/", "tools/", "examples/"))]
    return [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make test T=tests K=x WORKERS=3", []), ("make tests", ["tests"]), ("make test PYTHO=x", ["PYTHO"]),
        (".ci/run", []), (".ci/runs", [".ci/runs"]),
        (".venv/bin/pytest tests/nothing.py::test_x", ["tests/nothing.py"]),
    ],
)  # fmt: skip
def test_what_is_not_there_is_noticed(line: str, expected: list[str]) -> None:
    """The check itself: a wrong target, variable, script or test."""
    assert expected == _wrong(line)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_workflows_run_exists(path: Path) -> None:
    """Each target, variable and file; every job ends by itself and may only read."""
    assert [] == [(where, line, _wrong(line)) for where, line in _runs(path) if _wrong(line)]
    found = _read(path)
    assert {"contents": "read"} == found["permissions"]
    assert [] == [name for name, job in found["jobs"].items() if not 0 < job["timeout-minutes"] <= 90]


def test_ci_runs_everything_on_every_python() -> None:
    """`.ci/run` on Linux with each version of Python, the tests on macOS with the oldest and the newest."""
    jobs = _read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    assert PYTHONS == jobs["linux"]["strategy"]["matrix"]["python"]
    assert ["3.11", "3.14"] == jobs["macos"]["strategy"]["matrix"]["python"]
    assert ".ci/run" in [step.get("run") for step in jobs["linux"]["steps"]]
    assert "macos" in jobs["macos"]["runs-on"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert f'requires-python = ">={PYTHONS[0]}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_hooks_use_the_locked_tools() -> None:
    """No hook brings a version of its own, and each program and option works."""
    (own,) = _read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert "local" == own["repo"]
    for hook in own["hooks"]:
        program, *rest = shlex.split(hook["entry"])
        assert ("system", ".venv/bin/ruff") == (hook["language"], program)
        options = [*rest, "--check"] if rest[0] == "format" else [option for option in rest if option != "--fix"]
        command = [str(Path(sys.prefix, "bin", "ruff")), *options, __file__]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_are_complete(path: Path) -> None:
    """What the forge asks of a form: a name, a description, fields with ids of their own and labels."""
    form = _read(path)
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"]]
    assert sorted(set(ids)) == sorted(ids)
    for field in form["body"]:
        assert field["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] in {"dropdown", "checkboxes"})


@pytest.mark.parametrize(
    "line", [line for page in (CONTRIBUTING, (ROOT / ".github" / "pull_request_template.md").read_text("utf-8"))
             for line in re.findall(r"(?:^\$ |`)((?:make |\.venv/bin/pytest )[^`\n]*)", page, re.MULTILINE)],
)  # fmt: skip
def test_commands_of_contributing_exist(line: str) -> None:
    """Each target, variable, file and test."""
    assert [] == _wrong(line)
    for path, name in re.findall(r"(tests/\S+\.py)::(\w+)", line):
        assert f"def {name}(" in (ROOT / path).read_text("utf-8")


def test_files_and_names_of_contributing_exist() -> None:
    """Each path in the recipes is there, as is each name of the code that they send the reader to."""
    paths = re.findall(
        r"`((?:sdk|adapters|tests|contract_tests|examples|tools|requirements|docs)/[\w./*-]*)`", CONTRIBUTING
    )
    assert len(paths) > 10
    assert [] == [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]
    for path, name in (
        ("sdk/__init__.py", "_VERBS ="), ("sdk/cli/verbs.py", "EXIT_CODES"), ("sdk/cli/verbs.py", "class Verb:"),
        ("contract_tests/sdk_contract/suite_capabilities.py", "ROLES ="), ("sdk/client/session.py", "def require("),
    ):  # fmt: skip
        assert name in (ROOT / path).read_text("utf-8")
