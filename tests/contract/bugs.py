"""Adapters with one planted bug each, the test of the contract that must find it, and a quick platform to try it on."""

import itertools
import json
import os
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from mlport_shelf import ShelfAdapter
from mlport_shelf.platform import Reply, Shelf
from sdk import errors
from sdk.adapter import (
    YES,
    Ack,
    Capability,
    Clock,
    EndpointSpec,
    Invoker,
    Labels,
    Limits,
    Live,
    Materials,
    ModelFault,
    Ref,
    Resource,
    ServiceHost,
    Support,
)
from sdk.adapter.types import EndpointStatus
from sdk.util.waiting import SystemClock
from sdk_contract import samples, suites
from shelf_rig import ShelfRig

ENVIRONMENT = threading.Lock()
SAMPLES = samples.Samples()
READY = 5  # a server is ready when it has been asked so often

# --- a shelf that is quick: models answer inside this process -----------------------------------------------------


class QuickServer:
    """Answers as the mlport server would, after having been asked a few times whether it is ready."""

    def __init__(self, name: str, model: Path, folder: Path, env: Mapping[str, str]) -> None:
        manifest = json.loads((model / "mlport.json").read_bytes())
        self.env = env
        self.asked = itertools.count()
        self.running = True
        self.function: Callable[[Any], list[float]] | None = None
        with suppress(RuntimeError):  # the model that cannot be loaded
            self.function = pickle.loads((model / manifest["entry"]).read_bytes())

    @property
    def state(self) -> str:
        return "creating" if next(self.asked) < READY else "ready" if self.function else "failed"

    @property
    def reason(self) -> str | None:
        return None if self.function else samples.BROKEN

    def predict(self, body: bytes, given: Mapping[str, str]) -> Reply:
        headers = {"x-request-id": given.get("x-request-id", ""), "content-type": "application/json"}
        if next(self.asked) < READY or self.function is None:
            return 503, b'{"error": "not ready"}', headers
        headers["x-shelf-origin"] = "model"
        rows = json.loads(body)["instances"]
        if not rows or not all(len(row) == 2 and isinstance(row[1], float | int) for row in rows):
            error = {"code": "bad_shape", "message": "rows have two numbers", "field": "instances[0]"}
            return 400, json.dumps({"error": error}).encode(), headers
        try:
            with ENVIRONMENT, mock.patch.dict(os.environ, self.env):
                return 200, json.dumps({"predictions": self.function(rows)}).encode(), headers
        except RuntimeError:
            error = {"code": "model_error", "message": "the model failed"}
            return 500, json.dumps({"error": error}).encode(), headers

    def stop(self) -> None:
        self.running = False


class QuickClock(SystemClock):
    """Waiting takes no time, but counts as if it had."""

    skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds


class PlantedRig(ShelfRig):
    """The contract's view of a quick shelf and of an adapter that may have a bug."""

    patience = 3.0

    def __init__(self, folder: Path, adapter: type[ShelfAdapter]) -> None:
        super().__init__(folder, shelf=Shelf(QuickServer))
        self.adapter = adapter  # type: ignore[misc]  # one rig class for all bugs
        self.samples = SAMPLES
        self.quick = QuickClock()

    @property
    def clock(self) -> Clock:
        return self.quick

    def sweep(self) -> None:
        """What is left goes with the shelf; a bug might not let it go."""


# --- the bugs -----------------------------------------------------------------------------------------------------


def edited(
    adapter: ShelfAdapter, spec: EndpointSpec, kind: str, change: Callable[[Resource], Resource]
) -> list[Resource]:
    return [change(item) if item.kind == kind else item for item in ShelfAdapter.resources(adapter, spec)]


class DroppedTags(ShelfAdapter):
    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        bare = replace(resource, labels=Labels("", "", "")) if resource.kind == "Deployment" else resource
        return super().create(bare, materials, timeout=timeout)


