"""Endpoints: created, updated blue/green, reweighted, rolled back, deleted, each through its intermediate states."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..timing import Line, Step
from .ecr import place_of
from .errors import invalid
from .fleet import Fleet, Variant
from .scaling import forget_endpoint, refuse_scaled
from .state import Record, Shelf, page, tags_of
from .world import without_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..faults import Fault
    from .keys import Spot
    from .models import Configs, Models
    from .world import World

# Seconds on the real platform, from public reports: minutes to create an endpoint, and to replace a fleet.
CREATE_S, UPDATE_S, REWEIGHT_S, ROLLBACK_S, DELETE_S = 180.0, 240.0, 30.0, 60.0, 15.0
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@dataclass
class Endpoint(Record):
    """One endpoint.

    Attributes:
        config: Name of its configuration.
        fleet: The containers that serve.
        line: Its states over time.
        pending: Its update in progress: name of the new configuration, new fleet, and start time.
        weights: Weights and counts that are being set, by variant.
        failure: Why the last change failed.
        deployment: The deployment configuration of its last update.
    """

    config: str = ""
    fleet: Fleet = field(kw_only=True)
    line: Line = field(kw_only=True)
    pending: tuple[str, Fleet, float] | None = None
    weights: dict[str, tuple[float, int]] | None = None
    failure: str | None = None
    deployment: Mapping[str, Any] | None = None


class Endpoints:
    """The operations on endpoints, such as ``CreateEndpoint``."""

    def __init__(self, world: World, models: Models, configs: Configs) -> None:
        self.world, self._models, self._configs = world, models, configs
        self.shelf: Shelf[Endpoint] = Shelf("endpoint", self._settle)
        self.leaving: list[Fleet] = []

    # --- operations -----------------------------------------------------------------------------------------------

    def create(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``CreateEndpoint``."""
        name, config = body["EndpointName"], body["EndpointConfigName"]
        if taken := self.shelf.peek(spot, name):
            raise invalid(f'Cannot create already existing endpoint "{taken.arn}".')
        fleet = self._fleet(spot, name, config)
        self._check_quota(spot, fleet)
        line = self.world.pace.line(Step("Creating", CREATE_S, _until(fleet, fault)), final="InService")
        record = Endpoint("endpoint", name, spot, body, tags_of(body), config=config, fleet=fleet, line=line)
        record.hide(fault)
        self.shelf.add(record)
        fleet.start(broken=_broken(fault))
        return {"EndpointArn": record.arn}

    def update(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``UpdateEndpoint``: start a new fleet; the old one serves until the new one is ready."""
        record = self.shelf.get(spot, body["EndpointName"])
        self._check_idle(record, "update")
        config = body["EndpointConfigName"]
        fleet = self._fleet(spot, record.name, config)
        _check_update(record.fleet, fleet, body)
        refuse_scaled(self.world.moto, spot, record.name, _replaced(record.fleet, fleet))
        self._check_quota(spot, fleet)
        if body.get("RetainAllVariantProperties"):
            _retain(record.fleet, fleet, {item["VariantPropertyType"] for item in _excluded(body)})
        record.pending, record.failure = (config, fleet, time.time()), None
        record.deployment, record.modified = body.get("DeploymentConfig"), time.time()
        record.line.turn(Step("Updating", UPDATE_S, _until(fleet, fault)), final="InService")
        fleet.start(broken=_broken(fault))
        return {"EndpointArn": record.arn}

    def reweight(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``UpdateEndpointWeightsAndCapacities``."""
        record = self.shelf.get(spot, body["EndpointName"])
        self._check_idle(record, "update")
        self._configs.shelf.get(spot, record.config)
        wanted: dict[str, tuple[float, int]] = {}
        for item in body["DesiredWeightsAndCapacities"]:
            variant = record.fleet.variant(item["VariantName"])
            if variant is None or variant.name in wanted:
                raise invalid(f'The variant name(s) "{item["VariantName"]}" is/are not present or given twice.')
            weight, count = item.get("DesiredWeight"), item.get("DesiredInstanceCount")
            wanted[variant.name] = (variant.weight if weight is None else weight, count or variant.count)
            more = wanted[variant.name][1] - variant.count
            if more > 0 and variant.body.get("InstanceType"):
                self._check_instances(spot, variant.body["InstanceType"], more)
        record.weights, record.failure, record.modified = wanted, _broken(fault), time.time()
        record.line.turn(Step("Updating", REWEIGHT_S, _stuck(fault)), final="InService")
        return {"EndpointArn": record.arn}

    def delete(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``DeleteEndpoint``, which is refused while the endpoint is being created or changed."""
        record = self.shelf.get(spot, body["EndpointName"])
        self._check_idle(record, "delete")
        fleet = record.fleet
        fleet.stop()
        self.leaving.append(fleet)
        record.modified = time.time()
        forget_endpoint(self.world.moto, spot, record.name)
        record.line.turn(Step("Deleting", DELETE_S, _stuck(fault, lambda: fleet.gone)), final="Deleted")
        return {}

    def describe(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DescribeEndpoint``; at pace 0 this call advances the states."""
        record = self.shelf.get(spot, body["EndpointName"])
        status = self._status(record, record.line.show())
        pending, runs = record.pending, status not in {"Creating", "Failed"}
        return without_nothing({
            "EndpointName": record.name,
            "EndpointArn": record.arn,
            "EndpointConfigName": record.config,
            "ProductionVariants": [_summary(one, self.world, spot) for one in record.fleet.variants] if runs else None,
            "ShadowProductionVariants": [_summary(one, self.world, spot) for one in record.fleet.shadows],
            "EndpointStatus": status,
            "FailureReason": record.failure,
            "CreationTime": record.created,
            "LastModifiedTime": record.modified,
            "LastDeploymentConfig": record.deployment,
            "PendingDeploymentSummary": {
                "EndpointConfigName": pending[0],
                "ProductionVariants": [_summary(one, self.world, spot) for one in pending[1].variants],
                "StartTime": pending[2],
            }
            if pending
            else None,
        })  # fmt: skip

    def list(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``ListEndpoints``."""

        def show(record: Endpoint) -> dict[str, Any]:
            return {
                "EndpointName": record.name,
                "EndpointArn": record.arn,
                "CreationTime": record.created,
                "LastModifiedTime": record.modified,
                "EndpointStatus": self._status(record, record.line.show()),
            }

        return page(body, list(self.shelf.all(spot)), show, "Endpoints", "EndpointName")

    def status(self, record: Endpoint) -> str:
        """Return the state, without counting it as shown."""
        return self._status(record, record.line.now())

    # --- what happens between requests ----------------------------------------------------------------------------

    def _settle(self, record: Endpoint) -> None:
        """Do what is due now: switch to the new fleet, roll back to the old one, set weights, or drop the record."""
        self.leaving = [fleet for fleet in self.leaving if not fleet.gone]
        if not record.line.done:
            return
        if record.line.final == "Deleted":
            self.shelf.drop(record)
        elif record.pending is not None:
            config, fleet, _ = record.pending
            record.pending, record.modified = None, time.time()
            if fleet.error is None:
                record.fleet, fleet, record.config = fleet, record.fleet, config
            else:
                record.failure = fleet.error
                record.line.turn(Step("RollingBack", ROLLBACK_S), final="InService")
            fleet.stop()
            self.leaving.append(fleet)
        elif record.weights is not None:
            weights, record.weights = record.weights, None
            for name, (weight, count) in weights.items() if record.failure is None else ():
                variant = record.fleet.variant(name)
                if variant is not None:
                    variant.weight, variant.count = weight, count

    def _status(self, record: Endpoint, state: str) -> str:
        if state == "InService" and record.fleet.error is not None:
            record.failure = record.fleet.error
            return "Failed"
        return state

    def _check_idle(self, record: Endpoint, what: str) -> None:
        status = self.status(record)
        if status in _BUSY or (what == "update" and status == "Failed"):
            raise invalid(f'Cannot {what} in-progress endpoint "{record.arn}".' if status in _BUSY else
                          f'Cannot update endpoint "{record.arn}" that is in status Failed.')  # fmt: skip

    def _fleet(self, spot: Spot, endpoint: str, config: str) -> Fleet:
        found = self._configs.shelf.get(spot, config).body
        made: list[list[Variant]] = []
        for group in ("ProductionVariants", "ShadowProductionVariants"):
            made.append([])
            for body in found.get(group) or ():
                model = self._models.shelf.get(spot, body["ModelName"]).body
                weight, count = body.get("InitialVariantWeight", 1.0), body.get("InitialInstanceCount", 0)
                made[-1].append(Variant(body, model, weight, count))
        return Fleet(self.world, spot, endpoint, made[0], made[1])

    def _check_quota(self, spot: Spot, fleet: Fleet) -> None:
        for instance, count in fleet.instances().items():
            self._check_instances(spot, instance, count)

    def _check_instances(self, spot: Spot, instance: str, more: int) -> None:
        used = 0
        for record in self.shelf.all(spot):
            fleets = [record.fleet, *([record.pending[1]] if record.pending else [])]
            used += sum(fleet.instances().get(instance, 0) for fleet in fleets if fleet.error is None)
        self.world.check_quota("endpoint", instance, used, more)


def _summary(variant: Variant, world: World, spot: Spot) -> dict[str, Any]:
    """Return a variant as ``DescribeEndpoint`` shows it."""
    repository, digest = world.image_digest(str(variant.container["Image"]), spot)
    image = str(variant.container["Image"])
    shown: dict[str, Any] = {
        "VariantName": variant.name,
        "DeployedImages": [
            {
                "SpecifiedImage": image,
                "ResolvedImage": f"{image.partition('/')[0]}/{place_of(repository)[1]}@{digest}",
                "ResolutionTime": time.time(),
            }
        ],
        "CurrentWeight": float(variant.weight),
        "DesiredWeight": float(variant.weight),
    }
    if variant.serverless:
        return {**shown, "CurrentServerlessConfig": dict(variant.serverless)}
    return {**shown, "CurrentInstanceCount": variant.count, "DesiredInstanceCount": variant.count}


def _check_update(old: Fleet, new: Fleet, body: Mapping[str, Any]) -> None:
    was, will = (any(one.serverless for one in fleet.variants) for fleet in (old, new))
    if was != will:
        raise invalid("An endpoint cannot be changed between instances and serverless by an update.")
    deployment: Mapping[str, Any] = body.get("DeploymentConfig") or {}
    if deployment.get("BlueGreenUpdatePolicy") and {one.name for one in old.variants} != {
        one.name for one in new.variants
    }:
        raise invalid("A blue/green deployment configuration needs the same production variants before and after.")


def _replaced(old: Fleet, new: Fleet) -> Iterator[str]:
    """Yield the variants of the old fleet that the new one lacks, or has with another instance type."""
    for variant in old.variants:
        other = new.variant(variant.name)
        if other is None or other.body.get("InstanceType") != variant.body.get("InstanceType"):
            yield variant.name


def _excluded(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = body.get("ExcludeRetainedVariantProperties") or []
    return found


def _retain(old: Fleet, new: Fleet, excluded: set[str]) -> None:
    """Keep weights and counts, except the excluded properties."""
    for variant in new.variants:
        before = old.variant(variant.name)
        if before is not None and "DesiredWeight" not in excluded:
            variant.weight = before.weight
        if before is not None and "DesiredInstanceCount" not in excluded:
            variant.count = before.count


def _until(fleet: Fleet, fault: Fault | None) -> Callable[[], bool]:
    return _stuck(fault, lambda: fleet.settled)


def _stuck(fault: Fault | None, ready: Callable[[], bool] = lambda: True) -> Callable[[], bool]:
    """Return when a state may end: never or late, if a ``stuck`` fault is planned."""
    if fault is None or fault.kind != "stuck":
        return ready
    end = time.monotonic() + fault.seconds if fault.seconds else float("inf")
    return lambda: time.monotonic() >= end and ready()


def _broken(fault: Fault | None) -> str | None:
    return "An internal failure of the platform (planned by a test)." if fault and fault.kind == "fail" else None
