"""Endpoints as resources of an engine: each operation changes one resource, then applies the change to the gateway."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Literal

from sdk.adapter import Ack, Live, Ref
from sdk.adapter.shared import tokens
from sdk.adapter.shared.gateway_plan import GATEWAY, TRAFFIC, split_workload_id, workload_id
from sdk.adapter.shared.gateway_status import DAMAGE
from sdk.errors import ConfigError, ConflictError, InvalidRequestError, NotFoundError, PlatformError
from sdk.util import foreign

from . import _images, _replicas, _sound
from ._containers import (
    IMAGE_ID,
    NOBODY,
    PORT,
    PRICE,
    SPEC,
    VOLUME,
    container_name,
    gateway_body,
    network_name,
    replica_body,
)
from ._engine import pack, seconds
from ._errors import PROVIDER, exists, gone
from ._gateway import READY_S, Gateways, ending, failed
from ._plan import CONTAINER, IMAGE, image_of
from ._revive import is_up, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdk.adapter import Materials, Resource

    from ._engine import Host
    from ._gateway import Seen
    from .options import DockerOptions

    State = Literal["creating", "ready", "updating", "failed", "deleting"]

_TRIES = 8
_SERVING_S = 20.0  # how long creating a deployment waits for it to serve
_SLICE_S = 1.0  # how long of that to wait for the gateway alone, before the containers are inspected again
_YOUNG_S = 60.0  # a gateway that was never started may still be in creation until it is this old


class Deployments:
    """The gateways, containers and traffic of all endpoints of one engine."""

    def __init__(self, host: Host, options: DockerOptions, owner: str, sleep: Callable[[float], None]) -> None:
        self.host = host
        self.options = options
        self.owner = owner
        self.gateways = Gateways(host, options, sleep)

    # --- read

    def observe(self, name: str, timeout: float) -> list[Live]:
        """Return all resources of one endpoint, the traffic record first."""
        found = self._own(name, self.gateways.look(name, timeout), timeout)
        images = {parent for live in found for parent in live.parents if parent.kind == IMAGE}
        shared = (_images.read(self.host, ref.id, self.owner, timeout) for ref in sorted(images))
        return found + [live for live in shared if live is not None]

    def _own(self, name: str, seen: Seen | None, timeout: float) -> list[Live]:
        """Return the resources that belong to this endpoint alone."""
        traffic = _traffic(name, seen) if seen else None
        containers = [_container(name, one, seen) for one in seen.replicas] if seen else []
        gateway = self._gateway(name, seen, timeout)
        return [live for live in (traffic, *containers, gateway) if live is not None]

    def list_all(self, timeout: float) -> Iterator[Live]:
        """Yield all resources of every endpoint except the shared images."""
        for name in self.gateways.names(timeout):
            yield from self._own(name, self.gateways.look(name, timeout), timeout)

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """Return one resource of an endpoint."""
        name, deployment = split_workload_id(ref.id)
        if ref.kind == TRAFFIC:
            traffic = _traffic(name, self.gateways.glance(name, timeout))
            if traffic is not None and traffic.state == "ready":
                return traffic
        elif ref.kind == CONTAINER and not self.gateways.has_deployment(name, deployment, timeout):
            return None
        seen = self.gateways.look(name, timeout)
        if ref.kind == GATEWAY:
            return self._gateway(name, seen, timeout)
        if seen is None:
            return None
        if ref.kind == TRAFFIC:
            return _traffic(name, seen)
        return _container(name, deployment, seen) if deployment in seen.replicas else None

    def _gateway(self, name: str, seen: Seen | None, timeout: float) -> Live | None:
        if seen is None or seen.container is None:
            labels = self.gateways.bare_network(name, timeout)
            if labels is None:
                return None
            gone_for = f"its gateway was removed: run `mlport delete {name}`, then deploy it again"
            return Live(GATEWAY, name, "failed", raw="gone", spec={}, labels=labels, reason=gone_for)
        about = seen.container
        record = seen.records.get("gateway")
        value: Mapping[str, Any] = record["value"] if record else {}
        labels = about["Config"]["Labels"]
        state, reason = self._state(about, seen)
        return Live(
            GATEWAY,
            name,
            state,
            raw=str(about["State"]["Status"]),
            spec=value.get("spec", {}),
            labels=_sound.labels_of(value.get("labels") or labels, name),
            etag=record["etag"] if record else None,
            created_at=seconds(about["Created"]),
            parents=(Ref(IMAGE, labels[IMAGE_ID]),) if IMAGE_ID in labels else (),
            reason=reason,
            details={"url": url(about) if seen.status else None, **_last(seen), **_damage(seen, "gateway")},
        )

    def _state(self, about: Mapping[str, Any], seen: Seen) -> tuple[State, str | None]:
        found = seen.revived.get(name_of(about))
        if seen.status:
            return ("updating", f"{name_of(about)} {found}; started again") if found else ("ready", None)
        trouble = seen.troubles.get(name_of(about))
        if trouble:
            return "failed", trouble
        age = self.host.time(0.0) - (seconds(about["Created"]) or 0.0)
        if not seconds(about["State"]["StartedAt"]) and age > _YOUNG_S:
            return "failed", "its gateway was made but never started: whoever deployed it died"
        if about["RestartCount"] > 2 or (about["State"]["Status"] == "exited" and about["State"]["ExitCode"]):
            return "failed", _replicas.why(self.host, about)
        if is_up(about) and self.host.time(0.0) - (seconds(about["State"]["StartedAt"]) or 0.0) > _YOUNG_S:
            return "failed", f"{name_of(about)} runs but does not answer: restart it with `docker restart`"
        return "creating", None

    # --- create

    def create(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Create one resource.

        Raises:
            ConflictError: The resource already exists.
        """
        if resource.kind == GATEWAY:
            self._create_gateway(resource, materials, timeout)
        elif resource.kind == TRAFFIC:
            self._record(Ref(GATEWAY, resource.id), timeout)
            etag = self._write(resource, None, timeout)
            return Ack(etag=etag)
        else:
            self._create_containers(resource, materials, timeout)
        return Ack()

    def _create_gateway(self, resource: Resource, materials: Materials, timeout: float) -> None:
        """Create the network, then the gateway with its files; start the gateway last."""
        model = materials.model
        if model is None:
            raise ConfigError(f"the model of {resource.id!r} is not at hand", hint="deploy it again")
        image, name = image_of(model.digest, model.image, self.options), container_name(resource.id, "gateway")
        if self.host.inspect(name, timeout) is not None:
            raise exists(resource)
        if not self.host.networks(timeout, endpoint=resource.id):
            body = {"Name": network_name(resource.id), "CheckDuplicate": True, "Labels": resource.tags}
            self.host.engine.call("POST", "/networks/create", json=body, timeout_s=timeout)
        for attempt in range(_TRIES):
            port = self.options.port or 20_000 + secrets.randbelow(12_000)
            self.host.create(name, gateway_body(resource, image, port), timeout)
            try:
                self._fill_and_start(name, resource, timeout)
            except PlatformError as error:
                self.host.remove(name, timeout)
                taken = "allocated" in str(error) or "address already in use" in str(error)
                if self.options.port and taken:
                    raise _port_taken(port, resource) from error
                if not taken or attempt == _TRIES - 1:
                    raise
            else:
                return

    def _fill_and_start(self, name: str, resource: Resource, timeout: float) -> None:
        record = {
            "etag": secrets.token_hex(8),
            "created_at": self.host.time(0.0),
            "value": {"labels": resource.tags, "spec": dict(resource.spec or {})},
        }
        files = {
            "run": None,
            "run/token": tokens.new_token(),
            "run/records": None,
            "run/records/gateway.json": json.dumps(record).encode(),
        }
        self.host.put(name, VOLUME, pack(files, NOBODY), timeout)
        self.host.start(name, timeout)

    def _write(self, resource: Resource, expected: str | None, timeout: float) -> str:
        """Replace a record if its etag is still ``expected``, and wait until the gateway applies it."""
        path, value = f"/records/{resource.kind.lower()}", {"labels": resource.tags, "spec": dict(resource.spec or {})}
        control = self.gateways.control(resource.id)
        try:
            record = control.call("PUT", path, {"expected": expected}, body=value, timeout=timeout)
        except ConflictError as error:
            if expected is None:
                raise exists(resource) from error
            raise self._changed(resource, timeout) from error
        self.gateways.look(resource.id, timeout, wait_s=READY_S)
        return str(record["etag"])

    def _changed(self, resource: Resource, timeout: float) -> ConflictError | NotFoundError:
        live = self.read(resource.ref, timeout)
        if live is None:
            return gone(resource.kind, resource.id)
        return ConflictError(
            f"{resource.ref} was changed by somebody else",
            provider=PROVIDER,
            operation=f"Update{resource.kind}",
            resource=resource.id,
            holder=live.labels.owner if live.labels else None,
        )

    def _create_containers(self, resource: Resource, materials: Materials, timeout: float) -> None:
        endpoint, deployment = split_workload_id(resource.id)
        spec: dict[str, Any] = dict(resource.spec or {})
        given = {**spec["env"], **materials.resolve(spec["secrets"])}
        names = [container_name(endpoint, f"{deployment}-{number}") for number in range(spec["replicas"])]
        made = 0
        for name in names:
            try:
                self.host.create(name, replica_body(resource, given, self.options), timeout)
                made += 1
            except ConflictError:
                self._check_same(name, resource, timeout)
        for name in names:
            self.host.start(name, timeout)
        if not made:
            raise exists(resource)
        self._await(endpoint, deployment, timeout)

    def _await(self, endpoint: str, deployment: str, timeout: float) -> None:
        """Wait briefly for new replicas to serve: the gateway reports it at once, which is faster than polling."""
        give_up = time.monotonic() + min(_SERVING_S, timeout)
        while time.monotonic() < give_up:
            seen = self.gateways.look(endpoint, timeout, wait_s=_SLICE_S)
            if seen is None or not seen.status or seen.in_force(deployment) or failed(deployment) in seen.records:
                return

    def _check_same(self, name: str, resource: Resource, timeout: float) -> None:
        about = self.host.inspect(name, timeout)
        tags = resource.tags
        if about is None or any(
            about["Config"]["Labels"].get(key) != tags[key] for key in ("mlport-txn", "mlport-spec")
        ):
            raise exists(resource)

    # --- update and delete

    def update(self, resource: Resource, before: Live, timeout: float) -> Ack:
        """Replace the record of the endpoint or its traffic, if it is unchanged since ``before`` was read.

        Raises:
            ConflictError: The record was changed in the meantime.
            NotFoundError: The record no longer exists.
            InvalidRequestError: The port of an existing endpoint cannot change.
        """
        record = self._record(resource.ref, timeout)
        had: Any = record["value"]["spec"].get("port")
        if resource.kind == GATEWAY and DAMAGE not in record["value"] and had != (resource.spec or {}).get("port"):
            raise InvalidRequestError(
                f"port: endpoint {resource.id!r} was made with port = {had}",
                provider=PROVIDER,
                operation="UpdateGateway",
                resource=resource.id,
                hint="delete the endpoint to change its port, or leave port as it was",
            )
        return Ack(etag=self._write(resource, before.etag or record["etag"], timeout))

    def delete(self, live: Live, timeout: float) -> Ack:
        """Delete one resource; a deployment is marked first, and removed once its last request has been answered.

        Raises:
            NotFoundError: The resource no longer exists.
            ConflictError: The gateway still has deployments.
        """
        name, deployment = split_workload_id(live.id)
        if live.kind == GATEWAY:
            self._delete_gateway(name, timeout)
        elif live.kind == TRAFFIC:
            query = {"expected": self._record(live.ref, timeout)["etag"]}
            self.gateways.control(name).call("DELETE", "/records/traffic", query, timeout=timeout)
            self.gateways.look(name, timeout, wait_s=READY_S)
        else:
            self._delete_containers(name, deployment, timeout)
        return Ack()

    def _delete_containers(self, name: str, deployment: str, timeout: float) -> None:
        seen = self.gateways.look(name, timeout)
        if seen is None or deployment not in seen.replicas:
            raise gone(CONTAINER, workload_id(name, deployment))
        if not seen.status:  # without a gateway there is nothing to drain
            for about in seen.replicas[deployment]:
                self.host.remove(about["Id"], timeout)
            return
        if ending(deployment) not in seen.records:
            control = self.gateways.control(name)
            control.call("PUT", f"/records/{ending(deployment)}", body={}, timeout=timeout)
        seen = self.gateways.look(name, timeout, wait_s=READY_S)
        if seen is not None and deployment in seen.replicas:
            self.gateways.drain(name, timeout)
            self.gateways.look(name, timeout)

    def _delete_gateway(self, name: str, timeout: float) -> None:
        """Remove the gateway with its volume, then the network."""
        seen = self.gateways.look(name, timeout)
        networks = self.host.networks(timeout, endpoint=name)
        if seen is None and not networks:
            raise gone(GATEWAY, name)
        if seen is not None and seen.replicas:
            raise ConflictError(
                f"endpoint {name!r} still has deployments",
                provider=PROVIDER,
                operation="DeleteGateway",
                resource=name,
                retryable=True,
            )
        self.gateways.forget(name)
        if seen is not None and seen.container is not None:
            self.host.remove(seen.container["Id"], timeout)
        self.host.remove_left_volumes(name, timeout)
        for network in networks:
            self.host.engine.call("DELETE", f"/networks/{network['Id']}", timeout_s=timeout)

    def _record(self, ref: Ref, timeout: float) -> dict[str, Any]:
        """Return the gateway's record of an endpoint or its traffic.

        Raises:
            NotFoundError: No such record exists.
        """
        kept = ref.kind.lower()
        record = self.gateways.glance(ref.id, timeout).records.get(kept)
        if record is None:  # or its gateway has to be started first
            seen = self.gateways.look(ref.id, timeout)
            if seen is None or seen.container is None:
                raise gone(GATEWAY, ref.id)
            record = seen.records.get(kept)
        if record is None:
            raise gone(ref.kind, ref.id)
        return record


