"""Endpoints as resources of an engine: each operation changes one, then the gateway is brought to agree."""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any, Literal

from sdk.adapter import Ack, Labels, Live, Ref
from sdk.errors import ConfigError, ConflictError, InvalidRequestError, NotFoundError, PlatformError
from sdk.packaging.image import image_id
from sdk.plane.lines import start_failure
from sdk.plane.planning import GATEWAY, TRAFFIC, split_workload_id, workload_id

from . import _images
from ._engine import DEPLOYMENT, KIND, NOBODY, PRICE, SPEC, hardened
from ._errors import PROVIDER, gone
from ._gateway import Gateways, container_name, is_broken, network_name
from ._plan import CONTAINER, IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Clock, Materials, Resource

    from ._engine import Host
    from ._gateway import Seen
    from .options import DockerOptions

    State = Literal["creating", "ready", "updating", "failed", "deleting"]


class Deployments:
    """Gateways, containers and traffic of all endpoints of one engine."""

    def __init__(self, host: Host, options: DockerOptions, clock: Clock, owner: str) -> None:
        self.host = host
        self.options = options
        self.clock = clock
        self.owner = owner
        self.gateways = Gateways(host, options)

    # --- read

    def observe(self, name: str, timeout: float) -> list[Live]:
        """Everything of one endpoint, the pointer first."""
        seen = self.gateways.look(name, timeout)
        if seen is None:
            return self._remains(name, timeout)
        lives = [self._traffic(name, seen), *(self._container(name, one, seen) for one in seen.replicas)]
        found = [live for live in (*lives, self._gateway(name, seen)) if live is not None]
        images = {parent for live in found for parent in live.parents if parent.kind == IMAGE}
        shared = (_images.read(self.host, ref.id, self.owner, timeout) for ref in sorted(images))
        return found + [live for live in shared if live is not None]

    def _remains(self, name: str, timeout: float) -> list[Live]:
        labels = self.gateways.bare_network(name, timeout)
        return [] if labels is None else [Live(GATEWAY, name, "failed", raw="network", spec={}, labels=labels)]

    def list_all(self, timeout: float) -> Iterator[Live]:
        """Everything of every endpoint, without the shared images."""
        for name in self.gateways.names(timeout):
            yield from (live for live in self.observe(name, timeout) if live.kind != IMAGE)

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """One resource of an endpoint."""
        name, _ = split_workload_id(ref.id)
        return next((live for live in self.observe(name, timeout) if live.ref == ref), None)

    def _gateway(self, name: str, seen: Seen) -> Live:
        record: dict[str, Any] = seen.records.get("gateway") or {}
        image = str(seen.container["Config"]["Labels"]["mlport-image"])
        return Live(
            GATEWAY,
            name,
            "ready" if seen.running else "creating",
            raw=str(seen.container["State"]["Status"]),
            spec=record.get("spec", {}),
            labels=Labels.from_tags(record.get("labels") or seen.container["Config"]["Labels"]),
            etag=record.get("etag"),
            created_at=record.get("created_at"),
            parents=(Ref(IMAGE, image),),
            details={"url": seen.url, "last_request_at": seen.status.get("last_request_at")},
        )

    @staticmethod
    def _traffic(name: str, seen: Seen) -> Live | None:
        record = seen.records.get("traffic")
        if not record:
            return None
        weights = record["spec"]["weights"]
        known = seen.status.get("deployments", {})
        in_force = {one: known[one]["weight"] for one in weights if one in known} == weights
        return Live(
            TRAFFIC,
            name,
            "ready" if in_force else "updating",
            raw="in force" if in_force else "waiting for the gateway",
            spec=record["spec"],
            labels=Labels.from_tags(record["labels"]),
            etag=record["etag"],
            created_at=record["created_at"],
            parents=tuple(Ref(CONTAINER, workload_id(name, one)) for one in weights),
        )

    def _container(self, name: str, deployment: str, seen: Seen) -> Live:
        first = seen.replicas[deployment][0]
        labels: dict[str, str] = first["Config"]["Labels"]
        spec = json.loads(labels[SPEC])
        state, raw, reason = self._verdict(deployment, seen)
        return Live(
            CONTAINER,
            workload_id(name, deployment),
            state,
            raw=raw,
            spec=spec,
            labels=Labels.from_tags(labels),
            created_at=_images.seconds(first["Created"]),
            parents=(Ref(IMAGE, spec["image"]), Ref(GATEWAY, name)),
            usd_per_hour=json.loads(labels[PRICE]),
            reason=reason,
            details={
                str(one["Name"]).lstrip("/"): {"restarts": one["RestartCount"]} for one in seen.replicas[deployment]
            },
        )

    def _verdict(self, deployment: str, seen: Seen) -> tuple[State, str, str | None]:
        many = seen.replicas[deployment]
        raw = ", ".join(sorted({str(about["State"]["Status"]) for about in many}))
        if is_broken(seen, deployment):
            return "failed", raw, self._why(many)
        ready = seen.ready(deployment)
        if ready is None:
            return "creating", raw, None
        return ("ready" if ready else "updating"), raw, None

    def _why(self, many: list[dict[str, Any]]) -> str:
        """Why a deployment never became ready, in the server's own words if it left any."""
        about = max(many, key=lambda one: int(one["RestartCount"]))
        name = str(about["Name"]).lstrip("/")
        if about["RestartCount"] == 0:
            return "some of its replicas are missing"
        if about["State"].get("OOMKilled") or about["State"]["ExitCode"] == 137:
            return f"{name} was killed for the memory it used; give it more with resources = {{ memory_gib }}"
        lines: list[str] = []
        with contextlib.suppress(PlatformError):
            lines = self.host.engine.logs(about["Id"], tail=20)
        said = next((text for line in reversed(lines) if (text := start_failure(line))), None)
        return f"{name}: {said}" if said else f"{name} exited with code {about['State']['ExitCode']}"

    # --- change

    def create(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Make one resource.

        Raises:
            ConflictError: It exists.
        """
        if resource.kind == GATEWAY:
            if materials.model is None:
                raise ConfigError(f"the model of {resource.id!r} is not at hand", hint="deploy it again")
            image = image_id(materials.model.digest, self.options.base)
            self.gateways.create(resource, image, self.clock.time(), timeout)
        elif resource.kind == TRAFFIC:
            seen = self._seen(resource.id, timeout)
            if seen.records.get("traffic"):
                raise _exists(resource)
            self._write(resource, self.clock.time(), timeout)
        else:
            self._create_containers(resource, materials, timeout)
        return Ack()

    def _write(self, resource: Resource, created_at: float, timeout: float) -> str:
        etag = secrets.token_hex(8)
        record = {"labels": resource.tags, "spec": dict(resource.spec or {}), "etag": etag, "created_at": created_at}
        self.gateways.write(resource.id, {resource.kind.lower(): record}, timeout)
        self.gateways.look(resource.id, timeout)
        return etag

    def _create_containers(self, resource: Resource, materials: Materials, timeout: float) -> None:
        endpoint, deployment = split_workload_id(resource.id)
        spec: dict[str, Any] = dict(resource.spec or {})
        given = {**spec["env"], **materials.resolve(spec["secrets"])}
        made = 0
        for number in range(spec["replicas"]):
            name = container_name(endpoint, f"{deployment}-{number}")
            try:
                self.host.create(name, self._body(resource, given), timeout)
                made += 1
            except ConflictError:
                self._check_same(name, resource, timeout)
            self.host.start(name, timeout)
        self.gateways.look(endpoint, timeout)
        if not made:
            raise _exists(resource)

    def _check_same(self, name: str, resource: Resource, timeout: float) -> None:
        about = self.host.inspect(name, timeout)
        tags = resource.tags
        if about is None or any(
            about["Config"]["Labels"].get(key) != tags[key] for key in ("mlport-txn", "mlport-spec")
        ):
            raise _exists(resource)

    def _body(self, resource: Resource, given: dict[str, str]) -> dict[str, Any]:
        endpoint, deployment = split_workload_id(resource.id)
        spec: dict[str, Any] = dict(resource.spec or {})
        threads = {"MLPORT_THREADS": str(max(1, round(spec["cpu"])))} if spec["cpu"] else {}
        own = {
            "MLPORT_BIND": "tcp:0.0.0.0:8080",
            "MLPORT_DEPLOYMENT": deployment,
            "MLPORT_ENDPOINT": endpoint,
            "MLPORT_MAX_BODY": str(self.options.max_body),
            "MLPORT_DRAIN_S": "0",
            "MLPORT_DEADLINE_S": f"{self.options.deadline_s:g}",
        }
        labels = {
            KIND: CONTAINER,
            DEPLOYMENT: deployment,
            SPEC: json.dumps(spec),
            PRICE: json.dumps(resource.usd_per_hour),
        }
        return {
            "Image": _images.name_of(spec["image"]),
            "Cmd": ["serve"],
            "User": f"{NOBODY}:{NOBODY}",
            "Env": [f"{key}={value}" for key, value in {**threads, **given, **own}.items()],
            "Labels": {**resource.tags, **labels},
            "HostConfig": {
                **hardened(spec["cpu"], spec["memory_gib"]),
                "NetworkMode": network_name(endpoint),
                "RestartPolicy": {"Name": "unless-stopped"},
            },
        }

    def update(self, resource: Resource, before: Live, timeout: float) -> Ack:
        """Replace the record of the endpoint or its traffic, if it is still the one that was seen before.

        Raises:
            ConflictError: It was changed meanwhile.
            InvalidRequestError: The port of a living endpoint cannot change.
        """
        seen = self._seen(resource.id, timeout)
        record = seen.records.get(resource.kind.lower())
        if not record:
            raise gone(resource.kind, resource.id)
        facts: dict[str, Any] = {"provider": PROVIDER, "operation": f"Update{resource.kind}", "resource": resource.id}
        if before.etag is not None and before.etag != record["etag"]:
            raise ConflictError(
                f"{resource.ref} was changed by somebody else", holder=record["labels"].get("mlport-owner"), **facts
            )
        if resource.kind == GATEWAY and record["spec"]["port"] != (resource.spec or {}).get("port"):
            raise InvalidRequestError(
                f"port: endpoint {resource.id!r} was made with port = {record['spec']['port']}",
                hint="delete the endpoint to change its port, or leave port as it was",
                **facts,
            )
        return Ack(etag=self._write(resource, record["created_at"], timeout))

    def delete(self, live: Live, timeout: float) -> Ack:
        """Remove one resource; a deployment only after its last request.

        Raises:
            NotFoundError: It is gone already.
            ConflictError: The gateway still has deployments.
        """
        name, deployment = split_workload_id(live.id)
        if live.kind == GATEWAY:
            self._delete_gateway(name, timeout)
        elif live.kind == TRAFFIC:
            if not self._seen(name, timeout).records.get("traffic"):
                raise gone(TRAFFIC, name)
            self.gateways.write(name, {"traffic": None}, timeout)
            self.gateways.look(name, timeout)
        else:
            self._delete_containers(name, deployment, timeout)
        return Ack()

    def _delete_containers(self, name: str, deployment: str, timeout: float) -> None:
        items = self.host.containers(timeout, endpoint=name, kind=CONTAINER, deployment=deployment)
        if not items:
            raise gone(CONTAINER, f"{name}.{deployment}")
        with contextlib.suppress(PlatformError):  # without its gateway there is nothing to drain
            self.gateways.look(name, timeout, without=deployment)
            self.gateways.call(
                name, "POST", f"/drain?timeout_s={min(self.options.drain_s, timeout):g}", timeout=timeout
            )
        for item in items:
            with contextlib.suppress(NotFoundError):
                self.host.remove(item["Id"], timeout)
        self.gateways.look(name, timeout)

    def _delete_gateway(self, name: str, timeout: float) -> None:
        if self.host.containers(timeout, endpoint=name, kind=CONTAINER):
            raise ConflictError(
                f"endpoint {name!r} still has deployments",
                provider=PROVIDER,
                operation="DeleteGateway",
                resource=name,
                retryable=True,
            )
        if name not in self.gateways.names(timeout):
            raise gone(GATEWAY, name)
        self.gateways.delete(name, timeout)

    def _seen(self, name: str, timeout: float) -> Seen:
        seen = self.gateways.look(name, timeout)
        if seen is None:
            raise gone(GATEWAY, name)
        return seen


def _exists(resource: Resource) -> ConflictError:
    return ConflictError(
        f"{resource.ref} exists", provider=PROVIDER, operation=f"Create{resource.kind}", resource=resource.id
    )
