"""Endpoints as resources: each operation replaces one record, then applies the records to the gateway."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from sdk.adapter import Ack, Live, Ref
from sdk.adapter.shared.gateway_plan import GATEWAY, TRAFFIC, split_workload_id, workload_id
from sdk.adapter.shared.gateway_status import DAMAGE
from sdk.errors import ConflictError, InvalidRequestError, NotFoundError
from sdk.packaging import venv

from ._devices import lock_of, need
from ._errors import PROVIDER, translate
from ._gateway import FAILURE, Gateway
from ._plan import MODEL, PROCESS
from ._processes import MARK, environment
from ._rebuild import REBUILT
from ._records import DELETING, create_record, new_record, remove_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdk.adapter import Clock, Materials, Resource

    from ._devices import Devices
    from ._folder import EndpointFolder, Endpoints
    from ._gateway import Running, Seen, State
    from ._prepare import Prepared
    from ._records import Record
    from .options import LocalOptions


class Deployments:
    """The gateways, processes and traffic of all endpoints in one state folder."""

    def __init__(
        self, endpoints: Endpoints, prepared: Prepared, devices: Devices, options: LocalOptions, clock: Clock
    ) -> None:
        self.endpoints = endpoints
        self.devices = devices
        self.prepared = prepared
        self.options = options
        self.clock = clock

    def gateway(self, name: str) -> Gateway:
        """Return the gateway of an endpoint, running or not."""
        return Gateway(self.endpoints.folder(name), self.options)

    # --- read

    def observe(self, name: str, timeout: float) -> list[Live]:
        """Return all resources of one endpoint, the traffic record first."""
        seen = self.gateway(name).look(timeout)
        if seen is None:
            return []
        folder = self.endpoints.folder(name)
        with translate("ReadEndpoint", name):
            names = list(folder.deployments())
        lives = [
            self._traffic(name, seen),
            *(self._process(name, one, seen) for one in names),
            self._gateway(name, seen),
        ]
        found = [live for live in lives if live is not None]
        models = {parent for live in found for parent in live.parents if parent.kind == MODEL}
        return found + [live for ref in sorted(models) if (live := self.prepared.read(MODEL, ref.id)) is not None]

    def list_all(self, timeout: float) -> Iterator[Live]:
        """Yield all resources of every endpoint except the shared models."""
        with translate("ListEndpoints", str(self.endpoints.root)):
            names = list(self.endpoints.names())
        for name in names:
            yield from (live for live in self.observe(name, timeout) if live.kind != MODEL)

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """Return one resource of an endpoint."""
        name, deployment = split_workload_id(ref.id)
        seen = self.gateway(name).look(timeout)
        if seen is None:
            return None
        if ref.kind == GATEWAY:
            return self._gateway(name, seen)
        return self._traffic(name, seen) if ref.kind == TRAFFIC else self._process(name, deployment, seen)

    def _gateway(self, name: str, seen: Seen) -> Live:
        record = seen.record
        details = {"url": seen.url, "port": seen.port, "last_request_at": seen.last_request_at, **_damage(record)}
        return Live(
            GATEWAY,
            name,
            seen.state,
            raw=seen.raw,
            spec=record.spec,
            labels=record.labels,
            etag=record.etag,
            created_at=record.created_at,
            reason=seen.reason,
            details=details,
        )

    def _traffic(self, name: str, seen: Seen) -> Live | None:
        with translate("ReadTraffic", name):
            record = self.endpoints.folder(name).read_traffic()
        if record is None:
            return None
        weights: Any = record.spec["weights"]
        in_force = {one: seen.deployments[one].weight for one in weights if one in seen.deployments} == weights
        return Live(
            TRAFFIC,
            name,
            "ready" if in_force else "updating",
            raw="in force" if in_force else "waiting for the gateway",
            spec=record.spec,
            labels=record.labels,
            etag=record.etag,
            created_at=record.created_at,
            parents=tuple(Ref(PROCESS, workload_id(name, one)) for one in weights),
            details=_damage(record),
        )

    def _process(self, name: str, deployment: str, seen: Seen) -> Live | None:
        with translate("ReadProcess", deployment):
            record = self.endpoints.folder(name).read_deployment(deployment)
        ref = workload_id(name, deployment)
        if record is None:
            return None
        running = seen.deployments.get(deployment)
        state, raw, reason = _verdict(record, running, seen)
        price = record.extra["usd_per_hour"]
        return Live(
            PROCESS,
            ref,
            state,
            raw=raw,
            spec=record.spec,
            labels=record.labels,
            etag=record.etag,
            created_at=record.created_at,
            parents=(Ref(MODEL, record.labels.model), Ref(GATEWAY, name)),
            usd_per_hour=price,
            reason=reason,
            details={**({} if running is None else running.details()), **_damage(record)},
        )

    # --- change

    def create(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Create one resource.

        Raises:
            ConflictError: The resource already exists.
        """
        now = self.clock.time()
        try:
            with translate(f"Create{resource.kind}", resource.id):
                if resource.kind == GATEWAY:
                    extra = {"run": secrets.token_hex(16)}
                    self.endpoints.folder(resource.id).create(new_record(resource, now, extra))
                    self.gateway(resource.id).look(timeout)
                elif resource.kind == TRAFFIC:
                    create_record(self._folder(resource.id).traffic, new_record(resource, now))
                    self.gateway(resource.id).look(timeout)
                else:
                    self._create_process(resource, materials, now, timeout)
        except FileExistsError as error:
            raise ConflictError(
                f"{resource.ref} exists", provider=PROVIDER, operation=f"Create{resource.kind}", resource=resource.id
            ) from error
        return Ack()

    def _create_process(self, resource: Resource, materials: Materials, now: float, timeout: float) -> None:
        name, deployment = split_workload_id(resource.id)
        folder = self._folder(name)
        endpoint = folder.read()
        if endpoint is None:
            raise _gone(GATEWAY, name)
        record = folder.deployment(deployment)
        with self.devices.reserved(need(name, resource.spec or {}, record)) as gpus:
            replicas = self._replicas(resource, materials, folder, str(endpoint.extra["run"]), gpus)
            extra = {"usd_per_hour": resource.usd_per_hour, "replicas": replicas}
            create_record(record, new_record(resource, now, extra))
        self.gateway(name).look(timeout)

    def _replicas(
        self,
        resource: Resource,
        materials: Materials,
        folder: EndpointFolder,
        run: str,
        gpus: Mapping[str, Sequence[str]],
    ) -> list[dict[str, Any]]:
        """Return the table entries of a deployment's replicas: command, folder, environment and limits of each."""
        spec: dict[str, Any] = dict(resource.spec or {})
        material = self.prepared.existing(MODEL, spec["model"][:32])
        own = {
            "PYTHONPATH": str(venv.runtime()),
            "MLPORT_MODEL_DIR": str(material.extra["folder"]),
            "MLPORT_MODEL_DIGEST": spec["model"],
            "MLPORT_DEPLOYMENT": spec["deployment"],
            "MLPORT_ENDPOINT": folder.name,
            "MLPORT_MAX_BODY": str(self.options.max_body),
            "MLPORT_DRAIN_S": "0",  # the gateway waits for the last request to end before it stops a replica
            "MLPORT_DEADLINE_S": f"{self.options.deadline_s:g}",
            MARK: run,
        }
        given = {**spec["env"], **materials.resolve(spec["secrets"])}
        memory = spec["memory_gib"]
        limits = {"memory_bytes": int(memory * 2**30)} if memory else {}
        entries: list[dict[str, Any]] = []
        for number in range(spec["replicas"]):
            replica = f"{spec['deployment']}-{number}"
            address = f"unix:{folder.short / f'b-{replica}.sock'}"
            devices = gpus[f"{folder.name}.{replica}"]
            env = environment(given, {**own, "MLPORT_BIND": address}, spec["cpu"], devices)
            argv = [str(material.extra["python"]), "-m", "mlport_serving", "serve"]
            spawn: dict[str, Any] = {"argv": argv, "env": env, "cwd": str(folder.path), "limits": limits}
            if devices:
                spawn["locks"] = [str(lock_of(device)) for device in devices]
            entries.append({"id": replica, "address": address, "spawn": spawn})
        return entries

    def update(self, resource: Resource, before: Live, timeout: float) -> Ack:
        """Replace the record of the endpoint or its traffic, if it is unchanged since ``before`` was read.

        Raises:
            ConflictError: The record was changed in the meantime.
            NotFoundError: The record no longer exists.
            InvalidRequestError: The port of an existing endpoint cannot change.
        """
        folder = self._folder(resource.id)
        path = folder.gateway if resource.kind == GATEWAY else folder.traffic
        with translate(f"Update{resource.kind}", resource.id):
            record = folder.read() if resource.kind == GATEWAY else folder.read_traffic()
            if record is None:
                raise _gone(resource.kind, resource.id)
            _check_unchanged(resource, record, before)
            fresh = new_record(resource, record.created_at, record.extra)
            write_record(path, fresh)
            self.gateway(resource.id).look(timeout)
        return Ack(etag=fresh.etag)

    def delete(self, live: Live, timeout: float) -> Ack:
        """Delete one resource; its processes end in the background, and have ended once ``read`` returns ``None``.

        Raises:
            NotFoundError: The resource no longer exists.
        """
        name, deployment = split_workload_id(live.id)
        with translate(f"Delete{live.kind}", live.id):
            if live.kind == GATEWAY:
                self._delete_gateway(name, timeout)
            else:
                self._delete_record(live, self._folder(name), deployment)
                self.gateway(name).look(timeout)
                self.gateway(name).drain()
        return Ack()

    @staticmethod
    def _delete_record(live: Live, folder: EndpointFolder, deployment: str) -> None:
        """Remove a traffic record at once; mark a deployment, whose record stays until its last process has ended."""
        path = folder.traffic if live.kind == TRAFFIC else folder.deployment(deployment)
        record = folder.read_traffic() if live.kind == TRAFFIC else folder.read_deployment(deployment)
        if record is None:
            raise _gone(live.kind, live.id)
        if live.kind == TRAFFIC:
            remove_record(path)
        else:
            folder.ending(deployment).touch(mode=0o600)

    def _delete_gateway(self, name: str, timeout: float) -> None:
        folder = self._folder(name)
        self.gateway(name).look(timeout)
        if list(folder.deployments()):
            raise ConflictError(
                f"endpoint {name!r} still has deployments",
                provider=PROVIDER,
                operation="DeleteGateway",
                resource=name,
                retryable=True,
            )
        folder.deleting.touch(mode=0o600)
        self.gateway(name).look(timeout)

    def _folder(self, name: str) -> EndpointFolder:
        folder = self.endpoints.folder(name)
        if folder.read() is None:
            raise _gone(GATEWAY, name)
        return folder


