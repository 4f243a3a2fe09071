"""The state of one region of one project: resources by name, and long-running operations."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..guard import nothing_lacking
from ..timing import Step
from .errors import Refusal
from .filters import parse
from .values import Json, integer, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..app import Request
    from ..guard import Lacking
    from ..timing import Line, Pace
    from .identity import Identity

_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MOST_LABELS = 64
_NAMED = re.compile(r"projects/([^/]+)/locations/([^/]+)/")
_PROTO = "type.googleapis.com/google.cloud.aiplatform.v1."


@dataclass
class Operation:
    """A long-running operation.

    Args:
        name: Its full name.
        verb: What it does, such as ``DeployModel``.
        line: Its states over time.
        finish: Makes the answer once the line is at its end; raises :class:`Refusal` when the operation fails.
        kind: The type of the answer, such as ``Endpoint``.
        subject: The part of the resource that the operation is about.
    """

    name: str
    verb: str
    line: Line
    finish: Callable[[], Json]
    kind: str
    created: str
    subject: str = ""
    done: bool = False
    outcome: Json = field(default_factory=dict[str, Any])
    updated: str = ""
    newer: bool = False

    def shown(self) -> Json:
        """Return it as clients see it; a newer platform adds fields, and one of a type that clients do not know."""
        generic = {"createTime": self.created, "updateTime": self.updated or self.created}
        more: Json = {"deploymentStage": "STARTING", "progress": {"@type": f"{_PROTO}Progress"}} if self.newer else {}
        metadata = {"@type": self.metadata_type, "genericMetadata": generic, **more}
        ended: Json = {"done": True, **self.outcome} if self.done else {}
        if self.newer and "response" in ended:
            ended["response"] = {**ended["response"], "@type": f"{_PROTO}{self.verb}ResponseV2"}
        return {"name": self.name, "metadata": metadata, **({"priority": "HIGH"} if self.newer else {}), **ended}

    @property
    def metadata_type(self) -> str:
        """The type of its metadata, which clients look up by name."""
        word = "Delete" if self.verb.startswith("Delete") else self.verb
        return f"{_PROTO}{word}OperationMetadata"


@dataclass
class Common:
    """What all projects and regions share.

    Attributes:
        pace: How fast time passes.
        identity: The credentials that are accepted.
        lock: Held by each request that reads or changes resources.
        numbers: The ids that the platform chooses, each only once.
        newer: Whether answers hold fields and types that no released client library knows.
        planned: Answers to the next calls of an operation instead of carrying them out: a refusal of the platform, or a
            page of a proxy in front of it.
        lacking: Finds the rights that the service accounts of models and jobs lack.
    """

    pace: Pace
    identity: Identity
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(4_000_000_000_000_000_001))
    newer: bool = False
    planned: dict[str, list[Callable[[], Any]]] = field(default_factory=dict[str, Any])
    lacking: Lacking = nothing_lacking


class World:
    """The resources of one project in one region.

    Args:
        project: Its id; its number is derived from it.
        region: The region of the project.
        common: What it shares with all other regions and projects.
        key: Distinguishes its containers from those of other regions; empty for the first one.
    """

    def __init__(self, project: str, region: str, common: Common, *, key: str = "") -> None:
        self.project, self.region, self.key = project, region, key
        self.common, self.pace, self.lock = common, common.pace, common.lock
        self.number = number_of(project)
        self.tables: dict[str, dict[str, Json]] = {"endpoints": {}, "customJobs": {}, "repositories": {}}
        self.operations: dict[str, Operation] = {}
        self.ticks: list[Callable[[], None]] = []  # called before each request, to bring states up to date
        self._versions = itertools.count(1)

    @property
    def token(self) -> str:
        """An access token."""
        return self.common.identity.token

    @property
    def parent(self) -> str:
        """The name of the location, with the project's number as the platform writes it."""
        return f"projects/{self.number}/locations/{self.region}"

    def check_local(self, name: str, what: str) -> None:
        """Refuse the name of a resource of another project or region.

        Args:
            name: Such as ``projects/P/locations/R/models/M``, or only an id.
            what: Such as ``Model``.

        Raises:
            Refusal: It is in another project or region.
        """
        found = _NAMED.match(name)
        if found and (found[1] not in {self.project, self.number} or found[2] != self.region):
            raise Refusal("NOT_FOUND", f"The {what} {name} cannot be found in {self.parent}.")

    def next_number(self) -> str:
        """Return an id that the platform chooses."""
        return str(next(self.common.numbers))

    def etag(self) -> str:
        """Return a new etag."""
        return f"AMEw9y{next(self._versions):010d}"

    def add(self, table: str, key: str, value: Json) -> Json:
        """Add a resource, with the times and the etag that every resource has."""
        now = stamp()
        made = {**value, "createTime": now, "updateTime": now, "etag": self.etag()}
        self.tables[table][key] = made
        return made

    def touch(self, value: Json) -> None:
        """Update the time and the etag of a resource after a change."""
        value["updateTime"], value["etag"] = stamp(), self.etag()

    def get(self, table: str, key: str) -> Json:
        """Return a resource.

        Raises:
            Refusal: It does not exist.
        """
        found = self.tables[table].get(key)
        if found is None:
            raise Refusal("NOT_FOUND", f"The {_SINGULAR[table]} {self.parent}/{table}/{key} cannot be found.")
        return found

    # --- operations -----------------------------------------------------------------------------------------------

    def line(self, request: Request, seconds: float, until: Callable[[], bool] = lambda: True) -> Line:
        """Return the line of what a request starts: as long as on the platform, or longer if planned to be stuck.

        Args:
            request: The request.
            seconds: How long it takes on the platform.
            until: A further condition for its end.
        """
        fault, clock = request.fault, self.pace.clock
        if request.hit_by("stuck") and fault is not None:
            end = clock() + (fault.seconds or float("inf"))
            return self.pace.line(Step("running", seconds, lambda: clock() >= end and until()), final="done")
        return self.pace.line(Step("running", seconds, until), final="done")

    def begin(
        self, verb: str, holder: str, line: Line, finish: Callable[[], Json], *, kind: str, subject: str = ""
    ) -> Json:
        """Start an operation on a resource, and return the answer for its caller.

        Args:
            verb: Such as ``DeployModel``.
            holder: The resource, such as ``endpoints/churn``.
            line: How long it takes.
            finish: Makes the answer at its end; a :class:`Refusal` makes it a failure.
            kind: The type of the answer.
            subject: The part of the resource that the operation is about.
        """
        name = f"{self.parent}/{holder}/operations/{self.next_number()}"
        self.operations[name] = Operation(
            name, verb, line, finish, kind, stamp(), subject, newer=self.common.newer
        )  # fmt: skip
        line.show()
        return self.operations[name].shown()

    def advance(self) -> None:
        """Bring all states up to date; called with the lock held, before each request."""
        for tick in self.ticks:
            tick()
        for operation in list(self.operations.values()):
            if not operation.done and operation.line.done:
                self._end(operation)

    def _end(self, operation: Operation) -> None:
        operation.done, operation.updated = True, stamp()
        try:
            answer = operation.finish()
        except Refusal as refusal:
            operation.outcome = {"error": refusal.result()}
        else:
            operation.outcome = {"response": {"@type": answer_type(operation.kind), **answer}}

    def running(self, holder: str, *verbs: str, subject: str = "") -> bool:
        """Return whether an operation on this resource is not over."""
        start = f"{self.parent}/{holder}/operations/"
        return any(
            not one.done and name.startswith(start) and one.verb in verbs and subject in {"", one.subject}
            for name, one in self.operations.items()
        )


