"""The endpoint control plane: makes each operation on a resource as an AWS call and returns resources as ``Live``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdk.adapter import Ack, Labels, Live, Ref
from sdk.config.secrets import CLOUD
from sdk.errors import ConfigError, NotFoundError

from . import _bodies
from ._errors import PROVIDER
from ._limits import check_variables
from ._logs import endpoint_group
from ._plan import CONFIG, ENDPOINT, IMAGE, MODEL, POLICY, TARGET, target_id
from ._status import STATES, fleet_price, replicas_of, whole_percents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdk.adapter import Materials, Resource
    from sdk.adapter.prices import PriceRow, Usage
    from sdk.adapter.types import Json
    from sdk.util.redact import Redactor

    from ._aws import Aws
    from ._images import Images

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_PASSING = frozenset({"creating", "updating", "deleting"})


class Control:
    """Models, configurations, endpoints and their scaling.

    Args:
        aws: The connection to AWS.
        images: The images that models are made of.
        redactor: Receives the secret values that come from AWS.
        prices: The price table.
    """

    def __init__(self, aws: Aws, images: Images, redactor: Redactor, prices: tuple[PriceRow, ...]) -> None:
        self.aws = aws
        self.images = images
        self.options = aws.options
        self.prices = prices
        self.redactor = redactor
        self._tags: dict[str, tuple[object, dict[str, str]]] = {}

    # --- read

    def read(self, ref: Ref) -> Live | None:
        """Read one resource."""
        readers = {
            MODEL: self._model,
            CONFIG: self._config,
            ENDPOINT: self._endpoint,
            TARGET: self._target,
            POLICY: self._policy,
        }
        try:
            return readers[ref.kind](ref.id)
        except NotFoundError:  # it was deleted between two calls
            return None

    def observe(self, name: str) -> list[Live]:
        """Return one endpoint with its configurations, their models and images, and its scaling."""
        endpoint = self.read(Ref(ENDPOINT, name))
        if endpoint is None:
            return []
        configs = self._all(endpoint.parents)
        models = self._all(parent for config in configs for parent in config.parents)
        images = dict.fromkeys(parent.id for model in models for parent in model.parents)
        shared = [live for one in images if (live := self.images.read(one)) is not None]
        price = fleet_price(configs[0], self.prices, self.aws.region) if configs else None
        return [
            replace(endpoint, usd_per_hour=price),
            *configs,
            *models,
            *shared,
            *self._scaling(name, models),
        ]

    def _all(self, refs: Iterable[Ref]) -> list[Live]:
        """Read the resources that exist, each once."""
        return [live for ref in dict.fromkeys(refs) if (live := self.read(ref)) is not None]

    def _endpoint(self, name: str) -> Live | None:
        if not _NAME.fullmatch(name):
            return None  # SageMaker would reject the call as invalid instead of reporting that nothing was found
        about = self.aws.find("sagemaker", "describe_endpoint", name, EndpointName=name)
        if about is None:
            return None
        raw = str(about["EndpointStatus"])
        state = STATES.get(raw, "updating")
        stamp = (about["CreationTime"], about["LastModifiedTime"], raw) if state in _PASSING else None
        tags = self._tags_of(ENDPOINT, name, stamp)
        pending: dict[str, Any] = about.get("PendingDeploymentSummary") or {}
        configs = (about["EndpointConfigName"], pending.get("EndpointConfigName"))
        return Live(
            ENDPOINT,
            name,
            state,
            raw=raw,
            spec={"config": about["EndpointConfigName"], "weights": _weights(about, tags)},
            labels=Labels.from_tags(tags),
            created_at=about["CreationTime"].timestamp(),
            parents=tuple(Ref(CONFIG, str(one)) for one in dict.fromkeys(configs) if one),
            usd_per_hour=None,  # the price depends on the configuration, see `observe`
            reason=about.get("FailureReason"),
            details={
                "pending": pending.get("EndpointConfigName"),
                "instances": sum(int(one.get("CurrentInstanceCount") or 0) for one in _variants(about)),
                "url": self.aws.url(name),
            },
        )

    def _config(self, name: str) -> Live | None:
        about = self.aws.find("sagemaker", "describe_endpoint_config", name, EndpointConfigName=name)
        if about is None:
            return None
        tags = self._tags_of(CONFIG, name)
        shadows: list[dict[str, Any]] = about.get("ShadowProductionVariants") or []
        bodies = [*about["ProductionVariants"], *shadows]
        spec: dict[str, Json] = {
            "variants": {str(one["VariantName"]): _bodies.variant_of(one) for one in bodies},
            "shadow": shadows[0]["VariantName"] if shadows else None,
            "shadow_percent": int(shadows[0].get("InitialVariantWeight", 0)) if shadows else 0,
            "weights": {str(one["VariantName"]): int(one.get("InitialVariantWeight", 0)) for one in bodies},
            "kms_key": about.get("KmsKeyId"),
            "tags": _bodies.own_tags(tags),
        }
        return Live(
            CONFIG,
            name,
            "ready",
            spec=spec,
            labels=Labels.from_tags(tags),
            created_at=about["CreationTime"].timestamp(),
            parents=tuple(Ref(MODEL, str(one["ModelName"])) for one in bodies),
        )

    def _model(self, name: str) -> Live | None:
        about = self.aws.find("sagemaker", "describe_model", name, ModelName=name)
        if about is None:
            return None
        tags = self._tags_of(MODEL, name)
        labels = Labels.from_tags(tags)
        image = tags.get(_bodies.IMAGE_TAG)
        spec: dict[str, Json] = {
            "deployment_hash": tags.get(_bodies.HASH, ""),
            "model_name": tags.get(_bodies.NAME, ""),
            "model": labels.model if labels else "",
            "image": image,
            "replicas": replicas_of(tags.get(_bodies.REPLICAS, "")),
            "tags": _bodies.own_tags(tags),
        }
        return Live(
            MODEL,
            name,
            "ready",
            spec=spec,
            labels=labels,
            created_at=about["CreationTime"].timestamp(),
            parents=(Ref(IMAGE, image),) if image else (),
        )

    def _tags_of(self, kind: str, name: str, stamp: object = None) -> dict[str, str]:
        """Return the tags of a resource; with a ``stamp``, cache them for as long as the stamp stays the same."""
        arn = self.aws.arn(_ARNS[kind], name)
        known = self._tags.get(arn)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        found: dict[str, str] = {}
        for page in self.aws.pages("sagemaker", "list_tags", name, ResourceArn=arn):
            found.update(_bodies.from_tags(page["Tags"]))
        if stamp is not None:
            self._tags[arn] = (stamp, found)
        return found

    def _scaling(self, endpoint: str, models: Sequence[Live]) -> list[Live]:
        """Return the scaling resources of those deployments that scale automatically."""
        found: list[Live] = []
        for model in models:
            spec: Any = model.spec or {}
            limits = spec["replicas"]
            if limits and limits["max"] > limits["min"]:
                name = target_id(endpoint, model.id.removeprefix(f"{endpoint}-"))
                found += [live for live in (self._target(name), self._policy(name)) if live is not None]
        return found

    def _target(self, name: str) -> Live | None:
        address = {"ServiceNamespace": "sagemaker", "ResourceIds": [name]}
        about = self.aws.call("application-autoscaling", "describe_scalable_targets", name, **address)
        for one in about["ScalableTargets"]:
            limits: dict[str, Json] = {"min": one["MinCapacity"], "max": one["MaxCapacity"]}
            state: dict[str, bool] = one.get("SuspendedState") or {}
            suspended: dict[str, Json] = {name: True for name, off in state.items() if off}
            if suspended:
                limits["suspended"] = suspended
            created = one["CreationTime"].timestamp()
            return Live(TARGET, name, "ready", spec=limits, created_at=created, parents=(_endpoint_of(name),))
        return None

    def _policy(self, name: str) -> Live | None:
        address = _bodies.scaling(name)
        about = self.aws.call("application-autoscaling", "describe_scaling_policies", name, **address)
        for one in about["ScalingPolicies"]:
            if one["PolicyName"] == _bodies.policy_name(name):
                rule = one["TargetTrackingScalingPolicyConfiguration"]
                created = one["CreationTime"].timestamp()
                more: dict[str, Json] = {name: rule[name] for name in _bodies.RULE_SETTINGS if rule.get(name)}
                spec: dict[str, Json] = {"per_minute": rule["TargetValue"], **({"more": more} if more else {})}
                return Live(POLICY, name, "ready", spec=spec, created_at=created, parents=(Ref(TARGET, name),))
        return None

    # --- change

    def create(self, resource: Resource, materials: Materials) -> Ack:
        """Create one resource."""
        makers = {
            MODEL: self._create_model,
            CONFIG: self._create_config,
            ENDPOINT: self._create_endpoint,
            TARGET: self._create_target,
            POLICY: self._create_policy,
        }
        return makers[resource.kind](resource, materials)

    def _create_model(self, resource: Resource, materials: Materials) -> Ack:
        spec: Any = resource.spec or {}
        image = self.images.uri(str(spec["image"]))
        secrets = self.secrets(spec["secrets"], materials)
        body = _bodies.model_body(resource, image, secrets, self.aws.role, self.options)
        return _ack(self.aws.call("sagemaker", "create_model", resource.id, **body))

    def _create_config(self, resource: Resource, _materials: Materials) -> Ack:
        return _ack(self.aws.call("sagemaker", "create_endpoint_config", resource.id, **_bodies.config_body(resource)))

    def _create_endpoint(self, resource: Resource, _materials: Materials) -> Ack:
        body = _bodies.endpoint_body(resource, self._user_tags(resource))
        return _ack(self.aws.call("sagemaker", "create_endpoint", resource.id, **body))

    def _user_tags(self, resource: Resource) -> dict[str, str]:
        """Return the user's own tags, read from the configuration because an endpoint's spec holds plain IDs only."""
        return _bodies.own_tags(self._tags_of(CONFIG, str((resource.spec or {})["config"])))

    def _create_target(self, resource: Resource, _materials: Materials) -> Ack:
        body = _bodies.target_body(resource)
        return _ack(self.aws.call("application-autoscaling", "register_scalable_target", resource.id, **body))

    def _create_policy(self, resource: Resource, _materials: Materials) -> Ack:
        body = _bodies.policy_body(resource)
        return _ack(self.aws.call("application-autoscaling", "put_scaling_policy", resource.id, **body))

    def update(self, resource: Resource, before: Live) -> Ack:
        """Update an endpoint: its tags, then its configuration or weights.

        The tags go first: if they were refused after the switch, the switch itself would appear to have failed.
        """
        wanted: Any = resource.spec or {}
        live: Any = before.spec or {}
        switches = wanted["config"] != live.get("config")
        tags = _bodies.endpoint_tags(resource, self._user_tags(resource) if switches else {})
        arn = self.aws.arn(_ARNS[ENDPOINT], resource.id)
        answer = self.aws.call("sagemaker", "add_tags", resource.id, ResourceArn=arn, Tags=_bodies.to_tags(tags))
        self._tags.pop(arn, None)
        if switches:
            body = _bodies.switch_body(resource.id, wanted, live)
            answer = self.aws.call("sagemaker", "update_endpoint", resource.id, **body)
        elif (weights := _bodies.weights_body(resource.id, wanted, live)) is not None:
            answer = self.aws.call("sagemaker", "update_endpoint_weights_and_capacities", resource.id, **weights)
        return _ack(answer)

    def delete(self, live: Live) -> Ack:
        """Delete one resource."""
        if live.kind == TARGET:
            address = _bodies.scaling(live.id)
            return _ack(self.aws.call("application-autoscaling", "deregister_scalable_target", live.id, **address))
        if live.kind == POLICY:
            address = {**_bodies.scaling(live.id), "PolicyName": _bodies.policy_name(live.id)}
            return _ack(self.aws.call("application-autoscaling", "delete_scaling_policy", live.id, **address))
        if live.kind == CONFIG and self.options.delete_logs and live.labels is not None:
            self._delete_logs(live.labels.endpoint)
        operation, parameter = _DELETES[live.kind]
        return _ack(self.aws.call("sagemaker", operation, live.id, **{parameter: live.id}))

    def _delete_logs(self, endpoint: str) -> None:
        """Delete the logs of a deleted endpoint, before its configuration: containers write logs until they end.

        If the process dies in between, the configuration remains, and gc deletes the logs when it deletes that.
        """
        if self.aws.find("sagemaker", "describe_endpoint", endpoint, EndpointName=endpoint) is None:
            group = endpoint_group(endpoint)
            self.aws.find("logs", "delete_log_group", group, logGroupName=group)

    # --- secrets

    def secrets(self, names: Mapping[str, str], materials: Materials, usage: Usage = "inference") -> dict[str, str]:
        """Return the values of secrets by variable.

        ``cloud:NAME`` is read from Secrets Manager; all other secrets are the user's own.

        Raises:
            ConfigError: The user's secrets are no longer available, or a stored secret is not text, or one is too long.
        """
        found = {variable: self._secret(name, materials) for variable, name in names.items()}
        check_variables(found, usage, field="secrets")
        return found

    def _secret(self, name: str, materials: Materials) -> str:
        if name.startswith(CLOUD):
            value = self._stored_secret(name.removeprefix(CLOUD))
            self.redactor.add(value)
            return value
        if materials.secret is None:
            raise ConfigError("secrets are not at hand", hint="run the same verb again", provider=PROVIDER)
        return materials.secret(name)

    def _stored_secret(self, name: str) -> str:
        about = self.aws.call("secretsmanager", "get_secret_value", name, SecretId=name)
        value = about.get("SecretString")
        if not value:
            raise ConfigError(f"secret {name!r} holds no text", hint="store it as a text", provider=PROVIDER)
        return str(value)


_ARNS = {MODEL: "model", CONFIG: "endpoint-config", ENDPOINT: "endpoint"}
_DELETES = {
    MODEL: ("delete_model", "ModelName"),
    CONFIG: ("delete_endpoint_config", "EndpointConfigName"),
    ENDPOINT: ("delete_endpoint", "EndpointName"),
}


def _ack(answer: Mapping[str, Any]) -> Ack:
    return Ack(request_id=answer.get("ResponseMetadata", {}).get("RequestId"))


def _variants(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(about.get("ProductionVariants") or ()), *(about.get("ShadowProductionVariants") or ())]


def _weights(about: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Json]:
    """Return whole percents by deployment; all are 0 where no deployment is meant to get traffic yet."""
    shares = whole_percents(about.get("ProductionVariants") or ())
    dark = tags.get(_bodies.DARK) == "0"
    return {str(one["VariantName"]): 0 if dark else shares.get(one["VariantName"], 0) for one in _variants(about)}


def _endpoint_of(target: str) -> Ref:
    return Ref(ENDPOINT, target.split("/")[1])
