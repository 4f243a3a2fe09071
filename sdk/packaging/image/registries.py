"""Open registries with shared settings: credentials, network access and a common deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from sdk.util.waiting import Deadline, Retry, SystemClock, bucket_of

from .logins import docker_login
from .registry_client import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Unpack

    import httpx

    from sdk.adapter import Clock

    from .auth import Credentials
    from .references import Reference

_TIMEOUT_S = 1800.0


class Reach(TypedDict, total=False):
    """The settings for reaching registries.

    Args:
        clock: Source of time.
        timeout_s: Limit for all calls together, from now, in seconds; 1800 if omitted.
        transport: Another transport for the network.
        insecure: Whether to use plain HTTP. If omitted: only to this machine, and not there with a ``ca``.
        ca: PEM file with a certificate authority that is trusted in addition to the system's.
    """

    clock: Clock
    timeout_s: float
    transport: httpx.BaseTransport | None
    insecure: bool | None
    ca: str | Path | None


class Registries:
    """A factory of registry clients that share settings and a deadline.

    Args:
        login: Returns user name and password for a host, or ``None``. If omitted, the credentials of ``docker login``;
            an adapter passes its cloud's own.
        **reach: See :class:`Reach`.
    """

    def __init__(self, login: Callable[[str], Credentials | None] = docker_login, **reach: Unpack[Reach]) -> None:
        self._login, self._reach = login, reach
        self._clock = reach.get("clock") or SystemClock()
        self._deadline = Deadline(self._clock, reach.get("timeout_s", _TIMEOUT_S))

    def open(self, reference: Reference, *, write: bool = False, mount_from: tuple[str, ...] = ()) -> RegistryClient:
        """Open a repository, for pushing if ``write``; blobs may be mounted from the repositories in ``mount_from``."""
        return RegistryClient(
            reference,
            retry=Retry(self._clock, bucket_of(f"registry {reference.host}")),
            deadline=self._deadline,
            credentials=lambda: self._login(reference.host),
            write=write,
            mount_from=mount_from,
            insecure=self._reach.get("insecure"),
            ca=self._reach.get("ca"),
            transport=self._reach.get("transport"),
        )