def _port_taken(port: int, resource: Resource) -> PlatformError:
    return PlatformError(
        f"port {port} on 127.0.0.1 of the engine's machine is in use",
        provider=PROVIDER,
        operation="CreateGateway",
        resource=resource.id,
        hint="free it, or set another `port` of the target; 0 takes any that is free",
    )


def url(gateway: Mapping[str, Any]) -> str | None:
    """Return the prediction URL on the engine's own machine; ``None`` while the gateway does not run."""
    if not gateway["State"]["Running"]:
        return None
    bindings: dict[str, Any] = gateway["HostConfig"]["PortBindings"] or {}
    bound = bindings.get(PORT)
    return f"http://127.0.0.1:{bound[0]['HostPort']}/invocations" if bound else None


def _traffic(name: str, seen: Seen) -> Live | None:
    record = seen.records.get("traffic")
    if not record:
        return None
    spec: dict[str, Any] = record["value"]["spec"]
    weights: dict[str, int] = spec["weights"]
    now = {one: known["weight"] for one in weights if (known := seen.in_force(one))}
    return Live(
        TRAFFIC,
        name,
        "ready" if now == weights else "updating",
        raw="in force" if now == weights else "waiting for the gateway",
        spec=spec,
        labels=_sound.labels_of(record["value"]["labels"], name),
        etag=record["etag"],
        created_at=record["created_at"],
        parents=tuple(Ref(CONTAINER, workload_id(name, one)) for one in weights),
        details=_damage(seen, "traffic"),
    )


