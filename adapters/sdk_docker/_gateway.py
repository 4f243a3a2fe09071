"""One look at an endpoint on its engine, which first brings the gateway to agree with what is there.

The gateway is the one container that publishes a port. Its volume holds what no label can, as labels never change:
the token, the labels and specs of the endpoint and its traffic, and the table that was last handed over. So every
client of the engine finds the same endpoint, and a client killed half-way leaves what the next look finishes.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels
from sdk.errors import NotFoundError, PlatformError, UnavailableError
from sdk.plane import table
from sdk.plane.planning import GATEWAY

from ._engine import DEPLOYMENT, ENDPOINT, KIND, NOBODY, SPEC, hardened, pack, unpack
from ._errors import PROVIDER
from ._images import name_of
from ._plan import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Resource

    from ._engine import Host
    from .options import DockerOptions

VOLUME = "/mlport"
RUN, RECORDS = f"{VOLUME}/run", f"{VOLUME}/records"
_PORT = "8080/tcp"
_TRIES = 8
_CALL = ["python", "-P", "-m", "mlport_serving", "gateway", "call", RUN]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: the gateway's container, its records, its status, and the containers of deployments."""

    container: Mapping[str, Any]
    records: Mapping[str, Any]
    status: Mapping[str, Any]
    replicas: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])

    @property
    def running(self) -> bool:
        """Whether the gateway answers."""
        return bool(self.status)

    @property
    def url(self) -> str | None:
        """Where predictions go."""
        bindings: dict[str, Any] = self.container["HostConfig"]["PortBindings"] or {}
        bound = bindings.get(_PORT)
        return f"http://127.0.0.1:{bound[0]['HostPort']}/invocations" if bound and self.running else None

    @property
    def token(self) -> str:
        """What a client must send."""
        return str(self.records.get("token", ""))

    def ready(self, deployment: str) -> bool | None:
        """Whether all replicas are ready; ``None`` when the deployment is not in force."""
        known = self.status.get("deployments", {}).get(deployment)
        return None if known is None else all(one["ready"] for one in known["replicas"].values())


def container_name(endpoint: str, part: str) -> str:
    """The name of a container, which is also its address in the endpoint's network."""
    return f"mlport-{endpoint}-{part}"


def network_name(endpoint: str) -> str:
    """The name of an endpoint's network."""
    return f"mlport-{endpoint}"


