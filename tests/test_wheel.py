"""What is in the wheel, and that it works where nothing else of the repository is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).with_name("uv")
    build = [str(uv), "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", folder, ROOT], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Top level: the core, the adapters, the contract suite and the metadata."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    adapters = {path.parent.name for path in (ROOT / "adapters").glob("sdk_*/__init__.py")}
    packages = {"sdk", "mlport", "sdk_contract", *adapters}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
    for package in packages:
        assert f"{package}/py.typed" in names


def test_wheel_has_no_leftovers(wheel: Path) -> None:
    """No tests, caches or pictures travel along."""
    names = zipfile.ZipFile(wheel).namelist()
    assert [] == [name for name in names if "__pycache__" in name or name.split("/")[-1].startswith("test_")]
