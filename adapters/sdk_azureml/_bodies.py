"""Conversion between specs and the request and response bodies of the resource manager; pure functions."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, Literal

from sdk.adapter import Labels, Live, Ref

from ._json import moment, table, whole
from ._names import ENVIRONMENT_VERSION, deployment_id, environment_name
from ._plan import AUTOSCALE, DEPLOYMENT, ENDPOINT, ENVIRONMENT, TRAFFIC
from ._spelling import by_known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Resource

    State = Literal["creating", "ready", "updating", "failed", "deleting"]

_STATES: dict[str, State] = {
    "Creating": "creating",
    "Updating": "updating",
    "Scaling": "updating",
    "Succeeded": "ready",
    "Failed": "failed",
    "Canceled": "failed",
    "Deleting": "deleting",
}
_AUTH = {"key": "Key", "token": "AMLToken", "aad": "AADToken"}
PORT = 8080
SCORE = "/score"
ROUTES = {
    "livenessRoute": {"port": PORT, "path": "/v2/health/live"},
    "readinessRoute": {"port": PORT, "path": "/v2/health/ready"},
    "scoringRoute": {"port": PORT, "path": SCORE},
}
_TRAFFIC = "mlport-traffic"  # tag that lists the deployments in the traffic record, those with 0 % too


def state_of(raw: Mapping[str, Any]) -> tuple[State, str]:
    """Return the neutral state of a resource, and Azure's word for it."""
    word = str(table(raw.get("properties")).get("provisioningState") or "Succeeded")
    return _STATES.get(word, "updating"), word


def created_at(raw: Mapping[str, Any]) -> float | None:
    """Return the creation time, in Unix seconds by Azure's clock."""
    return moment(table(raw.get("systemData")).get("createdAt"))


def etag_of(raw: Mapping[str, Any]) -> str:
    """Return a hash that changes with every change of an endpoint, since Azure provides no etag."""
    told = raw["properties"]
    seen = [raw.get("tags"), told.get("traffic"), told.get("mirrorTraffic"), told.get("authMode"), raw.get("identity")]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:32]


# --- endpoint and traffic, which are one resource on Azure ------------------------------------------------------


def endpoint_live(name: str, raw: Mapping[str, Any]) -> Live:
    """Return the endpoint itself as a resource."""
    state, word = state_of(raw)
    labels = Labels.from_tags(table(raw.get("tags")))
    return Live(
        ENDPOINT,
        name,
        state,
        raw=word,
        spec=_endpoint_spec(raw, labels),
        labels=labels,
        etag=etag_of(raw),
        created_at=created_at(raw),
        details={"url": raw["properties"].get("scoringUri"), "name": raw["name"]},
    )


