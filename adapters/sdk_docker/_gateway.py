"""State of an endpoint on its engine: each look applies pending changes to the gateway, then returns the state.

The gateway is the only container that publishes a port. Its volume holds what labels cannot hold, since labels never
change: the token, and the records of the endpoint, its traffic, and the deployments that failed or are to be deleted.
The gateway itself swaps records (:mod:`sdk.serving.gateway.records`), so one of two competing clients wins. Every
client of the engine finds the same endpoint, and the next look finishes what a killed client left half done.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels
from sdk.adapter.shared import gateway_table
from sdk.adapter.shared.gateway_plan import GATEWAY
from sdk.errors import ConflictError, NotFoundError, PlatformError, UnavailableError
from sdk.util import foreign

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
"""Seconds to wait until a change is in force, which is often enough."""

_AT_ONCE_S = 0.01
_DRAIN_S = 3.0
_ANSWERS_S = 15.0  # a running gateway answers within this time
_SOON_S = 3.0  # a gateway that takes longer than this for an answer may be suspended
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look: the gateway's container, its records and status, and the containers of deployments.

    ``container`` is ``None`` when the gateway is gone but other parts of the endpoint remain; ``status`` is empty when
    the gateway does not answer.
    """

    container: Mapping[str, Any] | None
    replicas: Mapping[str, Sequence[dict[str, Any]]]
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    status: Mapping[str, Any] = field(default_factory=dict[str, Any])
    revived: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why the containers that this look restarted were not running, by their names."""
    troubles: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why containers could not be restarted, by their names."""

    def value(self, record: str) -> dict[str, Any] | None:
        """Return the value of a record; ``None`` if the record does not exist."""
        found = self.records.get(record)
        return None if found is None else found["value"]

    @property
    def weights(self) -> Mapping[str, int]:
        """The traffic weights in the traffic record."""
        traffic = self.value("traffic")
        written: dict[str, int] = traffic["spec"]["weights"] if traffic else {}
        return written

    def in_force(self, deployment: str) -> Mapping[str, Any] | None:
        """Return the gateway's view of a deployment; ``None`` if the gateway does not know it."""
        known: dict[str, Any] = self.status.get("deployments", {})
        return known.get(deployment)

    def is_ending(self, deployment: str) -> bool:
        """Check whether the gateway still has replicas of a deployment, serving or finishing their last requests."""
        retiring: list[str] = self.status.get("retiring", [])
        return self.in_force(deployment) is not None or any(one.rpartition("-")[0] == deployment for one in retiring)


def ending(deployment: str) -> str:
    """Return the name of the record that marks a deployment for deletion."""
    return f"ending-{deployment}"


def failed(deployment: str) -> str:
    """Return the name of the record that says why a deployment never became ready."""
    return f"failed-{deployment}"


