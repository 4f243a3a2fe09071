"""Read-only checks of the containers of one deployment: whether they start, whether they failed, and why."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared.log_lines import start_failure
from sdk.errors import PlatformError
from sdk.util import foreign
from sdk.util.raised import CRASH

from ._containers import SPEC
from ._endings import how_ended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._engine import Host

_LINES = 50
_LOOPING = 2  # more terminations in a row than this are not an accident


def are_starting(many: Sequence[Mapping[str, Any]]) -> bool:
    """Check whether all replicas exist and run: only then is a new deployment sent to the gateway."""
    return len(many) == wanted(many) and all(about["State"]["Running"] for about in many)


def wanted(many: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of replicas that the deployment's spec asks for."""
    return int(foreign.parse(many[0]["Config"]["Labels"][SPEC], f"the label {SPEC}")["replicas"])


def failure(host: Host, many: Sequence[Mapping[str, Any]], *, late: bool) -> str | None:
    """Return why a deployment that was never in force cannot become ready; ``None`` while it still may.

    A replica is not restarted before it was ready once, so the first one that has ended gives the reason.
    """
    ended = next((about for about in many if about["State"]["Status"] in {"exited", "dead"}), None)
    if ended is not None:
        return why(host, ended)
    if not late:
        return None
    if len(many) < wanted(many):
        return f"{len(many)} of {wanted(many)} replicas were made: whoever deployed it died"
    return "it was not ready in time: give it more with start_s, or see its logs"


def is_looping(about: Mapping[str, Any]) -> bool:
    """Return whether a replica has ended repeatedly and the engine is waiting before it restarts it."""
    return about["State"]["Status"] == "restarting" and int(about["RestartCount"]) > _LOOPING


def waiting(known: Mapping[str, Mapping[str, Any]], many: Sequence[Mapping[str, Any]]) -> str:
    """Return which replicas of a deployment in force are not ready, as the gateway reports.

    Example:
        >>> waiting({"d1-0": {"ready": True}, "d1-1": {"ready": False, "state": "starting"}}, [{"RestartCount": 2}])
        'replica d1-1 is starting; 2 restarts so far'
    """
    words = [f"{name} is {one['state']}" for name, one in known.items() if not one["ready"]]
    restarts = sum(int(about["RestartCount"]) for about in many)
    return f"replica {', '.join(words)}" + (f"; {restarts} restarts so far" if restarts else "")


def why(host: Host, about: Mapping[str, Any]) -> str:
    """Return why a container ended, in the server's own words if it logged any."""
    name, ended = str(about["Name"]).lstrip("/"), how_ended(about)
    if about["State"].get("OOMKilled"):
        return f"{name} {ended}"
    lines: list[str] = []
    with contextlib.suppress(PlatformError):
        lines = host.engine.logs(about["Id"], tail=_LINES)
    said = next((text for line in reversed(lines) if (text := start_failure(line))), None)
    final = next((line for line in lines if line.startswith(CRASH)), lines[-1] if lines else "")
    last = f": {final[:300]}" if final else ""
    return f"{name}: {said}" if said else f"{name} {ended}{last}"
