"""An endpoint and its deployments as values, and the replies that begin long-running operations on them."""

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
    """What ran before an update; it serves until the new containers are ready."""

    @property
    def serving(self) -> Fleet:
        """The containers that answer."""
        return self.before or self.fleet

    def roll(self, grace_s: float) -> None:
        """Let the new containers answer from the moment they are ready, and end the old ones after their last answer.

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
        """Begin to end all its containers."""
        for one in self.fleets:
            one.stop(grace_s)

    def ended(self) -> bool:
        """Whether nothing of them is left."""
        return all(one.ended() for one in self.fleets)

    @property
    def fleets(self) -> list[Fleet]:
        """The new containers, and those that they replace."""
        return [self.fleet, *([self.before] if self.before else [])]

    @property
    def capacity(self) -> int:
        """How many instances it has."""
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
    """The region, unless it is the first one's."""
    reads_connections: bool = False
    """Whether its identity was given the secrets of the workspace when it was made."""

    @property
    def key(self) -> str:
        """Its name and region, by which it is called."""
        return f"{self.name}{self.suffix}"

    @property
    def traffic(self) -> dict[str, int]:
        """The shares in force, by the names of the deployments as these were made."""
        return self._spelled("traffic")

    @property
    def mirrored(self) -> dict[str, int]:
        """Which deployment gets a copy of how much of the traffic."""
        return self._spelled("mirrorTraffic")

    def _spelled(self, field_name: str) -> dict[str, int]:
        shares = table(self.body["properties"].get(field_name))
        return {self.deployments.spelled(name): share for name, share in shares.items()}


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that a request began: on which resource, and what is said at once.

    ``kind`` is how Azure abbreviates the resource; ``fleet`` knows why a deployment failed.
    """

    kind: str
    line: Line
    status: int
    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    fleet: Fleet | None = None

    def error(self) -> dict[str, Any] | None:
        """Why it failed, if it did."""
        if self.fleet is not None and self.fleet.error:
            return self.fleet.error
        failed = self.line.final == "Failed"
        return {"code": "InternalServerError", "message": "planned failure", "details": []} if failed else None


def accepted(world: World, begun: Begun, request: Request) -> Response:
    """The reply to a request that began an operation."""
    operation = world.begun(begun.kind, begun.line, begun.error)
    _stick(operation, request)
    headers = world.headers(operation)
    return answer(begun.shown, begun.status, **headers) if begun.shown else accept(headers)


def accept(headers: dict[str, str]) -> Response:
    """A reply without a body to what was only accepted."""
    reply = empty(202)
    reply.headers |= {name.replace("_", "-"): text for name, text in headers.items()}
    return reply


def hide(late: Late, request: Request) -> None:
    """Keeps something that was just made from being seen, if that is planned."""
    if request.hit_by("late") and request.fault:
        late.visible_at = time.monotonic() + request.fault.seconds
        late.hidden_reads = 0 if request.fault.seconds else 1


def _stick(operation: Operation, request: Request) -> None:
    if request.hit_by("stuck") and request.fault:
        operation.stuck_until = time.monotonic() + (request.fault.seconds or float("inf"))