def number_of(project: str) -> str:
    """Return the number of a project, derived from its id.

    Example:
        >>> number_of("mini-project") == number_of("mini-project"), len(number_of("mini-project"))
        (True, 12)
    """
    return str(10**11 + int.from_bytes(hashlib.sha256(project.encode()).digest()[:8]) % (9 * 10**11))


class Veil:
    """Hides a new resource, if a ``late`` fault is planned: for some seconds, or from the next read only."""

    def __init__(self, request: Request, clock: Callable[[], float]) -> None:
        late = request.fault if request.hit_by("late") else None
        self._clock = clock
        self._until = clock() + late.seconds if late else 0.0
        self._reads = 1 if late and not late.seconds else 0

    def hides(self) -> bool:
        """Return whether this read must not see the resource."""
        if self._reads:
            self._reads -= 1
            return True
        return self._clock() < self._until


_SINGULAR = {
    "endpoints": "Endpoint",
    "customJobs": "CustomJob",
    "models": "Model",
    "repositories": "Repository",
    "buckets": "Bucket",
}


def answer_type(kind: str) -> str:
    """Return the full name of the type of an answer."""
    return f"type.googleapis.com/{kind}" if "." in kind else f"{_PROTO}{kind}"


def stamp(at: float | None = None) -> str:
    """Format a time as the platform does.

    Example:
        >>> stamp(0.5)
        '1970-01-01T00:00:00.500000Z'
    """
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def listing(items: Iterable[Json], query: Mapping[str, str], key: str) -> Json:
    """Return one page of a list: filtered, in order, with the token of the next page."""
    fits = parse(query.get("filter", ""))
    found = [item for item in items if fits(item | {"id": item["name"].rpartition("/")[2]})]
    by, _, direction = query.get("orderBy", "createTime desc").replace("_t", "T").partition(" ")
    found.sort(key=lambda item: str(item.get(by, "")), reverse=direction.strip() == "desc")
    start, size = integer(query, "pageToken"), integer(query, "pageSize", 100)
    page: Json = {key: found[start : start + size]}
    if start + size < len(found):
        page["nextPageToken"] = str(start + size)
    return page


def check_labels(labels: Json) -> None:
    """Refuse labels that the platform would not accept."""
    if len(labels) > _MOST_LABELS:
        raise Refusal("INVALID_ARGUMENT", f"{len(labels)} labels are more than {_MOST_LABELS}.")
    for name in labels:
        value = text(labels, name)
        if not _LABEL_KEY.fullmatch(name) or not _LABEL.fullmatch(value):
            raise Refusal("INVALID_ARGUMENT", f"Label {name!r}={value!r} is not valid: [a-z0-9_-], at most 63.")


def check_key(key: str, region: str) -> None:
    """Refuse a customer's key of another form or region than the resource; empty for Google's own key."""
    found = _KEY.fullmatch(key)
    if key and (found is None or found[1] != region):
        raise Refusal("INVALID_ARGUMENT", f"The key {key!r} is not a CryptoKey in the location {region!r}.")


def check_fields(body: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Refuse fields that the platform does not know, as its parser does."""
    for name in body:
        if name not in known:
            raise Refusal(
                "INVALID_ARGUMENT",
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{what}': Cannot find field.",
            )


def masked(mask: str) -> list[str]:
    """Return the fields that an update mask names, in camel case.

    Example:
        >>> masked("traffic_split,labels")
        ['trafficSplit', 'labels']
    """
    return [re.sub(r"_([a-z])", lambda hit: hit[1].upper(), one.strip()) for one in mask.split(",") if one.strip()]
