from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def load(name: str) -> Any:
    """A helper module of this folder, which is no package."""
    full = f"client_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture
def scripted() -> Any:
    return load("scripted")


@pytest.fixture
def server(scripted: Any) -> Iterator[Any]:
    running = scripted.ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def faked() -> Any:
    return load("faked")


@pytest.fixture
def world(faked: Any, tmp_path: Path) -> Iterator[Any]:
    made = faked.World(tmp_path)
    yield made
    made.close()
