"""How registries are reached: as whom, by which way, and until when everything has to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from sdk.waiting import Deadline, Retry, SystemClock, bucket_of

from .logins import docker_login
from .registry import Registry

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
    """How registries are reached.

    Args:
        clock: Source of time.
        timeout_s: For everything together, from now, in seconds; 1800 when left out.
        transport: Another way to the network.
        insecure: Whether plain HTTP is spoken. Left out: to this machine only, and not there with a ``ca``.
        ca: File in PEM form with a certificate authority that is trusted beside the system's.
    """

    clock: Clock
    timeout_s: float
    transport: httpx.BaseTransport | None
    insecure: bool | None
    ca: str | Path | None


class Registries:
    """Opens registries, all in the same way and until the same deadline.

    Args:
        login: Gives user name and password for a host, or ``None``. What ``docker login`` left when left out; an
            adapter brings its cloud's own.
        **reach: See :class:`Reach`.
    """

    def __init__(self, login: Callable[[str], Credentials | None] = docker_login, **reach: Unpack[Reach]) -> None:
        self._login, self._reach = login, reach
        self._clock = reach.get("clock") or SystemClock()
        self._deadline = Deadline(self._clock, reach.get("timeout_s", _TIMEOUT_S))

    def open(self, reference: Reference, *, write: bool = False, mount_from: tuple[str, ...] = ()) -> Registry:
        """A repository of a registry, to push to if ``write``; the repositories of ``mount_from`` may lend blobs."""
        return Registry(
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
