"""Data classes of an endpoint and its deployments, and the replies that start long-running operations on them."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .answers import answer, empty, table
from .names import Names
from .world import Late

if TYPE_CHECKING:
    from ..app import Request, Response
    from ..timing import Line
    from .containers import Fleet
    from .world import Operation, World

_LOOK_S = 0.02
BUSY = frozenset({"Creating", "Updating", "Scaling", "Deleting"})


@dataclass
class Deployment:
    """One deployment with its containers."""

    name: str
    body: dict[str, Any]
    line: Line
    fleet: Fleet
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)
    late: Late = field(default_factory=Late)
    before: Fleet | None = None
    """The containers before an update; they serve until the new containers are ready."""

    @property
    def serving(self) -> Fleet:
        """The containers that answer."""
        return self.before or self.fleet

    def roll(self, grace_s: float) -> None:
        """Switch to the new containers when they are ready, and stop the old ones after their last answer.

        An update that fails leaves the old ones serving.
        """

        def watch() -> None:
            while not self.fleet.settled():
                time.sleep(_LOOK_S)
            old = self.before
            if old is None or self.fleet.error or self.fleet.stopped:
                return
            self.before = None
            while old.open:
                time.sleep(_LOOK_S)
            old.stop(grace_s)

        threading.Thread(target=watch, name=f"roll-{self.name}", daemon=True).start()

    def stop(self, grace_s: float) -> None:
        """Start stopping all its containers."""
        for one in self.fleets:
            one.stop(grace_s)

    def ended(self) -> bool:
        """Return whether no container of it is left."""
        return all(one.ended() for one in self.fleets)

    @property
    def fleets(self) -> list[Fleet]:
        """The new containers, and those that they replace."""
        return [self.fleet, *([self.before] if self.before else [])]

    @property
    def capacity(self) -> int:
        """The number of instances."""
        return int(self.body["sku"]["capacity"])


@dataclass
class Endpoint:
    """One endpoint with its deployments."""

    name: str
    body: dict[str, Any]
    line: Line
    deployments: Names[Deployment] = field(default_factory=Names[Deployment])
    keys: list[str] = field(default_factory=lambda: [secrets.token_urlsafe(24) for _ in range(2)])
    tokens: dict[str, float] = field(default_factory=dict[str, float])
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)
    late: Late = field(default_factory=Late)
    suffix: str = ""
    """The region, unless it is the region of the first workspace."""
    reads_connections: bool = False
    """Whether its identity was granted the secrets of the workspace when it was created."""

    @property
    def key(self) -> str:
        """The name and region by which it is called."""
        return f"{self.name}{self.suffix}"

    @property
    def traffic(self) -> dict[str, int]:
        """The current shares, by the names of the deployments as created."""
        return self._spelled("traffic")

    @property
    def mirrored(self) -> dict[str, int]:
        """Which share of the traffic is copied to which deployment."""
        return self._spelled("mirrorTraffic")

    def _spelled(self, field_name: str) -> dict[str, int]:
        shares = table(self.body["properties"].get(field_name))
        return {self.deployments.spelled(name): share for name, share in shares.items()}


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that a request started: on which resource, and the immediate answer.

    ``kind`` is Azure's abbreviation of the resource type; ``fleet`` knows why a deployment failed.
    """

    kind: str
    line: Line
    status: int
    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    fleet: Fleet | None = None

    def error(self) -> dict[str, Any] | None:
        """Return why it failed, or ``None``."""
        if self.fleet is not None and self.fleet.error:
            return self.fleet.error
        failed = self.line.final == "Failed"
        return {"code": "InternalServerError", "message": "planned failure", "details": []} if failed else None


def accepted(world: World, begun: Begun, request: Request) -> Response:
    """Return the reply to a request that started an operation."""
    operation = world.begun(begun.kind, begun.line, begun.error)
    _stick(operation, request)
    headers = world.headers(operation)
    return answer(begun.shown, begun.status, **headers) if begun.shown else accept(headers)


def accept(headers: dict[str, str]) -> Response:
    """Return a reply without a body to a request that was only accepted."""
    reply = empty(202)
    reply.headers |= {name.replace("_", "-"): text for name, text in headers.items()}
    return reply


def hide(late: Late, request: Request) -> None:
    """Hide a new resource from reads for a while, if a ``late`` fault is planned."""
    if request.hit_by("late") and request.fault:
        late.visible_at = time.monotonic() + request.fault.seconds
        late.hidden_reads = 0 if request.fault.seconds else 1


def _stick(operation: Operation, request: Request) -> None:
    if request.hit_by("stuck") and request.fault:
        operation.stuck_until = time.monotonic() + (request.fault.seconds or float("inf"))
        operation.line.hold(lambda: time.monotonic() >= operation.stuck_until)
