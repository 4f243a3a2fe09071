"""What endpoints and jobs need of the engine, tried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.errors import SdkError
from sdk.types import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._engine import Host

_CALL_S = 10.0


def checks(host: Host) -> Iterator[Check]:
    """One real call each; nothing further when the engine cannot be reached."""
    try:
        engine = host.engine
        spoken = engine.version
    except SdkError as error:
        yield Check("engine", False, str(error), getattr(error, "hint", None))
        return
    yield Check("engine", True, f"{engine.about.get('Version')}, API {spoken}, {engine.platform}")
    yield Check("containers", True, f"{len(host.containers(_CALL_S))} of ours at {engine.address.host}")