def _damage(seen: Seen, record: str) -> dict[str, str]:
    """Return the damage that makes the endpoint degraded although it serves; empty if its record is intact."""
    damage: str = (seen.value(record) or {}).get(DAMAGE, "")
    return {DAMAGE: damage} if damage else {}


def _last(seen: Seen) -> dict[str, Any]:
    return {"last_request_at": seen.status.get("last_request_at")}


def _container(name: str, deployment: str, seen: Seen) -> Live:
    many = seen.replicas[deployment]
    labels: dict[str, str] = many[0]["Config"]["Labels"]
    spec = foreign.parse(labels[SPEC], f"the label {SPEC}")
    state, reason = _verdict(deployment, seen, many)
    return Live(
        CONTAINER,
        workload_id(name, deployment),
        state,
        raw=", ".join(sorted({str(about["State"]["Status"]) for about in many})),
        spec=spec,
        labels=_sound.labels_of(labels, name),
        created_at=seconds(many[0]["Created"]),
        parents=(*([Ref(IMAGE, spec["image"])] if spec["image"] else []), Ref(GATEWAY, name)),
        usd_per_hour=foreign.parse(labels[PRICE], f"the label {PRICE}"),
        reason=reason,
        details={**{name_of(one): {"restarts": one["RestartCount"]} for one in many}, **_bad_labels(many)},
    )