def _endpoint_spec(raw: Mapping[str, Any], labels: Labels | None) -> dict[str, Any]:
    told = table(raw.get("properties"))
    mode = str(told.get("authMode") or "Key")
    return {
        "auth": {word: ours for ours, word in _AUTH.items()}.get(mode, mode),
        "identity": identity_of(raw),
        "public": told.get("publicNetworkAccess") != "Disabled",
        "expires_at": labels.expires_at if labels else 0,
    }


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the user's own tags.

    Example:
        >>> own_tags({"mlport": "1", "mlport-owner": "me", "team": "a"})
        {'team': 'a'}
    """
    return {key: value for key, value in tags.items() if key != "mlport" and not key.startswith("mlport-")}


def identity_of(raw: Mapping[str, Any]) -> str:
    """Return the identity of an endpoint: the lower-case id of a user-assigned one, or ``system``."""
    named: dict[str, Any] = table(table(raw.get("identity")).get("userAssignedIdentities"))
    return next(iter(named)).lower() if named else "system"


def traffic_live(name: str, raw: Mapping[str, Any]) -> Live | None:
    """Return the traffic as a resource; ``None`` before it has been set for the first time."""
    tags: dict[str, str] = table(raw.get("tags"))
    if _TRAFFIC not in tags:
        return None
    state, word = state_of(raw)
    told = raw["properties"]
    known = dict.fromkeys(filter(None, tags[_TRAFFIC].split(",")), 0)
    weights = {**known, **by_known(known, table(told.get("traffic")))}
    return Live(
        TRAFFIC,
        name,
        state,
        raw=word,
        spec={"weights": weights, "mirror": by_known(known, table(told.get("mirrorTraffic")))},
        labels=_traffic_labels(name, tags),
        etag=etag_of(raw),
        created_at=created_at(raw),
        parents=tuple(Ref(DEPLOYMENT, deployment_id(name, one)) for one in weights),
    )


def _traffic_labels(name: str, tags: Mapping[str, str]) -> Labels | None:
    own = {
        key.replace(f"{_TRAFFIC}-", "mlport-"): value for key, value in tags.items() if key.startswith(f"{_TRAFFIC}-")
    }
    return Labels.from_tags({"mlport": "1", "mlport-endpoint": name, **own})


def endpoint_tags(resource: Resource, old: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of an endpoint whose own labels change: traffic tags are kept, the user's tags ``added``."""
    kept = {key: value for key, value in old.items() if key.startswith(_TRAFFIC)}
    return {**own_tags(old), **added, **kept, **resource.tags}


