"""Operations on models, endpoints, deployed models and traffic: each makes one call of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Ack, Labels, Live, Ref
from sdk.errors import ConflictError, InvalidRequestError, SdkError

from ._access import unix
from ._errors import PROVIDER, exists, gone, refused_for_now
from ._names import (
    HASH,
    deployment_of,
    encryption,
    join,
    kept_by,
    labels_of_traffic,
    number_of,
    own_labels,
    split,
    traffic_labels,
    user_tags,
)
from ._operations import word_of
from ._plan import DEPLOY_S, DEPLOYED, ENDPOINT, IMAGE, MODEL, TRAFFIC
from ._smoke import SMOKE_LABEL, smoke_lives

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdk.adapter import Json, Materials, Resource

    from ._control import Control
    from ._images import Images
    from ._predict import DataPlane
    from ._prices import Prices
    from ._secrets import Secrets
    from .options import VertexOptions

_IMAGE_LABEL = "mlport-image"
_DEPLOYING = "DeployModelOperationMetadata"


class Deployments:
    """All serving resources in one project and region.

    Args:
        control: The control plane.
        images: The images that models run from.
        plane: The data plane, which takes predictions.
        options: The target's settings.
        prices: The prices of machines.
        secrets: The source of secret values.
    """

    def __init__(
        self,
        control: Control,
        images: Images,
        plane: DataPlane,
        options: VertexOptions,
        prices: Prices,
        *,
        secrets: Secrets,
    ) -> None:
        self.control, self.images, self.plane, self.options, self.prices = control, images, plane, options, prices
        self.secrets = secrets

    def name(self, kind: str, name: str) -> str:
        """Return the platform's full name of an endpoint or model."""
        return f"{self.control.parent}/{'endpoints' if kind == ENDPOINT else 'models'}/{name}"

    # --- reads ------------------------------------------------------------------------------------------------------

    def endpoint(self, name: str, timeout: float) -> Any | None:
        """Return an endpoint in the platform's form, or ``None`` if it does not exist."""
        return self.control.read("endpoints", "get_endpoint", self.name(ENDPOINT, name), timeout=timeout)

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """Read one resource."""
        if ref.kind == MODEL:
            found = self.control.read("models", "get_model", self.name(MODEL, ref.id), timeout=timeout)
            return None if found is None else self.model_live(found)
        if ref.kind == DEPLOYED:
            return self.read_deployed(ref.id, timeout)
        found = self.endpoint(ref.id, timeout)
        if found is None:
            return None
        return self.endpoint_live(found) if ref.kind == ENDPOINT else self.traffic_live(found)

    def existing(self, name: str, timeout: float) -> Any:
        """Return an endpoint that must exist.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        found = self.endpoint(name, timeout)
        if found is None:
            raise gone(ENDPOINT, name)
        return found

    def read_deployed(self, name: str, timeout: float, *, endpoint: str = "") -> Live | None:
        """Read a deployed model, also while it starts.

        ``endpoint`` is the endpoint to look at, if that is not the deployment's own.
        """
        own, deployment = split(name) or ("", "")
        endpoint = endpoint or own
        found = self.endpoint(endpoint, timeout) if endpoint else None
        if found is None:
            return None
        live = self._shown(found, deployment)
        if live is not None:
            return live
        if _DEPLOYING not in self.control.unfinished(found.name, timeout=timeout):
            again = self.endpoint(endpoint, timeout)  # the operation may have ended between the two reads
            return None if again is None else self._shown(again, deployment)
        model = self.control.read("models", "get_model", self.name(MODEL, name), timeout=timeout)
        return None if model is None else self._coming(name)

    def _shown(self, found: Any, deployment: str) -> Live | None:
        number = number_of(deployment)
        return next((self.deployed_live(found, one) for one in found.deployed_models if one.id == number), None)

    def _coming(self, name: str) -> Live:
        """Return a deployed model of which the platform only shows that a deployment is in progress."""
        endpoint, _ = split(name) or ("", "")
        parents = (Ref(MODEL, name), Ref(ENDPOINT, endpoint))
        return Live(DEPLOYED, name, "creating", raw="DEPLOYING", parents=parents, usd_per_hour=None)

    def observe(self, name: str, timeout: float) -> Iterator[Live]:
        """Yield all resources of one endpoint: the endpoint, what is deployed to it, then its models and images."""
        found = self.endpoint(name, timeout)
        models = {one.id: one for one in self._models_of(name, timeout)}
        images: set[Ref] = set()
        served: set[str] = set()
        if found is not None:
            yield self.endpoint_live(found)
            for one in found.deployed_models:
                live = self.deployed_live(found, one)
                served.add(live.id)
                yield live
                if live.id not in models and (model := self.read(Ref(MODEL, live.id), timeout)) is not None:
                    models[live.id] = model
            traffic = self.traffic_live(found)
            if traffic is not None:
                yield traffic
            if set(models) - served and _DEPLOYING in self.control.unfinished(found.name, timeout=timeout):
                yield from (self._coming(one) for one in sorted(set(models) - served))
        for model in models.values():
            yield model
            yield from self._elsewhere(model, name, timeout)
            images |= {ref for ref in model.parents if ref.kind == IMAGE}
        yield from self._shared(images, timeout)

    def _elsewhere(self, model: Live, name: str, timeout: float) -> Iterator[Live]:
        """Yield the temporary endpoints that a model is deployed to as well."""
        for other in cast("list[str]", model.details["deployed"]):
            found = self.endpoint(other, timeout) if other != name else None
            if found is not None and SMOKE_LABEL in found.labels:
                yield from smoke_lives(self, found)

    def _models_of(self, name: str, timeout: float) -> Iterator[Live]:
        for one in self.control.every("models", "list_models", f'labels.mlport-endpoint="{name}"', timeout=timeout):
            yield self.model_live(one)

    def _shared(self, images: set[Ref], timeout: float) -> Iterator[Live]:
        for ref in sorted(images):
            live = self.images.read(ref.id, timeout=timeout)
            if live is not None:
                yield live
        if images:
            repository = self.images.read_repository(self.options.repository, timeout=timeout)
            if repository is not None:
                yield repository

    def list_all(self, timeout: float) -> Iterator[Live]:
        """Yield all resources with mlport's label, of all owners."""
        ours = 'labels.mlport="1"'
        for found in self.control.every("endpoints", "list_endpoints", ours, timeout=timeout):
            yield from self._all_of(found)
        for found in self.control.every("models", "list_models", ours, timeout=timeout):
            yield self.model_live(found)

    def _all_of(self, found: Any) -> Iterator[Live]:
        if SMOKE_LABEL in found.labels:
            yield from smoke_lives(self, found)
            return
        yield self.endpoint_live(found)
        for one in found.deployed_models:
            yield self.deployed_live(found, one)
        traffic = self.traffic_live(found)
        if traffic is not None:
            yield traffic

    # --- conversion to resources ------------------------------------------------------------------------------------

    @staticmethod
    def model_live(found: Any) -> Live:
        """Convert a model; its labels name the deployment that it was made for."""
        labels = dict(found.labels)
        name = found.name.rpartition("/")[2]
        spec: dict[str, Json] = {
            "deployment_hash": labels.get(HASH, ""),
            "model_name": found.display_name,
            "image": labels.get(_IMAGE_LABEL, ""),
            "tags": user_tags(labels),
        }
        image = labels.get(_IMAGE_LABEL)
        return Live(
            MODEL,
            name,
            "ready",
            raw=f"version {found.version_id}",
            spec=spec,
            labels=Labels.from_tags(labels),
            etag=found.etag,
            created_at=unix(found.create_time),
            parents=(Ref(IMAGE, image),) if image else (),
            details={"deployed": [one.endpoint.rpartition("/")[2] for one in found.deployed_models]},
        )

    def endpoint_live(self, found: Any) -> Live:
        """Convert an endpoint, without the models deployed to it."""
        labels = own_labels(found.labels)
        own = Labels.from_tags(labels)
        return Live(
            ENDPOINT,
            found.name.rpartition("/")[2],
            "ready",
            raw="dedicated" if found.dedicated_endpoint_enabled else "shared",
            spec={
                "dedicated": bool(found.dedicated_endpoint_enabled),
                "kms_key": str(found.encryption_spec.kms_key_name) or None,
                "expires_at": own.expires_at if own else 0,
                "tags": user_tags(labels),
            },
            labels=own,
            etag=found.etag,
            created_at=unix(found.create_time),
            details={
                "url": self.plane.url(found.name, found.dedicated_endpoint_dns),
                "dns": found.dedicated_endpoint_dns,
                "labels": dict(found.labels),
            },
        )

    def traffic_live(self, found: Any) -> Live | None:
        """Return the traffic shares of an endpoint, or ``None`` while it has none."""
        shares = {deployment_of(number) or number: int(share) for number, share in found.traffic_split.items() if share}
        if not shares:
            return None
        name = found.name.rpartition("/")[2]
        weights = {**dict.fromkeys(kept_by(found.labels), 0), **shares}
        return Live(
            TRAFFIC,
            name,
            "ready",
            spec={"weights": weights},
            labels=Labels.from_tags(labels_of_traffic(found.labels)),
            etag=found.etag,
            created_at=unix(found.create_time),
            parents=(Ref(ENDPOINT, name), *(Ref(DEPLOYED, join(name, one)) for one in weights)),
            details={"labels": dict(found.labels)},
        )

    def deployed_live(self, found: Any, one: Any) -> Live:
        """Convert a deployed model; the platform only shows it once its containers have started."""
        endpoint = found.name.rpartition("/")[2]
        name = join(endpoint, deployment_of(one.id) or one.id)
        resources = one.dedicated_resources
        machine = resources.machine_spec
        instance = str(machine.machine_type)
        if machine.accelerator_count and instance.startswith("n1-"):
            instance += f"+{word_of(machine.accelerator_type)}x{machine.accelerator_count}"
        least = int(resources.min_replica_count) or 1
        spec: dict[str, Json] = {"instance": instance, "min": least, "max": int(resources.max_replica_count) or least}
        return Live(
            DEPLOYED,
            name,
            "ready",
            raw=str(one.model_version_id),
            spec=spec,
            created_at=unix(one.create_time),
            parents=(Ref(MODEL, one.model.rpartition("/")[2].partition("@")[0]), Ref(ENDPOINT, endpoint)),
            usd_per_hour=self.prices.of(instance, least, spot=bool(resources.spot)),
            reason=str(one.status.message) or None,
        )

    # --- changes ----------------------------------------------------------------------------------------------------

    def create(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Create one resource under the ID that mlport chose.

        Raises:
            ConflictError: The ID is taken.
        """
        makers = {
            MODEL: self._upload,
            ENDPOINT: self._begin_endpoint,
            DEPLOYED: self._begin_deployed,
            TRAFFIC: self._begin_traffic,
        }
        return makers[resource.kind](resource, materials, timeout)

    def _upload(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        spec: Any = resource.spec
        own = {
            "MLPORT_DEPLOYMENT": spec["deployment"],
            "MLPORT_ENDPOINT": (split(resource.id) or ("",))[0],
            "MLPORT_MAX_BODY": str(self.plane.limits().request_bytes),
            "MLPORT_DEADLINE_S": f"{self.plane.limits().timeout_s:g}",
        }
        env = {**own, **spec["env"], **self.secrets.values(spec["secrets"], materials, timeout=timeout)}
        model = {
            "display_name": spec["model_name"],
            "version_description": f"sha256:{spec['model']}",
            "version_aliases": [spec["deployment"]],
            "labels": {**spec["tags"], **resource.tags, HASH: spec["deployment_hash"], _IMAGE_LABEL: spec["image"]},
            "container_spec": {
                "image_uri": self.images.uri(spec["image"]),
                "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
                "ports": [{"container_port": 8080}],
                "predict_route": spec["predict_route"],
                "health_route": spec["health_route"],
                "deployment_timeout": {"seconds": round(DEPLOY_S)},
            },
            **encryption(spec.get("kms_key")),
        }
        request = {"parent": self.control.parent, "model_id": resource.id, "model": model}
        return self._begun(self.control.call("models", "upload_model", request, timeout=timeout, about=resource.id))

    def _begin_endpoint(self, resource: Resource, _materials: Materials, timeout: float) -> Ack:
        spec: Any = resource.spec
        return self.create_endpoint(resource, spec["tags"], timeout)

    def create_endpoint(self, resource: Resource, labels: Mapping[str, str], timeout: float) -> Ack:
        """Create an endpoint with further labels besides mlport's own."""
        spec: Any = resource.spec
        endpoint: dict[str, Any] = {"display_name": resource.id, "labels": {**labels, **resource.tags}}
        endpoint |= encryption(spec.get("kms_key"))
        if spec["dedicated"]:
            seconds = round(self.plane.limits().timeout_s)
            endpoint |= {
                "dedicated_endpoint_enabled": True,
                "client_connection_config": {"inference_timeout": {"seconds": seconds}},
            }
        request = {"parent": self.control.parent, "endpoint_id": resource.id, "endpoint": endpoint}
        return self._begun(
            self.control.call("endpoints", "create_endpoint", request, timeout=timeout, about=resource.id)
        )

    def _begin_deployed(self, resource: Resource, _materials: Materials, timeout: float) -> Ack:
        endpoint, _ = split(resource.id) or ("", "")
        return self.deploy(resource, endpoint, {}, timeout)

    def deploy(self, resource: Resource, endpoint: str, shares: Mapping[str, int], timeout: float) -> Ack:
        """Deploy a model to an endpoint; in its new traffic shares, the key ``0`` stands for the new model."""
        spec: Any = resource.spec
        resources: dict[str, Any] = {
            "machine_spec": spec["machine"],
            "min_replica_count": spec["min"],
            "max_replica_count": spec["max"],
            "spot": spec["spot"],
        }
        if spec["scale_cpu"] is not None:
            metric = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
            resources["autoscaling_metric_specs"] = [{"metric_name": metric, "target": spec["scale_cpu"]}]
        deployed: dict[str, Any] = {
            "id": spec["number"],
            "model": f"{self.name(MODEL, resource.id)}@{spec['deployment']}",
            "display_name": resource.id,
            "dedicated_resources": resources,
        }
        if spec["service_account"]:
            deployed["service_account"] = spec["service_account"]
        request = {"endpoint": self.name(ENDPOINT, endpoint), "deployed_model": deployed, "traffic_split": dict(shares)}
        try:
            return self._begun(
                self.control.call("endpoints", "deploy_model", request, timeout=timeout, about=resource.id)
            )
        except InvalidRequestError as error:  # the platform has no error of its own for a number that is taken
            if self.read_deployed(resource.id, timeout, endpoint=endpoint) is not None:
                raise exists(resource.kind, resource.id) from error
            raise

    def _begin_traffic(self, resource: Resource, _materials: Materials, timeout: float) -> Ack:
        found = self.existing(resource.id, timeout)
        if found.traffic_split:
            raise exists(TRAFFIC, resource.id)
        return self._set_traffic(resource, found.etag, dict(found.labels), timeout)

    def _set_traffic(self, resource: Resource, etag: str, labels: Mapping[str, str], timeout: float) -> Ack:
        weights: Any = (resource.spec or {})["weights"]
        shares = {number_of(name): share for name, share in weights.items() if share}
        return self._patch(
            resource.id,
            {
                "etag": etag,
                "traffic_split": shares,
                "labels": {**own_labels(labels), **traffic_labels(resource.tags, weights)},
            },
            ["traffic_split", "labels"],
            timeout,
        )

    def _patch(self, name: str, endpoint: dict[str, Any], fields: list[str], timeout: float) -> Ack:
        request = {
            "endpoint": {"name": self.name(ENDPOINT, name), **endpoint},
            "update_mask": {"paths": fields},
        }
        changed = self.control.call("endpoints", "update_endpoint", request, timeout=timeout, about=name)
        return Ack(etag=changed.etag)

    def update(self, resource: Resource, before: Live, timeout: float) -> Ack:
        """Change an endpoint or its traffic, unless it has changed since ``before`` was read."""
        labels: Any = before.details.get("labels") or {}
        if resource.kind == TRAFFIC:
            return self._set_traffic(resource, before.etag or "", labels, timeout)
        spec: Any = resource.spec or {}
        _check_fixed(resource.id, spec, before)
        kept = {key: value for key, value in labels.items() if key not in own_labels(labels)}
        return self._patch(
            resource.id,
            {"etag": before.etag or "", "labels": {**kept, **spec["tags"], **resource.tags}},
            ["labels"],
            timeout,
        )

    def delete(self, live: Live, timeout: float, *, endpoint: str = "") -> Ack:
        """Delete one resource; a delete that the platform refuses for the moment can be retried."""
        try:
            if live.kind == DEPLOYED:
                return self._undeploy(live, timeout, endpoint or (split(live.id) or ("",))[0])
            if live.kind == TRAFFIC:
                return self._end_traffic(live, timeout)
            service, method = ("models", "delete_model") if live.kind == MODEL else ("endpoints", "delete_endpoint")
            request = {"name": self.name(live.kind, live.id)}
            return self._begun(self.control.call(service, method, request, timeout=timeout, about=live.id))
        except SdkError as error:
            raise refused_for_now(error) from error.__cause__

    def _undeploy(self, live: Live, timeout: float, endpoint: str) -> Ack:
        _, deployment = split(live.id) or ("", "")
        if live.state == "creating":
            raise ConflictError(
                f"{live.ref} is still being deployed", provider=PROVIDER, operation="UndeployModel", resource=live.id,
                retryable=True,
            )  # fmt: skip
        request = {"endpoint": self.name(ENDPOINT, endpoint), "deployed_model_id": number_of(deployment)}
        try:
            return self._begun(
                self.control.call("endpoints", "undeploy_model", request, timeout=timeout, about=live.id)
            )
        except InvalidRequestError as error:  # nor for a number that does not exist
            if self.read_deployed(live.id, timeout, endpoint=endpoint) is None:
                raise gone(DEPLOYED, live.id) from error
            raise

    def _end_traffic(self, live: Live, timeout: float) -> Ack:
        found = self.endpoint(live.id, timeout)
        if found is None or not found.traffic_split:
            raise gone(TRAFFIC, live.id)
        fields = {"etag": live.etag or "", "traffic_split": {}, "labels": own_labels(found.labels)}
        return self._patch(live.id, fields, ["traffic_split", "labels"], timeout)

    @staticmethod
    def _begun(operation: Any) -> Ack:
        return Ack(operation=str(operation.operation.name))


def _check_fixed(name: str, spec: Any, before: Live) -> None:
    """Refuse to change what an endpoint keeps from its creation: its host, and the key that encrypts it."""
    made: Any = before.spec or {}
    shown = {"dedicated": before.raw, "kms_key": f"encrypted with {made.get('kms_key') or 'no key'}"}
    for setting, text in shown.items():
        if spec[setting] != made.get(setting):
            raise ConflictError(
                f"endpoint {name!r} is {text}, and the platform cannot change that",
                provider=PROVIDER,
                operation="UpdateEndpoint",
                resource=name,
                hint=f"set `{setting}` as it was, or deploy under another name",
            )