def _bad_labels(many: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = next((one for one in many if _sound.DAMAGED in one["Config"]["Labels"]), None)
    return {DAMAGE: f"{name_of(found)}: {found['Config']['Labels'][_sound.DAMAGED]}"} if found else {}


def _verdict(deployment: str, seen: Seen, many: Sequence[Mapping[str, Any]]) -> tuple[State, str | None]:
    if ending(deployment) in seen.records:
        return "deleting", None
    note = seen.value(failed(deployment))
    if note is not None:
        return "failed", str(note["reason"])
    known = seen.in_force(deployment)
    if known is None and _bad_labels(many):
        return "failed", _bad_labels(many)[DAMAGE]
    if known is None:
        return ("failed", "its gateway is gone") if seen.container is None else ("creating", None)
    return _served(known["replicas"], seen, many)


def _served(
    known: Mapping[str, Mapping[str, Any]], seen: Seen, many: Sequence[Mapping[str, Any]]
) -> tuple[State, str | None]:
    """Return state and reason of a deployment in force, from the gateway's status and the condition of its replicas."""
    names = [name_of(about) for about in many]
    broken = next((name for name in names if name in seen.troubles), None)
    if broken is not None:
        return "failed", f"{broken} cannot be started: {seen.troubles[broken]}"
    revived = [f"{name} {seen.revived[name]}" for name in names if name in seen.revived]
    if revived:
        return "updating", f"{', '.join(revived)}; started again"
    if all(one["ready"] for one in known.values()):
        return "ready", None
    looping = next((about for about in many if _replicas.is_looping(about)), None)
    if looping is not None:
        return "failed", f"{name_of(looping)} ended {looping['RestartCount']} times; see its logs"
    return "updating", _replicas.waiting(known, many)
