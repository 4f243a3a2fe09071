"""The contract every adapter has to fulfil: test suites, the rig that points them at a target, mini clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clouds import mini_cloud as mini_cloud


def __getattr__(name: str) -> Any:
    """``mini_cloud`` on first use: who only wants the suites needs none of what mini clouds are made of."""
    if name == "mini_cloud":
        from .clouds import mini_cloud

        return mini_cloud
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