class ForgottenExpiry(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        return super().resources(replace(spec, labels=replace(spec.labels, expires_at=0)))


class IgnoredTraffic(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        newest = spec.deployments[-1].id
        return super().resources(replace(spec, traffic={d.id: 100 * (d.id == newest) for d in spec.deployments}))


class SwappedTraffic(ShelfAdapter):
    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        found = super().status(name, live)
        if found is None:
            return None
        turned = [replace(d, traffic=100 - d.traffic) for d in found.deployments]
        return replace(found, deployments=tuple(turned) if len(turned) == 2 else found.deployments)


class SwallowedModelError(ShelfAdapter):
    def invoker(self, status: EndpointStatus) -> Invoker:
        return replace(super().invoker(status), fault=lambda _answer: None)


class WrongStatus(ShelfAdapter):
    def invoker(self, status: EndpointStatus) -> Invoker:
        inner = super().invoker(status)

        def fault(answer: httpx.Response) -> ModelFault | None:
            found = inner.fault(answer)
            return found and replace(found, status=424)

        return replace(inner, fault=fault)


class LostField(ShelfAdapter):
    def invoker(self, status: EndpointStatus) -> Invoker:
        inner = super().invoker(status)

        def fault(answer: httpx.Response) -> ModelFault | None:
            found = inner.fault(answer)
            return found and replace(found, field=None)

        return replace(inner, fault=fault)


class IgnoredPin(ShelfAdapter):
    def invoker(self, status: EndpointStatus) -> Invoker:
        return replace(super().invoker(status), pin=lambda _deployment: {})


class WrongPin(ShelfAdapter):
    def invoker(self, status: EndpointStatus) -> Invoker:
        newest = status.deployments[-1].id
        return replace(super().invoker(status), pin=lambda _deployment: {"x-shelf-deployment": newest})


class ForgottenChild(ShelfAdapter):
    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        found = super().observe(name, timeout=timeout)
        dark = {f"{name}-{d}" for i in found if i.kind == "Endpoint" for d, w in i.spec["traffic"].items() if not w}  # type: ignore[index,union-attr]  # our own shape
        return [item for item in found if item.id not in dark]


class DeleteThatDoesNothing(ShelfAdapter):
    def delete(self, live: Live, *, timeout: float) -> Ack:
        return Ack()


class SwallowedNotFound(ShelfAdapter):
    def delete(self, live: Live, *, timeout: float) -> Ack:
        try:
            return super().delete(live, timeout=timeout)
        except errors.NotFoundError:
            return Ack()


class BlindWhileCreating(ShelfAdapter):
    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        found = super().read(ref, timeout=timeout)
        return None if found is not None and found.state == "creating" else found


class ReadyTooEarly(ShelfAdapter):
    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        found = super().read(ref, timeout=timeout)
        return found and replace(found, state="ready")


class IgnoredBeforeImage(ShelfAdapter):
    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        return super().update(resource, self.read(resource.ref, timeout=timeout) or before, timeout=timeout)


class ConstantEtag(ShelfAdapter):
    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        found = super().read(ref, timeout=timeout)
        return found and replace(found, etag="1")


class WrongSpecHash(ShelfAdapter):
    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        found = super().status(name, live)
        return found and replace(
            found, deployments=tuple(replace(d, spec_hash=d.model[:32]) for d in found.deployments)
        )


class ConstantGeneration(ShelfAdapter):
    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        found = super().status(name, live)
        return found and replace(found, deployments=tuple(replace(d, generation=1) for d in found.deployments))


class LeakedSecret(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        def leak(item: Resource) -> Resource:
            names: Any = (item.spec or {}).get("secrets", {})
            return replace(item, spec={**(item.spec or {}), "values": [os.environ.get(n, "") for n in names.values()]})

        return edited(self, spec, "Deployment", leak)


class DroppedEnv(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        def drop(item: Resource) -> Resource:
            return item if item.spec is None else replace(item, spec={**item.spec, "env": {}, "spec_hash": ""})

        return edited(self, spec, "Deployment", drop)


class FreeWhenUnknown(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        return [replace(item, usd_per_hour=item.usd_per_hour or 0.0) for item in super().resources(spec)]


class OldOneIsFree(ShelfAdapter):
    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        found = super().status(name, live)
        return found and replace(found, usd_per_hour=0.5)


class OwnThingsOnly(ShelfAdapter):
    def list(self, *, timeout: float) -> Iterator[Live]:
        everything = super().list(timeout=timeout)
        return (item for item in everything if item.labels and item.labels.owner == self._context.owner)


class RandomIds(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        return edited(self, spec, "Deployment", lambda item: replace(item, id=f"{item.id}{uuid.uuid4().hex[:4]}"))


class LongIds(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        return edited(self, spec, "Deployment", lambda item: replace(item, id=f"mlport-{item.id}-{item.hash}"))


class ForgottenParents(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        return [replace(item, parents=()) for item in super().resources(spec)]


class TrafficFirst(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        return list(reversed(super().resources(spec)))


class MadeAgain(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        kept = [replace(d, kept=None) for d in spec.deployments]
        return super().resources(replace(spec, deployments=tuple(kept)))


class PlansWithCalls(ShelfAdapter):
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        self.observe(spec.name, timeout=5)
        return super().resources(spec)


class SwallowedConflict(ShelfAdapter):
    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        try:
            return super().create(resource, materials, timeout=timeout)
        except errors.ConflictError:
            return Ack()


class VendorException(ShelfAdapter):
    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        try:
            return super().read(ref, timeout=timeout)
        except errors.PlatformError as error:
            raise httpx.HTTPError(str(error)) from None


class NotRetryable(ShelfAdapter):
    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        try:
            return super().read(ref, timeout=timeout)
        except errors.ThrottledError as error:
            raise errors.PlatformError(error.message, provider="shelf", operation="read") from error


class NamelessError(ShelfAdapter):
    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        try:
            return super().observe(name, timeout=timeout)
        except errors.PlatformError as error:
            raise type(error)(error.message) from error


class PretendedMetrics(ShelfAdapter):
    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        return {**super().capabilities(options), Capability.METRICS: YES}


class UndeclaredCapability(ShelfAdapter):
    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        return {name: support for name, support in super().capabilities(options).items() if name != Capability.GPU}


class SilentRefusal(ShelfAdapter):
    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        no = Support(ok=False, reason="never")
        return {name: support if support.ok else no for name, support in super().capabilities(options).items()}


class RenamedArgument(ShelfAdapter):
    def read(self, ref: Ref, *, seconds: float = 5, **_more: Any) -> Live | None:  # the bug: another name
        return super().read(ref, timeout=seconds)


class PassesForReal(ShelfAdapter):
    def service_host(self) -> ServiceHost:
        return replace(super().service_host(), official=True)


class WrongLimits(ShelfAdapter):
    def limits(self) -> Limits:
        return Limits(request_bytes=100, timeout_s=60)


class PrefixMatch(ShelfAdapter):
    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        everything = self.list(timeout=timeout)
        return [i for i in everything if i.kind == "Model" or (i.labels and i.labels.endpoint.startswith(name))]


class ForeignHands(ShelfAdapter):
    def list(self, *, timeout: float) -> Iterator[Live]:
        mine = Labels("gone", self._context.owner, "t0", expires_at=1)
        for item in self._items(timeout):
            if item.kind == "Thing":
                item = replace(item, kind="Deployment", labels=mine, created_at=1.0)  # noqa: PLW2901 - the bug
                self._http.delete("/items/Thing/foreign")
            yield item


class LocalAge(ShelfAdapter):
    def server_time(self) -> float:
        return super().server_time() + 86_400


class DoctorSeesNothing(ShelfAdapter):
    def doctor(self) -> Iterator[Any]:
        return iter(())


# --- which test finds which bug -----------------------------------------------------------------------------------

CAPABILITIES, OPERATIONS, DEPLOY = suites.CapabilitiesSuite, suites.OperationsSuite, suites.DeploySuite
TRAFFIC, PREDICT, ERRORS, PRICES = suites.TrafficSuite, suites.PredictSuite, suites.ErrorsSuite, suites.PricesSuite

BUGS: dict[type[ShelfAdapter], tuple[type, str]] = {
    DroppedTags: (OPERATIONS, "test_it_reads_back_as_it_was_asked_for"),
    ForgottenExpiry: (CAPABILITIES, "test_labels_are_on_everything"),
    IgnoredTraffic: (CAPABILITIES, "test_traffic_reaches_a_mutable_spec"),
    SwappedTraffic: (CAPABILITIES, "test_status_reads_back_what_was_planned"),
    SwallowedModelError: (PREDICT, "test_the_models_own_failure"),
    WrongStatus: (PREDICT, "test_the_models_own_failure"),
    LostField: (PREDICT, "test_wrong_input_is_named"),
    IgnoredPin: (TRAFFIC, "test_a_dark_deployment_can_be_asked"),
    WrongPin: (TRAFFIC, "test_a_dark_deployment_can_be_asked"),
    ForgottenChild: (DEPLOY, "test_update_keeps_the_old_one_until_finalize"),
    DeleteThatDoesNothing: (OPERATIONS, "test_what_is_gone_cannot_be_deleted_or_changed"),
    SwallowedNotFound: (OPERATIONS, "test_what_is_gone_cannot_be_deleted_or_changed"),
    BlindWhileCreating: (OPERATIONS, "test_what_is_being_made_is_seen"),
    ReadyTooEarly: (OPERATIONS, "test_ready_means_that_it_answers"),
    IgnoredBeforeImage: (OPERATIONS, "test_a_stale_update_is_refused"),
    ConstantEtag: (OPERATIONS, "test_a_stale_update_is_refused"),
    WrongSpecHash: (CAPABILITIES, "test_status_reads_back_what_was_planned"),
    ConstantGeneration: (DEPLOY, "test_generations_count_up"),
    LeakedSecret: (CAPABILITIES, "test_no_secret_in_a_plan"),
    DroppedEnv: (CAPABILITIES, "test_every_setting_of_a_deployment_reaches_a_spec"),
    FreeWhenUnknown: (PRICES, "test_unknown_is_not_free"),
    OldOneIsFree: (PRICES, "test_two_deployments_cost_twice"),
    OwnThingsOnly: (OPERATIONS, "test_everybody_sees_it_in_the_list"),
    RandomIds: (CAPABILITIES, "test_planning_is_deterministic"),
    LongIds: (CAPABILITIES, "test_ids_fit_and_differ"),
    ForgottenParents: (CAPABILITIES, "test_everything_is_needed_by_a_root"),
    TrafficFirst: (CAPABILITIES, "test_resources_are_of_declared_kinds_and_in_order"),
    MadeAgain: (CAPABILITIES, "test_what_is_kept_is_not_made_again"),
    PlansWithCalls: (CAPABILITIES, "test_planning_is_pure"),
    SwallowedConflict: (OPERATIONS, "test_an_id_is_made_once"),
    VendorException: (ERRORS, "test_no_vendor_exception_crosses"),
    NotRetryable: (ERRORS, "test_what_the_platform_says"),
    NamelessError: (ERRORS, "test_no_vendor_exception_crosses"),
    PretendedMetrics: (CAPABILITIES, "test_declared_is_implemented"),
    UndeclaredCapability: (CAPABILITIES, "test_every_capability_is_declared"),
    SilentRefusal: (CAPABILITIES, "test_every_capability_is_declared"),
    RenamedArgument: (CAPABILITIES, "test_signatures_are_those_of_the_protocol"),
    WrongLimits: (CAPABILITIES, "test_limits"),
    PassesForReal: (CAPABILITIES, "test_the_service_host_is_known_without_a_call"),
    PrefixMatch: (OPERATIONS, "test_observe_finds_nothing_elsewhere"),
    ForeignHands: (DEPLOY, "test_foreign_things_are_left_alone"),
    LocalAge: (OPERATIONS, "test_its_age_is_told_by_the_platform"),
    DoctorSeesNothing: (OPERATIONS, "test_doctor_is_content"),
}
