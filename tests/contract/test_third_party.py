"""An adapter in a distribution of its own has no privilege and needs none."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "examples" / "adapter_template"
UV = Path(sys.executable).with_name("uv")


def run(*command: object, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=env.pop("cwd", None),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template where no file of this repository is beside it."""
    copy = tmp_path_factory.mktemp("elsewhere") / "shelf"
    shutil.copytree(TEMPLATE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return copy


def test_it_touches_nothing_of_the_core() -> None:
    """The template imports the public modules of the adapter border only."""
    allowed = {"adapter", "adapter.types", "adapter.metrics", "adapter.prices", "errors", "serving", "util"}
    sources = "\n".join(path.read_text() for path in (TEMPLATE / "src").rglob("*.py"))
    used = {line.split()[1] for line in sources.splitlines() if line.strip().startswith("from sdk")}
    assert used - {"sdk"} <= {f"sdk.{module}" for module in allowed}
    assert "from sdk import errors" in sources


def test_the_core_does_not_know_it() -> None:
    """No shipped file names the third party."""
    shipped = [path for folder in ("sdk", "adapters", "contract_tests") for path in (ROOT / folder).rglob("*.py")]
    its_names = re.compile(r"mlport[_-]shelf|([\"'])shelf\1")  # distribution, package, provider
    assert [] == [str(path) for path in shipped if its_names.search(path.read_text())]


def test_installed_it_is_found_and_keeps_the_contract(elsewhere: Path, tmp_path: Path) -> None:
    """Built and installed beside this mlport, its provider is listed and a part of the contract passes."""
    site = tmp_path / "site"
    run(UV, "pip", "install", "--quiet", "--no-deps", "--target", site, elsewhere)
    env = {"PYTHONPATH": str(site)}
    known = run(sys.executable, "-c", "from sdk.adapter.registry import adapters; print(*adapters.names())", **env)
    assert {"local", "shelf"} <= set(known.split())
    chosen = "TestCapabilities or TestOperations or test_life_of_an_endpoint"
    out = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, cwd=str(elsewhere), **env)
    assert " passed" in out


@pytest.mark.full
def test_wheels_in_a_fresh_environment(elsewhere: Path, tmp_path: Path) -> None:
    """mlport's wheel and the third party's, installed where nothing else is, pass the whole contract."""
    for project in (ROOT, elsewhere):
        build = (UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable)
        run(*build, "--out-dir", tmp_path / "dist", project)
    wheels = sorted((tmp_path / "dist").glob("*.whl"))
    assert ["mlport", "mlport_shelf"] == [wheel.name.split("-")[0] for wheel in wheels]
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, f"mlport[contract] @ {wheels[0].as_uri()}", wheels[1])
    env = {"PYTHONPATH": "", "MLPORT_STATE_DIR": str(tmp_path / "state")}
    out = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not full", cwd=str(elsewhere), **env)
    assert " passed" in out