class Gateways:
    """The gateways of one engine."""

    def __init__(self, host: Host, options: DockerOptions) -> None:
        self.host = host
        self.options = options

    # --- look

    def look(self, name: str, timeout: float, *, without: str | None = None) -> Seen | None:
        """What is there, brought to agree; ``None`` if there is no gateway. ``without`` leaves a deployment out."""
        container = self.host.inspect(container_name(name, "gateway"), timeout)
        if container is None:
            return None
        replicas = self._replicas(name, timeout)
        if not container["State"]["Running"]:
            self._revive(container, timeout)
        records = self._records(name)
        try:
            seen = Seen(container, records, self.call(name, "GET", "/status", timeout=timeout), replicas)
        except PlatformError:
            return Seen(container, records, {}, replicas)
        return self._agree(name, seen, without, timeout)

    def _replicas(self, name: str, timeout: float) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for item in self.host.containers(timeout, endpoint=name, kind=CONTAINER):
            about = self.host.inspect(item["Id"], timeout)
            if about is not None:
                found.setdefault(item["Labels"][DEPLOYMENT], []).append(about)
        return {one: sorted(many, key=lambda about: str(about["Name"])) for one, many in sorted(found.items())}

    def _records(self, name: str) -> dict[str, Any]:
        try:
            files = unpack(self.host.get(container_name(name, "gateway"), RECORDS))
            token = unpack(self.host.get(container_name(name, "gateway"), f"{RUN}/token"))
        except NotFoundError:
            return {}
        records = {path.rpartition("/")[2].removesuffix(".json"): json.loads(data) for path, data in files.items()}
        return {**records, "token": token["token"].decode()}

    def _agree(self, name: str, seen: Seen, without: str | None, timeout: float) -> Seen:
        """Hand the gateway the table that the containers make, unless it has it or is at it."""
        wanted = self._table(seen, without)
        pushed = seen.records.get("pushed") or {"generation": 0, "content": ""}
        generation = table.due(wanted, pushed, seen.status)
        if generation is None:
            return seen
        content = table.content_hash(wanted)
        self.write(
            name,
            {"pushed": {"generation": generation, "content": content}, "table": {"generation": generation, **wanted}},
            timeout,
        )
        path = f"/table?timeout_s={self.options.start_s:g}"
        command = f'exec "$@" PUT "{path}" < {RECORDS}/table.json'
        gateway = container_name(name, "gateway")
        waits = without is not None
        self.host.run(gateway, ["sh", "-c", command, "sh", *_CALL], timeout, detach=not waits)
        return replace(seen, status=self.call(name, "GET", "/status", timeout=timeout))

    def _table(self, seen: Seen, without: str | None) -> dict[str, Any]:
        traffic: dict[str, Any] = seen.records.get("traffic") or {"spec": {"weights": {}}}
        weights: dict[str, int] = traffic["spec"]["weights"]
        used = [one for one in seen.replicas if one != without and not (is_broken(seen, one))]
        replicas: dict[str, list[dict[str, Any]]] = {}
        for one in used:
            names = [str(about["Name"]).lstrip("/") for about in seen.replicas[one]]
            replicas[one] = [{"id": f"{one}-{n}", "address": f"tcp:{host}:8080"} for n, host in enumerate(names)]
        return table.table(replicas, weights, self.options)

    def call(self, name: str, method: str, path: str, *, timeout: float) -> dict[str, Any]:
        """One call of the gateway's control protocol, made inside its container.

        Raises:
            UnavailableError: The gateway gave no answer.
        """
        output = self.host.run(container_name(name, "gateway"), [*_CALL, method, path], timeout)
        try:
            value: dict[str, Any] = json.loads(output)
        except ValueError:
            value = {"error": {"message": output.decode("utf-8", "replace")[-500:] or "no answer"}}
        if "error" in value:
            message = f"the gateway of {name!r}: {value['error']['message']}"
            raise UnavailableError(message, provider=PROVIDER, operation=f"{method} {path}", resource=name)
        return value

    def write(self, name: str, records: Mapping[str, Any], timeout: float) -> None:
        """Put records into the gateway's volume."""
        files = {f"{one}.json": json.dumps(value).encode() for one, value in records.items()}
        self.host.put(container_name(name, "gateway"), RECORDS, pack(files), timeout)

    # --- change

    def create(self, resource: Resource, image: str, now: float, timeout: float) -> None:
        """The network, then the gateway with its files, started last."""
        name = container_name(resource.id, "gateway")
        if not self._networks(resource.id, timeout):
            body = {"Name": network_name(resource.id), "CheckDuplicate": True, "Labels": resource.tags}
            self.host.engine.call("POST", "/networks/create", json=body, timeout_s=timeout)
        for attempt in range(_TRIES):
            port = self.options.port or 20_000 + secrets.randbelow(12_000)
            self.host.create(name, self._body(resource, image, port, now), timeout)
            try:
                self._fill_and_start(name, resource.tags, dict(resource.spec or {}), now, timeout)
            except PlatformError as error:
                self.host.remove(name, timeout)
                taken = "allocated" in str(error) or "address already in use" in str(error)
                if self.options.port or not taken or attempt == _TRIES - 1:
                    raise
            else:
                return

    def _fill_and_start(self, name: str, tags: dict[str, str], spec: Any, now: float, timeout: float) -> None:
        record = json.dumps({"labels": tags, "spec": spec, "etag": secrets.token_hex(8), "created_at": now})
        files = {
            "run": None,
            "run/token": secrets.token_urlsafe(32).encode(),
            "records": None,
            "records/gateway.json": record.encode(),
        }
        self.host.put(name, VOLUME, pack(files), timeout)
        self.host.start(name, timeout)

    def _revive(self, container: Mapping[str, Any], timeout: float) -> None:
        """Start a gateway that does not run; one whose maker died before that gets its files first."""
        labels: dict[str, str] = container["Config"]["Labels"]
        name = labels[ENDPOINT]
        full = container_name(name, "gateway")
        if "gateway" in self._records(name):
            self.host.start(full, timeout)
        else:
            now = float(labels["mlport-created"])
            self._fill_and_start(full, dict(labels), json.loads(labels[SPEC]), now, timeout)

    def _body(self, resource: Resource, image: str, port: int, now: float) -> dict[str, Any]:
        endpoint = resource.id
        command = ["gateway", "--dir", RUN, "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104  in its own network
        for known in ("127.0.0.1:*", "localhost:*"):
            command += ["--allow-host", known]
        own = {KIND: GATEWAY, SPEC: json.dumps(resource.spec), "mlport-created": str(now), "mlport-image": image}
        return {
            "Image": name_of(image),
            "Cmd": command,
            "User": f"{NOBODY}:{NOBODY}",
            "Labels": {**resource.tags, ENDPOINT: endpoint, **own},
            "ExposedPorts": {_PORT: {}},
            "HostConfig": {
                **hardened(None, None),
                "NetworkMode": network_name(endpoint),
                "PortBindings": {_PORT: [{"HostIp": "127.0.0.1", "HostPort": str(port)}]},
                "Mounts": [{"Type": "volume", "Target": VOLUME}],
                "RestartPolicy": {"Name": "unless-stopped"},
            },
        }

    def delete(self, name: str, timeout: float) -> None:
        """Remove the gateway, then the network."""
        if self.host.inspect(container_name(name, "gateway"), timeout) is not None:
            self.host.remove(container_name(name, "gateway"), timeout)
        for network in self._networks(name, timeout):
            self.host.engine.call("DELETE", f"/networks/{network['Id']}", timeout_s=timeout)

    def _networks(self, name: str, timeout: float) -> list[dict[str, Any]]:
        filters = json.dumps({"label": ["mlport=1", f"{ENDPOINT}={name}"]})
        found: list[dict[str, Any]] = self.host.engine.call(
            "GET", "/networks", params={"filters": filters}, timeout_s=timeout
        )
        return found

    def bare_network(self, name: str, timeout: float) -> Labels | None:
        """The labels of a network whose gateway is gone, so that it is found and removed."""
        found = self._networks(name, timeout)
        return Labels.from_tags(found[0]["Labels"]) if found else None

    def names(self, timeout: float) -> list[str]:
        """The endpoints of this engine, whole or not."""
        items = self.host.containers(timeout)
        names = {one["Labels"][ENDPOINT] for one in items if one["Labels"].get(KIND) in {GATEWAY, CONTAINER}}
        filters = json.dumps({"label": ["mlport=1"]})
        networks = self.host.engine.call("GET", "/networks", params={"filters": filters}, timeout_s=timeout)
        return sorted(names | {one["Labels"][ENDPOINT] for one in networks if ENDPOINT in one["Labels"]})


def is_broken(seen: Seen, deployment: str) -> bool:
    """Whether a deployment that was never ready keeps ending or lacks replicas, so that waiting is no use."""
    if seen.ready(deployment) is not None:
        return False
    many = seen.replicas[deployment]
    spec = json.loads(many[0]["Config"]["Labels"][SPEC])
    return len(many) < spec["replicas"] or any(about["RestartCount"] >= 2 for about in many)