def traffic_tags(
    resource: Resource | None, old: Mapping[str, str], added: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the tags of an endpoint whose traffic changes, with the user's; without a resource, no traffic tags."""
    kept = {key: value for key, value in old.items() if not key.startswith(_TRAFFIC)} | dict(added or {})
    if resource is None:
        return kept
    weights: Any = table(resource.spec)["weights"]
    own = {f"{_TRAFFIC}-{key.removeprefix('mlport-')}": value for key, value in resource.tags.items() if key in _KEPT}
    return {**kept, _TRAFFIC: ",".join(weights), **own}


_KEPT = frozenset({"mlport-owner", "mlport-txn", "mlport-spec", "mlport-expires"})


_STORES = "enforce_access_to_default_secret_stores"  # set at creation: the endpoint's identity may read connections


def reads_connections(raw: Mapping[str, Any]) -> bool:
    """Check whether an endpoint's identity may read the secrets of the workspace's connections, or is the user's.

    Source: https://learn.microsoft.com/azure/machine-learning/concept-secret-injection
    """
    return identity_of(raw) != "system" or table(raw["properties"].get("properties")).get(_STORES) == "enabled"


def endpoint_body(
    location: str,
    tags: Mapping[str, str],
    spec: Mapping[str, Any],
    traffic: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the whole body of an endpoint, based on its state ``before``, since a PUT drops what it leaves out.

    The body therefore also keeps what other clients have set and what a later version of the API has added.
    """
    raw = table(before)
    told = {key: value for key, value in table(raw.get("properties")).items() if key not in _READ_ONLY}
    more: dict[str, Any] = table(told.get("properties")) | ({_STORES: "enabled"} if spec.get("connections") else {})
    access = told.get("publicNetworkAccess") or "Enabled"
    if (access != "Disabled") is not spec["public"]:
        access = "Enabled" if spec["public"] else "Disabled"
    weights: Mapping[str, int] = table(traffic.get("weights"))
    return {
        **{key: raw[key] for key in ("sku",) if raw.get(key)},
        "location": location,
        "tags": dict(tags),
        "kind": "Managed",
        "identity": _identity(str(spec["identity"]), raw),
        "properties": {
            **told,
            **({"properties": more} if more else {}),
            "authMode": _AUTH.get(spec["auth"], spec["auth"]),
            "publicNetworkAccess": access,
            "traffic": {name: weight for name, weight in weights.items() if weight},
            "mirrorTraffic": dict(table(traffic.get("mirror"))),
        },
    }


_READ_ONLY = frozenset({"scoringUri", "swaggerUri", "provisioningState"})


def _identity(wanted: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identities of an endpoint, including all existing ones, since an endpoint may have both kinds."""
    if before and identity_of(before) == wanted:
        old: dict[str, Any] = table(before.get("identity"))
        named: dict[str, Any] = table(old.get("userAssignedIdentities"))
        ids: dict[str, Any] = {"userAssignedIdentities": {one: {} for one in named}} if named else {}
        return {"type": old.get("type") or "SystemAssigned", **ids}
    if wanted == "system":
        return {"type": "SystemAssigned"}
    return {"type": "UserAssigned", "userAssignedIdentities": {wanted: {}}}


# --- deployments ------------------------------------------------------------------------------------------------


def deployment_body(
    location: str, workspace: str, resource: Resource, env: Mapping[str, str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body of a deployment; ``env`` holds all variables of its container."""
    spec: Any = table(resource.spec)
    start_s = float(options["start_s"])
    environment = f"{workspace}/environments/{environment_name(spec['image'])}/versions/{ENVIRONMENT_VERSION}"
    return {
        "location": location,
        "tags": deployment_tags(resource),
        "kind": "Managed",
        "sku": {"name": "Default", "capacity": spec["replicas"]["min"]},
        "properties": {
            "endpointComputeType": "Managed",
            "environmentId": environment,
            "instanceType": spec["instance"],
            "environmentVariables": dict(env),
            "appInsightsEnabled": options["app_insights"],
            "scaleSettings": {"scaleType": "Default"},
            **({} if options.get("public_egress", True) else {"egressPublicNetworkAccess": "Disabled"}),
            "requestSettings": {
                "requestTimeout": duration(options["deadline_s"]),
                "maxConcurrentRequestsPerInstance": options["concurrency"],
            },
            **_probes(start_s),
        },
    }


def _probes(start_s: float) -> dict[str, Any]:
    """Return the probes: ``start_s`` seconds for the start, then a restart within half a minute if the container hangs.

    The liveness probe waits that long as well, in case Azure does not wait for the startup probe: otherwise a container
    that loads a large model would be restarted forever.
    """
    return {
        "startupProbe": _probe(5, math.ceil(start_s / 5)),
        "livenessProbe": {**_probe(10, 3), "initialDelay": duration(math.ceil(start_s))},
        "readinessProbe": _probe(5, math.ceil(start_s / 5)),
    }


def _probe(period: int, failures: int) -> dict[str, Any]:
    return {
        "initialDelay": duration(period),
        "period": duration(period),
        "timeout": duration(4),
        "successThreshold": 1,
        "failureThreshold": max(3, failures),
    }


def deployment_tags(resource: Resource) -> dict[str, str]:
    """Return a deployment's tags: its labels, the values needed to read it back, and the user's own tags."""
    spec: Any = table(resource.spec)
    own = {
        "mlport-hash": spec["deployment_hash"],
        "mlport-name": spec["model_name"],
        "mlport-image": spec["image"],
        "mlport-replicas": f"{spec['replicas']['min']}-{spec['replicas']['max']}",
    }
    return {**spec["tags"], **resource.tags, **own}


def deployment_live(name: str, raw: Mapping[str, Any], usd_per_hour: float | None) -> Live:
    """Return a deployment as a resource; ``usd_per_hour`` is for one instance of its type."""
    state, word = state_of(raw)
    tags: dict[str, str] = table(raw.get("tags"))
    count = whole(table(raw.get("sku")).get("capacity"), 1)
    least, _, most = tags.get("mlport-replicas", "").partition("-")
    image = tags.get("mlport-image", "")
    return Live(
        DEPLOYMENT,
        deployment_id(name, raw["name"]),
        state,
        raw=word,
        labels=Labels.from_tags(tags),
        created_at=created_at(raw),
        parents=(*((Ref(ENVIRONMENT, image),) if image else ()), Ref(ENDPOINT, name)),
        usd_per_hour=None if usd_per_hour is None else usd_per_hour * count,
        details={
            "deployment": raw["name"],
            "deployment_hash": tags.get("mlport-hash", ""),
            "model_name": tags.get("mlport-name", name),
            "image": image,
            "instance": table(raw.get("properties")).get("instanceType"),
            "replicas": {"min": whole(least, count), "max": whole(most, count)},
            "count": count,
            "tags": own_tags(tags),
            "endpoint": str(raw["id"]).split("/")[-3],
        },
    )


def scales(live: Live) -> bool:
    """Check whether a deployment has an autoscale setting."""
    replicas: Any = live.details["replicas"]
    return bool(replicas["max"] > replicas["min"])


def autoscale_body(location: str, target: str, resource: Resource) -> dict[str, Any]:
    """Return the body of a setting that adds an instance while the processors are busy, and removes one when idle.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-autoscale-endpoints
    """
    spec: Any = table(resource.spec)
    least, most, busy = (int(spec[key]) for key in ("min", "max", "scale_at"))
    count = {"minimum": str(least), "maximum": str(most), "default": str(least)}
    rules = [_rule(target, "GreaterThan", busy, "Increase"), _rule(target, "LessThan", busy // 3, "Decrease")]
    return {
        "location": location,
        "tags": {**table(spec.get("tags")), **resource.tags, "mlport-id": resource.id},
        "properties": {
            "enabled": True,
            "targetResourceUri": target,
            "profiles": [{"name": "mlport", "capacity": count, "rules": rules}],
        },
    }


def _rule(target: str, operator: str, threshold: int, direction: str) -> dict[str, Any]:
    return {
        "metricTrigger": {
            "metricName": "CpuUtilizationPercentage",
            "metricResourceUri": target,
            "timeGrain": "PT1M",
            "statistic": "Average",
            "timeWindow": "PT5M",
            "timeAggregation": "Average",
            "operator": operator,
            "threshold": threshold,
        },
        "scaleAction": {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": "PT5M"},
    }


def autoscale_live(raw: Mapping[str, Any]) -> Live:
    """Return an autoscale setting of this SDK as a resource."""
    known = str(raw["tags"]["mlport-id"])
    return Live(
        AUTOSCALE,
        known,
        "ready",
        raw="enabled" if table(raw.get("properties")).get("enabled") else "disabled",
        labels=Labels.from_tags(raw["tags"]),
        created_at=created_at(raw),
        parents=(Ref(DEPLOYMENT, known),),
    )


# --- environments -----------------------------------------------------------------------------------------------


def environment_body(image: str, digest: str) -> dict[str, Any]:
    """Return the body of an environment that uses the image unchanged, with the routes of its server."""
    return {
        "properties": {
            "image": image,
            "osType": "Linux",
            "inferenceConfig": ROUTES,
            "isArchived": False,
            "isAnonymous": False,
            "tags": {"mlport": "1", "mlport-model": digest[:32]},
        }
    }


_OF_ENVIRONMENT = ("description", "properties", "tags", "image", "osType", "isAnonymous")


def archived_body(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that archives an environment: what it was made with, without fields that Azure may have added.

    Azure refuses another content of an environment, and a field that this version of its API does not take.
    """
    told = table(raw.get("properties"))
    routes = {name: table(table(told.get("inferenceConfig")).get(name)) for name in ROUTES}
    inference = {name: {key: one[key] for key in ("port", "path") if key in one} for name, one in routes.items() if one}
    return {
        "properties": {
            **{key: told[key] for key in _OF_ENVIRONMENT if told.get(key) is not None},
            **({"inferenceConfig": inference} if inference else {}),
            "isArchived": True,
        }
    }


def duration(seconds: float) -> str:
    """Format seconds as an ISO 8601 duration.

    Example:
        >>> duration(90)
        'PT90S'
    """
    return f"PT{seconds:g}S"