def _damage(record: Record) -> dict[str, str]:
    """Return the damage that makes the endpoint degraded although it serves; empty if its record is intact."""
    return {DAMAGE: record.damage} if record.damage else {}


def _verdict(record: Record, running: Running | None, seen: Seen) -> tuple[State, str, str | None]:
    """Return state, raw state and reason of a deployment that has a record."""
    if DELETING in record.extra:
        return "deleting", "draining", None
    if record.damage and not record.extra["replicas"]:
        return "failed", "damaged", record.damage
    failure = record.extra.get(FAILURE)
    if failure is not None:
        return "failed", "never ready", str(failure["reason"])
    if seen.state == "failed":
        return "failed", "no gateway", seen.reason
    return ("creating", "starting", None) if running is None else running.verdict()


def _check_unchanged(resource: Resource, record: Record, before: Live) -> None:
    if before.etag is not None and before.etag != record.etag:
        raise ConflictError(
            f"{resource.ref} was changed by somebody else",
            provider=PROVIDER,
            operation=f"Update{resource.kind}",
            resource=resource.id,
            holder=record.labels.owner,
        )
    wanted: Any = (resource.spec or {}).get("port")
    if resource.kind == GATEWAY and REBUILT not in record.spec and record.spec["port"] != wanted:
        raise InvalidRequestError(
            f"port = {wanted}: endpoint {resource.id!r} was made with port = {record.spec['port']}",
            provider=PROVIDER,
            operation="UpdateGateway",
            resource=resource.id,
            hint="delete the endpoint to change its port, or leave port as it was",
        )


def _gone(kind: str, name: str) -> NotFoundError:
    return NotFoundError(f"{kind} {name} is not there", provider=PROVIDER, operation=f"Read{kind}", resource=name)
