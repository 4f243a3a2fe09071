"""Restores the containers of an endpoint that ended, were paused or were removed while the endpoint served."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sdk.errors import ConflictError, NotFoundError, PlatformError

from ._containers import container_name
from ._endings import how_ended
from ._replicas import wanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._engine import Host

_KEPT = ("Image", "Entrypoint", "Cmd", "User", "Env", "Labels")
"""The parts of its configuration that a replica's container is created from; the engine adds the others."""


def name_of(about: Mapping[str, Any]) -> str:
    """Return a container's name without the slash that the engine puts before it."""
    return str(about["Name"]).lstrip("/")


def is_up(about: Mapping[str, Any]) -> bool:
    """Return whether a container runs and is not paused."""
    return bool(about["State"]["Running"]) and not about["State"]["Paused"]


def how_found(about: Mapping[str, Any]) -> str:
    """Describe why a container does not run.

    Example:
        >>> how_found({"State": {"Status": "exited", "ExitCode": 137, "OOMKilled": False}})
        'was killed by SIGKILL'
    """
    state = about["State"]
    if state["Status"] == "exited":
        return how_ended(about)
    return f"was {state['Status']}"


def bring_up(host: Host, about: Mapping[str, Any], timeout: float) -> tuple[dict[str, Any] | None, str | None]:
    """Start or unpause a container.

    Returns:
        The container as it is afterwards (``None`` if it is being removed), and why it could not be started.
    """
    try:
        if about["State"]["Paused"]:
            host.unpause(about["Id"], timeout)
        else:
            host.start(about["Id"], timeout)
    except PlatformError as error:
        if is_removal(error):
            return None, None
        if error.status is None:  # the engine cannot be reached
            raise
        after = host.inspect(about["Id"], timeout)
        return after, error.message if after and not is_up(after) else None  # another client may have been faster
    return host.inspect(about["Id"], timeout), None


def is_removal(error: PlatformError) -> bool:
    """Return whether an error means that the container is gone or is being removed."""
    text = str(error).lower()
    return ("no such container" in text and isinstance(error, NotFoundError)) or (
        "removal" in text and isinstance(error, ConflictError)
    )


def missing(endpoint: str, deployment: str, many: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of a deployment's replicas that no longer have a container."""
    present = {name_of(about) for about in many}
    names = [container_name(endpoint, f"{deployment}-{number}") for number in range(wanted(many))]
    return [name for name in names if name not in present]


def make_again(host: Host, name: str, sibling: Mapping[str, Any], timeout: float) -> dict[str, Any] | None:
    """Create a replica anew from another one of the same deployment: they differ only in their names."""
    config = sibling["Config"]
    body = {key: config[key] for key in _KEPT} | {"HostConfig": sibling["HostConfig"]}
    with contextlib.suppress(ConflictError):  # another client was faster
        host.create(name, body, timeout)
    return host.inspect(name, timeout)
