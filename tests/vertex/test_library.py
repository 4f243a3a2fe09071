"""Only what is needed of Google's library is loaded, and it stays whole for everybody else in the process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from sdk_vertex._library import defer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEW = """
import sys
from sdk_vertex._library import client_class
ours = [client_class(name) for name in ("endpoints", "models", "jobs")]
parts = [name for name in sys.modules if name.startswith("google.cloud.aiplatform_v1.services.")]
print(sorted({name.split(".")[4] for name in parts}))
"""
THEN_ALL = """
from google.cloud import aiplatform, aiplatform_v1
assert ours == [aiplatform_v1.EndpointServiceClient, aiplatform_v1.ModelServiceClient, aiplatform_v1.JobServiceClient]
assert {"DatasetServiceClient", "Endpoint", "types"} <= set(dir(aiplatform_v1))
assert aiplatform_v1.types.Endpoint is aiplatform_v1.Endpoint
assert not hasattr(aiplatform_v1, "Nothing")
assert aiplatform.Endpoint
print("whole")
"""
ALL_FIRST = """
from google.cloud import aiplatform_v1
known = set(vars(aiplatform_v1))
from sdk_vertex._library import client_class
assert client_class("jobs") is aiplatform_v1.JobServiceClient
assert known == set(vars(aiplatform_v1))
print("theirs")
"""


def told(code: str) -> list[str]:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


def test_few_services_are_loaded_and_the_rest_on_demand() -> None:
    """Three of them; somebody who imports the library as usual afterwards finds all of it, with the same classes."""
    assert ["['endpoint_service', 'job_service', 'model_service']", "whole"] == told(FEW + THEN_ALL)


def test_what_is_loaded_already_is_used() -> None:
    """Nothing is put in the place of a library that somebody has imported before."""
    assert ["theirs"] == told(ALL_FIRST)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the kind, inside another, that counts how often it is run."""
    inner = tmp_path / "lazy_holder" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    (inner / "part.py").write_text("from lazy_holder.inner import other\nVALUE = 1\n")
    (inner / "other.py").touch()
    (inner / "__init__.py").write_text(
        "import pathlib, time\nfrom lazy_holder.inner import part\n"
        "with (pathlib.Path(__file__).parent / 'runs').open('a') as runs:\n    runs.write('x')\n"
        "time.sleep(0.05)\nwhole = part.VALUE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield inner
    for name in [name for name in sys.modules if name.startswith("lazy_holder")]:
        del sys.modules[name]


def test_many_threads_run_it_once(package: Path) -> None:
    """Who asks while it runs waits for the end of it."""
    defer("lazy_holder.inner")
    module = import_module("lazy_holder.inner")
    assert 1 == import_module("lazy_holder.inner.part").VALUE
    assert not (package / "runs").exists()
    with ThreadPoolExecutor(8) as threads:
        assert [1] * 16 == list(threads.map(lambda _: module.whole, range(16)))
    assert "x" == (package / "runs").read_text()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


def test_a_failure_shows_itself_again(package: Path) -> None:
    """As with any import that fails: the next one tries again."""
    content = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text("raise OSError('disk')\n")
    defer("lazy_holder.inner")
    module = import_module("lazy_holder.inner")
    with pytest.raises(OSError, match="disk"):
        _ = module.whole
    (package / "__init__.py").write_text(content)
    assert 1 == module.whole


def test_what_is_not_installed() -> None:
    """Is said in the words of an import."""
    with pytest.raises(ModuleNotFoundError, match="lazy_nowhere"):
        defer("lazy_nowhere")
