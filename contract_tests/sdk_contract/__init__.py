"""The contract that every adapter has to fulfil, mini clouds, and contract tests for users' own models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clouds import mini_cloud as mini_cloud
    from .model_contract import Case as Case
    from .model_contract import ModelContract as ModelContract
    from .model_contract import Refused as Refused

_HOMES = {
    "mini_cloud": "clouds",
    "Case": "model_contract",
    "ModelContract": "model_contract",
    "Refused": "model_contract",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because the suites do not need the dependencies of mini clouds."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