class Gateways:
    """The gateways of one engine, and the open connections to them."""

    def __init__(self, host: Host, options: DockerOptions, sleep: Callable[[float], None]) -> None:
        self.host = host
        self.options = options
        self._sleep = sleep
        self._controls: dict[str, Control] = {}
        self.tokens = Tokens(host)

    def control(self, name: str) -> Control:
        """Return the client of the control protocol of an endpoint's gateway."""
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
        """Apply pending changes and return the endpoint's state; ``None`` if it has neither gateway nor replicas.

        Args:
            name: The endpoint's name.
            timeout: Seconds for each call.
            wait_s: How long to wait for a change to be in force before returning without it.
        """
        seen = self._containers(name, timeout)
        if seen is None or seen.container is None:
            self.forget(name)
            return seen
        if not is_up(seen.container):
            self.forget(name)
            if not seconds(seen.container["State"]["StartedAt"]):
                return seen  # its creator has not started it yet, or died before that
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

        A gateway that accepts calls but does not answer was suspended by a signal, and is resumed by another signal. If
        that does not help, its container is restarted.
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
                self.tokens.mend(about, timeout)  # without a token it does not start
                step = next(steps, None) if isinstance(error.__cause__, TimeoutError) else None
                if step is not None:
                    step(about["Id"], timeout)
            self._sleep(_PAUSE_S)

    def glance(self, name: str, timeout: float) -> Seen:
        """Return records and status from the gateway if there is an open connection to it; make no other calls."""
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
        """Rebuild damaged records from labels and from the state in force, and note that the endpoint is degraded."""
        control, records = self.control(name), dict(seen.records)
        for one, damage in broken.items():
            value = _sound.rebuilt(one, name, damage, seen.container or {}, seen.status)
            records[one] = {"etag": damage.etag, "created_at": None, "value": value}  # shown even if not stored
            with contextlib.suppress(PlatformError):  # another client was faster, or the disk is full
                query = {"expected": damage.etag}
                records[one] = control.call("PUT", f"/records/{one}", query, body=value, timeout=timeout)
        return replace(seen, records=records)

    def _settled(self, name: str, seen: Seen, timeout: float, wait_s: float) -> Seen:
        """Restore replicas that served, record failures, send the new table, and remove drained deployments."""
        seen = self._mended(name, seen, timeout)
        if self._note_failures(name, seen, timeout):
            seen = self._read(name, seen, timeout)
        control = self.control(name)
        query = {"timeout_s": f"{self.options.start_s:g}", "wait_s": f"{wait_s:g}", "next": 1}
        with contextlib.suppress(PlatformError):  # overtaken by another client, or failed: the status shows which
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
        return gateway_table.table(entries, seen.weights, self.options)

    def _note_failures(self, name: str, seen: Seen, timeout: float) -> bool:
        """Record why a deployment never became ready, so that it is not retried forever."""
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
        """Restore the replicas of deployments in force that ended, were paused or were removed."""
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
        """Restart one replica if it is down, and note why it was down."""
        if is_up(about):
            return about
        name = name_of(about)
        after, trouble = bring_up(self.host, about, timeout)
        revived.setdefault(name, how_found(about))
        if trouble:
            troubles[name] = trouble
        return after or about

    def _keep_alive(self, seen: Seen, timeout: float) -> None:
        """Set a restart policy on every replica in force: from then on the engine restarts it whenever it ends."""
        for one, many in seen.replicas.items():
            if seen.in_force(one) is None or ending(one) in seen.records:
                continue
            for about in many:
                if about["HostConfig"]["RestartPolicy"]["Name"] != RESTART["RestartPolicy"]["Name"]:
                    with contextlib.suppress(NotFoundError, ConflictError):
                        self.host.update(about["Id"], RESTART, timeout)

    def _bury(self, name: str, seen: Seen, timeout: float) -> Seen:
        """Remove the containers of deployments that are marked for deletion and have answered their last request."""
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
        """Wait briefly for removed replicas to answer their last request, which is often enough."""
        with contextlib.suppress(PlatformError):
            query = {"timeout_s": f"{min(_DRAIN_S, self.options.drain_s):g}"}
            self.control(name).call("POST", "/drain", query, timeout=timeout)

    def has_deployment(self, name: str, deployment: str, timeout: float) -> bool:
        """Check whether a deployment has any container; make no other calls."""
        items = self.host.containers(timeout, endpoint=name)
        return any(_sound.deployment_of(item["Labels"], item["Names"][0]) == deployment for item in items)

    def container(self, name: str, timeout: float) -> Mapping[str, Any] | None:
        """Return the gateway's container, started if it does not run; ``None`` if it does not exist."""
        about = self.host.inspect(container_name(name, "gateway"), timeout)
        if about is None or is_up(about):
            return about
        self.look(name, timeout)
        return self.host.inspect(about["Id"], timeout)

    def entrance(self, name: str, timeout: float) -> tuple[Mapping[str, Any], str] | None:
        """Return the gateway's container and the token that clients must send; ``None`` if it does not exist."""
        about = self.container(name, timeout)
        if about is not None and self.tokens.mend(about, timeout):
            self.forget(name)
            self.look(name, timeout)
            about = self.container(name, timeout)
        if about is None:
            return None
        return about, self.tokens.of(about) if is_up(about) else ""

    def bare_network(self, name: str, timeout: float) -> Labels | None:
        """Return the labels of a network whose gateway is gone, so that the network can be listed and removed."""
        found = self.host.networks(timeout, endpoint=name)
        return Labels.from_tags(found[0]["Labels"]) if found else None

    def names(self, timeout: float) -> list[str]:
        """Return the names of this engine's endpoints, complete or not."""
        items = self.host.containers(timeout)
        labels = [one["Labels"] for one in items if one["Labels"].get(KIND) in {GATEWAY, CONTAINER}]
        return sorted(_sound.endpoints_of([*labels, *(one["Labels"] for one in self.host.networks(timeout))]))


def spec_of(about: Mapping[str, Any], label: str) -> Any:
    """Return the value of a container's label that holds JSON, such as the spec it was made from."""
    return foreign.parse(about["Config"]["Labels"][label], f"the label {label}")
