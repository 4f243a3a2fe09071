"""One look at an endpoint on its engine, which first brings the gateway to agree with what is there.

The gateway is the one container that publishes a port. Its volume holds what no label can, as labels never change:
the token, and the records of the endpoint, its traffic, and the deployments that failed or are to go. Records are
swapped by the gateway itself (:mod:`sdk.serving.gateway.records`), so of two clients one wins. Every client of the
engine finds the same endpoint, and a client killed half-way leaves what the next look finishes.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdk import foreign
from sdk.adapter import Labels
from sdk.errors import ConflictError, NotFoundError, PlatformError, UnavailableError
from sdk.plane import table
from sdk.plane.planning import GATEWAY

from . import _replicas, _sound
from ._containers import KIND, RESTART, RUN, container_name
from ._control import Control
from ._engine import seconds
from ._plan import CONTAINER
from ._revive import bring_up, how_found, is_up, make_again, missing, name_of
from ._tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._engine import Host
    from .options import DockerOptions

READY_S = 5.0
"""How long a change waits to be in force, which is often long enough."""

_AT_ONCE_S = 0.01
_DRAIN_S = 3.0
_ANSWERS_S = 15.0  # a gateway that runs answers within this time
_SOON_S = 3.0  # one that does not answer sooner may stand still
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: the gateway's container, its records and status, and the containers of deployments.

    ``container`` is ``None`` when the gateway is gone and something else of the endpoint is left; ``status`` is empty
    when it does not answer.
    """

    container: Mapping[str, Any] | None
    replicas: Mapping[str, Sequence[dict[str, Any]]]
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    status: Mapping[str, Any] = field(default_factory=dict[str, Any])
    revived: Mapping[str, str] = field(default_factory=dict[str, str])
    """How this look found the containers that it brought back, by their names."""
    troubles: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why containers could not be brought back, by their names."""

    def value(self, record: str) -> dict[str, Any] | None:
        """What is written down under a name."""
        found = self.records.get(record)
        return None if found is None else found["value"]

    @property
    def weights(self) -> Mapping[str, int]:
        """The shares that are written down."""
        traffic = self.value("traffic")
        written: dict[str, int] = traffic["spec"]["weights"] if traffic else {}
        return written

    def in_force(self, deployment: str) -> Mapping[str, Any] | None:
        """A deployment as the gateway has it; ``None`` if it has not."""
        known: dict[str, Any] = self.status.get("deployments", {})
        return known.get(deployment)

    def is_ending(self, deployment: str) -> bool:
        """Whether the gateway still knows replicas of a deployment, serving or finishing their last requests."""
        retiring: list[str] = self.status.get("retiring", [])
        return self.in_force(deployment) is not None or any(one.rpartition("-")[0] == deployment for one in retiring)


def ending(deployment: str) -> str:
    """The record that says that a deployment is to go."""
    return f"ending-{deployment}"


def failed(deployment: str) -> str:
    """The record that says why a deployment never became ready."""
    return f"failed-{deployment}"


class Gateways:
    """The gateways of one engine, and the connections into them that are open."""

    def __init__(self, host: Host, options: DockerOptions, sleep: Callable[[float], None]) -> None:
        self.host = host
        self.options = options
        self._sleep = sleep
        self._controls: dict[str, Control] = {}
        self.tokens = Tokens(host)

    def control(self, name: str) -> Control:
        """The control protocol of an endpoint's gateway."""
        if name not in self._controls:
            socket = f"{RUN}/control.sock"
            self._controls[name] = Control(self.host.engine, container_name(name, "gateway"), socket)
        return self._controls[name]

    def forget(self, name: str) -> None:
        """Close the connection to a gateway."""
        control = self._controls.pop(name, None)
        if control is not None:
            control.close()

    def close(self) -> None:
        """Close all connections."""
        for name in list(self._controls):
            self.forget(name)

    # --- look

    def look(self, name: str, timeout: float, *, wait_s: float = _AT_ONCE_S) -> Seen | None:
        """What is there, brought to agree; ``None`` if there is neither a gateway nor a container of a deployment.

        Args:
            name: The endpoint's name.
            timeout: Seconds for each call.
            wait_s: How long a change may take to be in force before this answers without it.
        """
        seen = self._containers(name, timeout)
        if seen is None or seen.container is None:
            self.forget(name)
            return seen
        if not is_up(seen.container):
            self.forget(name)
            if not seconds(seen.container["State"]["StartedAt"]):
                return seen  # its maker has not started it yet, or died before that
            seen = self._revive_gateway(seen, seen.container, timeout)
            if seen.container is None or not is_up(seen.container):
                return seen
        try:
            seen = self._answer(name, seen, timeout)
            return self._settled(name, seen, timeout, min(wait_s, timeout))
        except PlatformError:
            about = self.host.inspect(container_name(name, "gateway"), timeout)
            return replace(seen, container=about or seen.container)

    def _revive_gateway(self, seen: Seen, about: Mapping[str, Any], timeout: float) -> Seen:
        self.tokens.mend(about, timeout)
        after, trouble = bring_up(self.host, about, timeout)
        name = name_of(about)
        return replace(
            seen,
            container=after or about,
            revived={name: how_found(about)},
            troubles={name: trouble} if trouble else {},
        )

    def _answer(self, name: str, seen: Seen, timeout: float) -> Seen:
        """Read records and status; a gateway that was just started takes a moment to listen.

        One that takes calls and does not answer was stopped by a signal, and goes on by another one. If that does not
        help, its container is started again.
        """
        give_up = time.monotonic() + min(_ANSWERS_S, timeout)
        steps = iter((self.host.go_on, self.host.restart))
        while True:
            try:
                return self._read(name, seen, min(timeout, _SOON_S))
            except UnavailableError as error:
                about = self.host.inspect(container_name(name, "gateway"), timeout)
                if about is None or not is_up(about) or time.monotonic() > give_up:
                    raise
                self.tokens.mend(about, timeout)  # without one it does not start
                step = next(steps, None) if isinstance(error.__cause__, TimeoutError) else None
                if step is not None:
                    step(about["Id"], timeout)
            self._sleep(_PAUSE_S)

    def glance(self, name: str, timeout: float) -> Seen:
        """What the gateway itself knows, if there is a connection to it; nothing else is looked at."""
        seen = Seen(None, {})
        if name not in self._controls or not self._controls[name].is_open:
            return seen
        try:
            return self._read(name, seen, timeout)
        except PlatformError:
            return seen

    def _containers(self, name: str, timeout: float) -> Seen | None:
        items = self.host.containers(timeout, endpoint=name)
        gateway: dict[str, Any] | None = None
        found: dict[str, list[dict[str, Any]]] = {}
        for item in items:
            kind: str | None = item["Labels"].get(KIND)
            about = self.host.inspect(item["Id"], timeout) if kind in {GATEWAY, CONTAINER} else None
            if about is None:
                continue
            if kind == GATEWAY:
                gateway = about
            else:
                about = _sound.container(about)
                found.setdefault(_sound.deployment_of(item["Labels"], name_of(about)), []).append(about)
        replicas = {one: sorted(many, key=name_of) for one, many in sorted(found.items())}
        return Seen(gateway, replicas) if gateway is not None or replicas else None

    def _read(self, name: str, seen: Seen, timeout: float) -> Seen:
        control = self.control(name)
        records, damaged = _sound.records(control.call("GET", "/records", timeout=timeout))
        status = control.call("GET", "/status", timeout=timeout)
        found = replace(seen, records=records, status=status)
        broken = {one: damage for one, damage in damaged.items() if one in {"gateway", "traffic"}}
        return self._repaired(name, found, broken, timeout) if broken and seen.container else found

    def _repaired(self, name: str, seen: Seen, broken: Mapping[str, _sound.Damage], timeout: float) -> Seen:
        """Write damaged records anew from labels and from what is in force, with a note that makes it degraded."""
        control, records = self.control(name), dict(seen.records)
        for one, damage in broken.items():
            value = _sound.rebuilt(one, name, damage, seen.container or {}, seen.status)
            records[one] = {"etag": damage.etag, "created_at": None, "value": value}  # shown even if it is not kept
            with contextlib.suppress(PlatformError):  # another client was faster, or there is no space
                query = {"expected": damage.etag}
                records[one] = control.call("PUT", f"/records/{one}", query, body=value, timeout=timeout)
        return replace(seen, records=records)

    def _settled(self, name: str, seen: Seen, timeout: float, wait_s: float) -> Seen:
        """Bring back what served, note what failed, hand over the table that the containers make, remove what goes."""
        seen = self._mended(name, seen, timeout)
        if self._note_failures(name, seen, timeout):
            seen = self._read(name, seen, timeout)
        control = self.control(name)
        query = {"timeout_s": f"{self.options.start_s:g}", "wait_s": f"{wait_s:g}", "next": 1}
        with contextlib.suppress(PlatformError):  # overtaken, or failed: the status tells
            body = {"generation": 1, **self._table(seen)}
            control.call("PUT", "/table", query, body=body, timeout=timeout + wait_s)
        seen = replace(seen, status=control.call("GET", "/status", timeout=timeout))
        self._keep_alive(seen, timeout)
        return self._bury(name, seen, timeout)

    def _table(self, seen: Seen) -> dict[str, Any]:
        entries: dict[str, list[dict[str, Any]]] = {}
        for one, many in seen.replicas.items():
            out = seen.value(ending(one)) is not None or seen.value(failed(one)) is not None
            if not out and (seen.in_force(one) or _replicas.are_starting(many)):
                names = [name_of(about) for about in many]
                entries[one] = [{"id": f"{one}-{n}", "address": f"tcp:{host}:8080"} for n, host in enumerate(names)]
        return table.table(entries, seen.weights, self.options)

    def _note_failures(self, name: str, seen: Seen, timeout: float) -> bool:
        """Write down why a deployment never became ready, so that it is not tried for ever."""
        noted = False
        for one, many in seen.replicas.items():
            if seen.in_force(one) or {ending(one), failed(one)} & seen.records.keys():
                continue
            age = self.host.time(0.0) - (seconds(many[0]["Created"]) or 0.0)
            trouble: dict[str, Any] = seen.status.get("failure") or {}
            late = trouble.get("deployment") == one
            reason = _replicas.failure(self.host, many, late=late or age > self.options.start_s)
            if reason is not None:
                with contextlib.suppress(ConflictError):  # another look was faster
                    path = f"/records/{failed(one)}"
                    self.control(name).call("PUT", path, body={"reason": reason}, timeout=timeout)
                noted = True
        return noted

    def _mended(self, name: str, seen: Seen, timeout: float) -> Seen:
        """Bring back the replicas of deployments in force that ended, were paused or were removed."""
        replicas = dict(seen.replicas)
        revived, troubles = dict(seen.revived), dict(seen.troubles)
        for one, many in seen.replicas.items():
            if seen.in_force(one) is None or ending(one) in seen.records:
                continue
            lost = missing(name, one, many)
            made = [make_again(self.host, replica, many[0], timeout) for replica in lost]
            revived |= dict.fromkeys(lost, "had been removed")
            found = [*many, *(about for about in made if about is not None)]
            replicas[one] = sorted((self._up(about, revived, troubles, timeout) for about in found), key=name_of)
        return replace(seen, replicas=replicas, revived=revived, troubles=troubles)

    def _up(
        self, about: dict[str, Any], revived: dict[str, str], troubles: dict[str, str], timeout: float
    ) -> dict[str, Any]:
        """Bring back one replica and note how it was found."""
        if is_up(about):
            return about
        name = name_of(about)
        after, trouble = bring_up(self.host, about, timeout)
        revived.setdefault(name, how_found(about))
        if trouble:
            troubles[name] = trouble
        return after or about

    def _keep_alive(self, seen: Seen, timeout: float) -> None:
        """From the moment a replica serves the engine starts it again whenever it ends."""
        for one, many in seen.replicas.items():
            if seen.in_force(one) is None or ending(one) in seen.records:
                continue
            for about in many:
                if about["HostConfig"]["RestartPolicy"]["Name"] != RESTART["RestartPolicy"]["Name"]:
                    with contextlib.suppress(NotFoundError, ConflictError):
                        self.host.update(about["Id"], RESTART, timeout)

    def _bury(self, name: str, seen: Seen, timeout: float) -> Seen:
        """Remove the containers of deployments that are to go and have answered their last request."""
        going = [record.removeprefix("ending-") for record in seen.records if record.startswith("ending-")]
        gone = [one for one in going if not seen.is_ending(one)]
        for one in gone:
            for about in seen.replicas.get(one, ()):
                self.host.remove(about["Id"], timeout)
            for record in {ending(one), failed(one)} & seen.records.keys():
                with contextlib.suppress(ConflictError):
                    query = {"expected": seen.records[record]["etag"]}
                    self.control(name).call("DELETE", f"/records/{record}", query, timeout=timeout)
        return replace(seen, replicas={one: many for one, many in seen.replicas.items() if one not in gone})

    def drain(self, name: str, timeout: float) -> None:
        """Wait a little for removed replicas to answer their last request, which is often long enough."""
        with contextlib.suppress(PlatformError):
            query = {"timeout_s": f"{min(_DRAIN_S, self.options.drain_s):g}"}
            self.control(name).call("POST", "/drain", query, timeout=timeout)

    def has_deployment(self, name: str, deployment: str, timeout: float) -> bool:
        """Whether a deployment has any container; nothing else is looked at."""
        items = self.host.containers(timeout, endpoint=name)
        return any(_sound.deployment_of(item["Labels"], item["Names"][0]) == deployment for item in items)

    def container(self, name: str, timeout: float) -> Mapping[str, Any] | None:
        """The gateway's container, started if it does not run; ``None`` if there is none."""
        about = self.host.inspect(container_name(name, "gateway"), timeout)
        if about is None or is_up(about):
            return about
        self.look(name, timeout)
        return self.host.inspect(about["Id"], timeout)

    def entrance(self, name: str, timeout: float) -> tuple[Mapping[str, Any], str] | None:
        """The gateway's container and what a client must send to it; ``None`` if there is no gateway."""
        about = self.container(name, timeout)
        if about is not None and self.tokens.mend(about, timeout):
            self.forget(name)
            self.look(name, timeout)
            about = self.container(name, timeout)
        if about is None:
            return None
        return about, self.tokens.of(about) if is_up(about) else ""

    def bare_network(self, name: str, timeout: float) -> Labels | None:
        """The labels of a network whose gateway is gone, so that it is found and removed."""
        found = self.host.networks(timeout, endpoint=name)
        return Labels.from_tags(found[0]["Labels"]) if found else None

    def names(self, timeout: float) -> list[str]:
        """The endpoints of this engine, whole or not."""
        items = self.host.containers(timeout)
        labels = [one["Labels"] for one in items if one["Labels"].get(KIND) in {GATEWAY, CONTAINER}]
        return sorted(_sound.endpoints_of([*labels, *(one["Labels"] for one in self.host.networks(timeout))]))


def spec_of(about: Mapping[str, Any], label: str) -> Any:
    """What a container was made from."""
    return foreign.parse(about["Config"]["Labels"][label], f"the label {label}")
