"""Endpoints as resources of a workspace: each operation is a read and at most one changing call."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdk.adapter import Ack, Live, Ref
from sdk.config.secrets import CLOUD
from sdk.errors import AuthError, ConfigError, ConflictError

from . import _bodies
from ._arm import ML_API
from ._errors import PROVIDER, exists, gone
from ._json import table
from ._names import autoscale_name, endpoint_name, split_deployment_id
from ._plan import AUTOSCALE, DEPLOYMENT, ENDPOINT, TRAFFIC
from ._spelling import same

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    import httpx

    from sdk.adapter import Materials, Resource

    from ._arm import Arm
    from .options import AzureMLOptions

AUTOSCALE_API = "2022-10-01"


class Deployments:
    """Endpoints, deployments, autoscale settings and traffic of one workspace.

    Args:
        arm: The client of the resource manager.
        options: The target's settings.
        price: Returns the price of one instance of a type per hour.
        why: Returns why a deployment failed, from the last lines of its container.

    Attributes:
        tags: The user's tags of endpoints planned in this process, by endpoint. They are not part of the endpoint's
            spec, since that is journalled and a tag may hold any text; every change of an endpoint sets them.
    """

    def __init__(
        self,
        arm: Arm,
        options: AzureMLOptions,
        price: Callable[[str | None], float | None],
        why: Callable[[str, str, float], str | None],
    ) -> None:
        self.arm = arm
        self.options = options
        self._price = price
        self._why = why
        self.tags: dict[str, dict[str, str]] = {}

    # --- paths

    def endpoint_path(self, name: str) -> str:
        """Return the path of an endpoint, given its neutral name."""
        return f"{self.arm.workspace_path}/onlineEndpoints/{endpoint_name(name, self.options)}"

    def deployment_path(self, known: str) -> str:
        """Return the path of a deployment, given its neutral id."""
        name, deployment = split_deployment_id(known)
        return f"{self.endpoint_path(name)}/deployments/{deployment}"

    def _autoscale_path(self, known: str) -> str:
        name, deployment = split_deployment_id(known)
        setting = autoscale_name(endpoint_name(name, self.options), deployment)
        return f"{self.arm.group_path}/providers/Microsoft.Insights/autoscaleSettings/{setting}"

    def _tags(self, name: str) -> Mapping[str, str]:
        return self.tags.get(name, {})

    # --- read

    def observe(self, name: str, timeout: float) -> list[Live]:
        """Return all resources of one endpoint, the traffic record first."""
        raw = self._endpoint(name, timeout)
        if raw is None:
            return []
        return [*_front(name, raw), *self._behind(name, timeout)]

    def _behind(self, name: str, timeout: float) -> list[Live]:
        found: list[Live] = []
        path = f"{self.endpoint_path(name)}/deployments"
        for raw in self.arm.values(path, "list deployments", timeout=timeout, of=name):
            live = self._deployment_live(name, raw, timeout)
            setting = self._setting(live.id, timeout) if _bodies.scales(live) else None
            found += [live] if setting is None else [live, setting]
        return found

    def _deployment_live(self, name: str, raw: Mapping[str, Any], timeout: float) -> Live:
        live = _bodies.deployment_live(name, raw, self._price(table(raw.get("properties")).get("instanceType")))
        if live.state != "failed":
            return live
        return replace(live, reason=self._why(name, raw["name"], timeout))

    def list_all(self, timeout: float) -> Iterator[Live]:
        """Yield all resources of every endpoint of this SDK, and autoscale settings that outlived their endpoint."""
        for raw in self.arm.values(f"{self.arm.workspace_path}/onlineEndpoints", "list endpoints", timeout=timeout):
            name = table(raw.get("tags")).get("mlport-endpoint")
            if name and same(raw["name"], endpoint_name(name, self.options)):
                yield from _front(name, raw)
                yield from (live for live in self._behind(name, timeout) if live.kind == DEPLOYMENT)
        yield from self._settings(timeout)

    def _setting(self, known: str, timeout: float) -> Live | None:
        """Return the autoscale setting of a deployment; ``None`` also without the right, which changes need anyway."""
        with _unseen():
            return self.read(Ref(AUTOSCALE, known), timeout)
        return None

    def _settings(self, timeout: float) -> Iterator[Live]:
        """Yield the group's autoscale settings of this SDK; none without the right to see them (they cost nothing)."""
        with _unseen():
            yield from self._visible_settings(timeout)

    def _visible_settings(self, timeout: float) -> Iterator[Live]:
        path = f"{self.arm.group_path}/providers/Microsoft.Insights/autoscaleSettings"
        workspace = f"{self.arm.workspace_path}/".lower()
        for raw in self.arm.values(path, "list autoscale settings", timeout=timeout, api=AUTOSCALE_API):
            target = str(table(raw.get("properties")).get("targetResourceUri", "")).lower()
            if "mlport-id" in table(raw.get("tags")) and target.startswith(workspace):
                yield _bodies.autoscale_live(raw)

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """Return one resource of an endpoint."""
        if ref.kind == AUTOSCALE:
            raw = self.arm.find(self._autoscale_path(ref.id), "read autoscale", timeout=timeout, api=AUTOSCALE_API)
            return _bodies.autoscale_live(raw) if raw else None
        if ref.kind == DEPLOYMENT:
            name, _ = split_deployment_id(ref.id)
            raw = self.arm.find(self.deployment_path(ref.id), "read deployment", timeout=timeout, resource=ref.id)
            return self._deployment_live(name, raw, timeout) if raw else None
        raw = self._endpoint(ref.id, timeout)
        return next((live for live in _front(ref.id, raw) if live.ref == ref), None) if raw else None

    def _endpoint(self, name: str, timeout: float) -> dict[str, Any] | None:
        return self.arm.find(self.endpoint_path(name), "read endpoint", timeout=timeout, resource=name)

    def _existing(self, kind: str, name: str, timeout: float) -> dict[str, Any]:
        raw = self._endpoint(name, timeout)
        if raw is None:
            raise gone(kind, name)
        return raw

    # --- change

    def create(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Create one resource.

        Raises:
            ConflictError: The resource exists, or its name is taken in the whole region.
        """
        if resource.kind == TRAFFIC:
            raw = self._existing(ENDPOINT, resource.id, timeout)
            if _bodies.traffic_live(resource.id, raw) is not None:
                raise exists(TRAFFIC, resource.id)
            return self._put_traffic(resource.id, resource, raw, timeout)
        if self.read(resource.ref, timeout) is not None:  # a PUT would change it
            raise exists(resource.kind, resource.id)
        if resource.kind == ENDPOINT:
            spec: Any = resource.spec
            body = _bodies.endpoint_body(
                self.arm.location, _bodies.endpoint_tags(resource, {}, self._tags(resource.id)), spec, {}
            )
            return self._put(self.endpoint_path(resource.id), "create endpoint", body, resource.id, timeout)
        if resource.kind == AUTOSCALE:
            target = self.deployment_path(resource.id)
            body = _bodies.autoscale_body(self.arm.location, target, resource)
            path = self._autoscale_path(resource.id)
            return self._put(path, "create autoscale", body, resource.id, timeout, api=AUTOSCALE_API)
        return self._create_deployment(resource, materials, timeout)

    def _create_deployment(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        name, deployment = split_deployment_id(resource.id)
        spec: Any = table(resource.spec)
        if any(one.startswith(CLOUD) for one in spec["secrets"].values()):
            self._check_connections(name, timeout)
        options: Mapping[str, Any] = {**self.options.model_dump(mode="json"), **spec["options"]}
        env = {
            **spec["env"],
            **variables(spec["secrets"], materials),
            "MLPORT_DEPLOYMENT": deployment,
            "MLPORT_ENDPOINT": name,
            "MLPORT_MAX_BODY": str(options["max_body"]),
            "MLPORT_DEADLINE_S": f"{options['deadline_s']:g}",
        }
        body = _bodies.deployment_body(self.arm.location, self.arm.workspace_path, resource, env, options)
        return self._put(self.deployment_path(resource.id), "create deployment", body, resource.id, timeout)

    def _check_connections(self, name: str, timeout: float) -> None:
        """Refuse secrets of connections for an endpoint whose identity may not read them.

        Raises:
            ConfigError: The endpoint was created without that right, which Azure grants only at creation.
        """
        if not _bodies.reads_connections(self._existing(ENDPOINT, name, timeout)):
            raise ConfigError(
                f"secrets: endpoint {name!r} was made without the right to read connections of the workspace, which "
                "Azure gives only then",
                hint="deploy under another name; or use a target with an identity of your own that has the role "
                "Azure Machine Learning Workspace Connection Secrets Reader",
            )

    def update(self, resource: Resource, before: Live, timeout: float) -> Ack:
        """Change an endpoint or its traffic, if it is unchanged since ``before`` was read.

        Raises:
            ConflictError: The endpoint was changed in the meantime.
        """
        raw = self._existing(resource.kind, resource.id, timeout)
        if resource.kind == TRAFFIC and _bodies.traffic_live(resource.id, raw) is None:
            raise gone(TRAFFIC, resource.id)
        if before.etag is not None and before.etag != _bodies.etag_of(raw):
            owner = table(raw.get("tags")).get("mlport-owner")
            raise ConflictError(
                f"{resource.ref} was changed by somebody else",
                holder=owner,
                provider=PROVIDER,
                operation=f"update {resource.kind}",
                resource=resource.id,
            )
        if resource.kind == TRAFFIC:
            return self._put_traffic(resource.id, resource, raw, timeout)
        spec: Any = resource.spec
        if spec["identity"] != _bodies.identity_of(raw):
            raise ConfigError(
                f"identity: endpoint {resource.id!r} was made with another one, and Azure changes none",
                hint="set identity back, or deploy under another name",
            )
        tags = _bodies.endpoint_tags(resource, table(raw.get("tags")), self._tags(resource.id))
        body = _bodies.endpoint_body(self.arm.location, tags, spec, _traffic_of(resource.id, raw), raw)
        return self._put(self.endpoint_path(resource.id), "update endpoint", body, resource.id, timeout)

    def _put_traffic(self, name: str, resource: Resource | None, raw: Mapping[str, Any], timeout: float) -> Ack:
        """Put the whole endpoint unchanged except for its traffic; without a resource, remove the traffic."""
        tags = _bodies.traffic_tags(resource, table(raw.get("tags")), self._tags(name))
        spec: Any = _bodies.endpoint_live(name, raw).spec
        traffic: Any = resource.spec if resource else {}
        body = _bodies.endpoint_body(self.arm.location, tags, spec, traffic, raw)
        return self._put(self.endpoint_path(name), "update traffic", body, name, timeout)

    def delete(self, live: Live, timeout: float) -> Ack:
        """Delete one resource.

        Raises:
            NotFoundError: The resource no longer exists.
            ConflictError: The endpoint still has deployments, which would be deleted with it; retryable.
        """
        if live.kind == TRAFFIC:
            raw = self._existing(TRAFFIC, live.id, timeout)
            if _bodies.traffic_live(live.id, raw) is None:
                raise gone(TRAFFIC, live.id)
            return self._put_traffic(live.id, None, raw, timeout)
        if live.kind == AUTOSCALE:
            return self._remove(self._autoscale_path(live.id), live, timeout, api=AUTOSCALE_API)
        if live.kind == DEPLOYMENT:
            return self._remove(self.deployment_path(live.id), live, timeout)
        left = self._behind(live.id, timeout)
        if left:
            raise ConflictError(
                f"endpoint {live.id!r} still has {left[0].ref}",
                provider=PROVIDER,
                operation="delete endpoint",
                resource=live.id,
                retryable=True,
            )
        return self._remove(self.endpoint_path(live.id), live, timeout)

    def _remove(self, path: str, live: Live, timeout: float, *, api: str = ML_API) -> Ack:
        operation = f"delete {live.kind.lower()}"
        response = self.arm.call("DELETE", path, operation, timeout=timeout, resource=live.id, api=api)
        if response.status_code == 204:  # Azure's answer if the resource did not exist
            raise gone(live.kind, live.id)
        return self._ack(response)

    def _put(
        self, path: str, operation: str, body: Mapping[str, Any], resource: str, timeout: float, *, api: str = ML_API
    ) -> Ack:
        call = self.arm.call("PUT", path, operation, timeout=timeout, resource=resource, api=api, body=body)
        return self._ack(call)

    def _ack(self, response: httpx.Response) -> Ack:
        return Ack(operation=self.arm.started(response), request_id=response.headers.get("x-ms-request-id"))


@contextlib.contextmanager
def _unseen() -> Generator[None]:
    """Ignore a missing right to read optional information."""
    try:
        yield
    except AuthError as error:
        if error.status != 403:
            raise


def _front(name: str, raw: Mapping[str, Any]) -> list[Live]:
    """Return the traffic, if it has been set, and the endpoint: two resources of this SDK in one of Azure's."""
    traffic = _bodies.traffic_live(name, raw)
    return [*([traffic] if traffic else []), _bodies.endpoint_live(name, raw)]


def _traffic_of(name: str, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the current traffic split of an endpoint."""
    live = _bodies.traffic_live(name, raw)
    told = raw["properties"]
    split = {"weights": table(told.get("traffic")), "mirror": table(told.get("mirrorTraffic"))}
    return split if live is None else live.spec or split


def variables(secrets: Mapping[str, str], materials: Materials) -> dict[str, str]:
    """Return the values of secrets, by variable; Azure fills in those of the workspace's connections.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoint-with-secret-injection
    """
    stored = {variable: name.removeprefix(CLOUD) for variable, name in secrets.items() if name.startswith(CLOUD)}
    own = {variable: name for variable, name in secrets.items() if variable not in stored}
    return {**materials.resolve(own), **{variable: _reference(name) for variable, name in stored.items()}}


def _reference(name: str) -> str:
    """Return Azure's reference to a secret of a connection, given ``CONNECTION/KEY`` or ``CONNECTION``."""
    connection, _, key = name.partition("/")
    return f"${{{{azureml://connections/{connection}/credentials/{key or 'key'}}}}}"
