"""Two adapters for :class:`~sdk_contract.fake_cloud.FakeCloud`, one for each shape that real clouds have.

``ConfigFake``: an endpoint is a pointer at an immutable configuration that names models (SageMaker). ``TrafficFake``:
deployments live inside a container and a traffic table names them (Vertex, Azure ML, Docker, local).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from sdk.adapter import (
    YES,
    Ack,
    AdapterContext,
    Capability,
    DeploymentSpec,
    EndpointSpec,
    Invoker,
    JobSpec,
    Kind,
    Labels,
    LeaseRecord,
    Limits,
    Live,
    Materials,
    Nature,
    Operation,
    Ref,
    Resource,
    ServiceHost,
    Support,
    TargetOptions,
)
from sdk.adapter.types import Check, DeploymentStatus, EndpointState, EndpointStatus, JobState, JobStatus, Replicas
from sdk.errors import SdkError
from sdk.executor.plan import total

from .fake_cloud import FakeCloud, cloud_named
from .fake_plane import invoker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sdk.adapter.prices import PriceRow
    from sdk.adapter.types import Json, LogLine

SETTLE_S = 33.0
_BUSY_REFUSES = frozenset({"ready", "failed"})


class FakeOptions(TargetOptions):
    """The options of a fake target: the name of a cloud in this process."""

    cloud: str = "default"


def no_hook(point: str) -> None:
    """Do nothing between two effects."""


class FakeAdapter:
    """What both shapes have in common."""

    provider: ClassVar[str] = "fake"
    Options: ClassVar[type[TargetOptions]] = FakeOptions
    kinds: ClassVar[Mapping[str, Kind]] = {}
    slow: ClassVar[frozenset[str]] = frozenset({"Endpoint", "Deployment", "Job"})
    guarded: ClassVar[frozenset[str]] = frozenset({"Deployment", "Gateway"})  # not deleted while they are in use

    def __init__(self, options: Any, context: AdapterContext) -> None:
        self.options = options
        self.context = context
        self.cloud: FakeCloud = cloud_named(options.cloud)
        self.cloud.watch = watch(type(self))
        self.cloud.referrers = is_used
        self.hook: Callable[[str], None] = no_hook
        self.last_time = context.clock.time()

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        """Declare all capabilities but GPU, autoscaling, metrics, logs and streams."""
        none = {Capability.GPU, Capability.AUTOSCALE, Capability.METRICS, Capability.LOGS, Capability.STREAM}
        lacks = Support(ok=False, reason="never", text="it is only a fake")
        return {capability: lacks if capability in none else YES for capability in Capability}

    def limits(self) -> Limits:
        """Return small limits."""
        return Limits(request_bytes=1_000_000, timeout_s=60.0)

    def prices(self) -> Iterable[PriceRow]:
        """Return no prices."""
        return ()

    def where(self) -> Mapping[str, str]:
        """Return the cloud and its shape."""
        return {"cloud": self.options.cloud, "shape": type(self).__name__}

    def service_host(self) -> ServiceHost:
        """Return the name of the simulated cloud, which is not a real service."""
        return ServiceHost(self.options.cloud, official=False, billed=False)

    def doctor(self) -> Iterator[Check]:
        """Check that resources can be listed."""
        yield Check("list", ok=True, detail=f"{len(list(self.list(timeout=10)))} resources")

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def server_time(self) -> float:
        """Return the cloud's clock, as of the last call."""
        return self.last_time

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return an invoker, whose calls :class:`~sdk_contract.fake_plane.Plane` answers."""
        return invoker(status)

    # operations

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Read one resource."""
        with self._call(f"read {ref.kind}"):
            return self._shown(self.cloud.read(ref))

    def list(self, *, timeout: float) -> Iterator[Live]:
        """List all resources of ours, and the untagged ones that depend on them."""
        with self._call("list"):
            found = self.cloud.list()
        return iter([self._live(live) for live in found if live.labels is not None or not self.kinds[live.kind].tagged])

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create one resource."""
        with self._call(f"create {resource.kind}"):
            kind = self.kinds[resource.kind]
            return self.cloud.create(resource, tagged=kind.tagged, slow=resource.kind in self.slow)

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Update one resource."""
        with self._call(f"update {resource.kind}"):
            return self.cloud.update(resource, before, slow=resource.kind in self.slow)

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete one resource."""
        with self._call(f"delete {live.kind}"):
            if not self.kinds[live.kind].purgeable:
                return self.cloud.stop(live.ref)
            return self.cloud.delete(live.ref, refuse_if_used=live.kind in self.guarded)

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Read the state of one operation."""
        with self._call("operation"):
            return self.cloud.operation(name)

    # leases

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Return the stored lease."""
        with self._call("lease read"):
            return self.cloud.leases.get(key)

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Write a lease by compare-and-swap."""
        with self._call("lease write"):
            return self.cloud.lease_write(key, body, expected)

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Delete a lease by compare-and-delete."""
        with self._call("lease delete"):
            self.cloud.lease_delete(key, expected)

    # jobs

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return the image, the staged code and the job."""
        image = Resource(
            "Image", f"image-{spec.digest[:16]}", {"digest": spec.digest}, replace(spec.labels, generation=0)
        )
        stage = Resource("Stage", f"{spec.name}-code", {"digest": spec.digest}, spec.labels, (image.ref,))
        wanted: dict[str, Json] = {"digest": spec.digest, "params": dict(spec.params)}
        job = Resource("Job", spec.name, wanted, spec.labels, (stage.ref, image.ref), spec.usd_per_hour)
        return [image, stage, job]

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """Return the state of a job."""
        live = self.read(Ref("Job", name), timeout=timeout)
        if live is None:
            return None
        states = {"creating": JobState.RUNNING, "ready": JobState.SUCCEEDED, "failed": JobState.FAILED}
        return JobStatus(name, self.context.target, self.provider, states.get(live.state, JobState.STOPPED), live.raw)

    def stop_job(self, name: str, *, timeout: float) -> None:
        """Stop a job where it is."""
        with self._call("stop Job"):
            self.cloud.stop(Ref("Job", name))

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Return no lines: the fake has no logs."""
        return iter(())

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Do nothing: the fake produces no output."""

    # shapes

    @abstractmethod
    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return all resources of an endpoint."""

    @abstractmethod
    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all existing resources of an endpoint."""

    @staticmethod
    @abstractmethod
    def serving(cloud: FakeCloud, name: str) -> dict[str, int] | None:
        """Return which deployments answer with which weight; ``None`` when the endpoint does not answer."""

    @abstractmethod
    def deployments(self, live: Mapping[Ref, Live]) -> Sequence[DeploymentStatus]:
        """Return the deployments among these resources."""

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the status of the endpoint that consists of these resources."""
        by_ref = {item.ref: item for item in live}
        root = next((item for item in live if item.kind in {"Endpoint", "Traffic"}), None)
        if root is None:
            return None
        labels = root.labels or Labels(name, "", "")
        return EndpointStatus(
            name=name,
            target=self.context.target,
            provider=self.provider,
            state=EndpointState(root.state),
            raw=root.raw,
            url=f"http://fake.test/{self.options.cloud}/{name}/predict",
            deployments=tuple(self.deployments(by_ref)),
            owner=labels.owner,
            created_at=root.created_at,
            expires_at=float(labels.expires_at) or None,
            usd_per_hour=total(item.usd_per_hour for item in live),
        )

    # helpers

    def _call(self, what: str) -> _Hooked:
        return _Hooked(self, what)

    def _shown(self, live: Live | None) -> Live | None:
        return None if live is None else self._live(live)

    def _live(self, live: Live) -> Live:
        finished = live.kind == "Job" and live.state in {"ready", "failed"}
        return replace(live, usd_per_hour=0.0) if finished else live


class _Hooked:
    """A call with a point before and after it, at which a test may end the client."""

    def __init__(self, adapter: FakeAdapter, what: str) -> None:
        self._adapter = adapter
        self._what = what

    def __enter__(self) -> None:
        self._adapter.hook(f"before {self._what}")
        self._adapter.cloud.lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        self._adapter.last_time = self._adapter.cloud.now()
        self._adapter.cloud.lock.release()
        if isinstance(error, SdkError):
            error.provider, error.operation = self._adapter.provider, self._what
        if kind is None:
            self._adapter.hook(f"after {self._what}")


def deployment_resource_spec(deployment: DeploymentSpec) -> dict[str, Json]:
    """Return the part of a deployment that determines its resource."""
    return {"model": deployment.model[:32], "hash": deployment.spec_hash, "generation": deployment.generation}


def as_status(
    id_: str, spec: Mapping[str, Any], traffic: int, live: Live | None, usd: float | None
) -> DeploymentStatus:
    """Return a deployment as the core sees it."""
    return DeploymentStatus(
        id=id_,
        traffic=traffic,
        state=live.state if live else "failed",
        model=str(spec.get("model", "")),
        spec_hash=str(spec.get("hash", "")),
        generation=int(spec.get("generation", 0)),
        replicas=Replicas(),
        created_at=live.created_at if live else None,
        usd_per_hour=usd,
    )


class ConfigFake(FakeAdapter):
    """The shape Endpoint -> Config -> Models."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "Image": Kind("Image", Nature.SHARED, settle_s=SETTLE_S),
        "Stage": Kind("Stage", Nature.IMMUTABLE, settle_s=SETTLE_S),
        "Model": Kind("Model", Nature.IMMUTABLE, settle_s=SETTLE_S),
        "Config": Kind("Config", Nature.IMMUTABLE, settle_s=SETTLE_S),
        "Endpoint": Kind(
            "Endpoint", Nature.MUTABLE, billed=True, settle_s=SETTLE_S, deletable=_BUSY_REFUSES, root=True
        ),
        "Job": Kind("Job", Nature.IMMUTABLE, billed=True, settle_s=SETTLE_S, purgeable=False, root=True),
    }

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return images and models first, the endpoint last."""
        found: list[Resource] = []
        rows: dict[str, Json] = {}
        models: list[Ref] = []
        for deployment in spec.deployments:
            model = Ref("Model", f"{spec.name}-m-{deployment.id}")
            models.append(model)
            rows[deployment.id] = {
                **deployment_resource_spec(deployment),
                "weight": spec.traffic[deployment.id],
                "usd": deployment.usd_per_hour,
            }
            if deployment.kept is not None:
                found.append(Resource(model.kind, model.id, None, spec.labels))
                continue
            labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
            image = Resource("Image", f"image-{deployment.model[:16]}", {"digest": deployment.model}, labels)
            wanted = deployment_resource_spec(deployment)
            found += [
                image,
                Resource(model.kind, model.id, wanted, labels, (image.ref,), summary=deployment.model_name),
            ]
        usd = [deployment.usd_per_hour for deployment in spec.deployments]
        config = Resource("Config", "", {"variants": rows}, spec.labels, tuple(models))
        config = replace(config, id=f"{spec.name}-c-{config.hash[:12]}")
        pointer: dict[str, Json] = {"config": config.id}
        cost = None if None in usd else sum(value or 0.0 for value in usd)
        return [*found, config, Resource("Endpoint", spec.name, pointer, spec.labels, (config.ref,), cost)]

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Read the endpoint, then the resources that it refers to."""
        found: dict[Ref, Live] = {}
        todo = [Ref("Endpoint", name)]
        while todo:
            ref = todo.pop(0)
            live = self.read(ref, timeout=timeout) if ref not in found else None
            if live is not None:
                found[ref] = live
                todo += live.parents
        return list(found.values())

    @staticmethod
    def serving(cloud: FakeCloud, name: str) -> dict[str, int] | None:
        """Return the weights; an endpoint serves as long as its configuration and models exist."""
        endpoint = cloud.items.get(Ref("Endpoint", name))
        if endpoint is None or endpoint.gone_at is not None or endpoint.fails or cloud.now() < endpoint.ready_at:
            return None
        config = cloud.items.get(Ref("Config", str(endpoint.spec["config"])))
        if config is None or any(model not in cloud.items for model in config.parents):
            return None
        return {id_: row["weight"] for id_, row in config.spec["variants"].items() if row["weight"]}

    def deployments(self, live: Mapping[Ref, Live]) -> Sequence[DeploymentStatus]:
        """Return the variants of the configuration in use."""
        config = next((item for ref, item in live.items() if ref.kind == "Config"), None)
        endpoint = next((item for ref, item in live.items() if ref.kind == "Endpoint"), None)
        if config is None or config.spec is None or endpoint is None:
            return []
        variants: Any = config.spec["variants"]
        return [as_status(id_, row, row["weight"], endpoint, row["usd"]) for id_, row in variants.items()]


class TrafficFake(FakeAdapter):
    """The shape Gateway -> Deployments (which carry no labels) -> Traffic."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "Image": Kind("Image", Nature.SHARED, settle_s=SETTLE_S),
        "Stage": Kind("Stage", Nature.IMMUTABLE, settle_s=SETTLE_S),
        "Gateway": Kind("Gateway", Nature.MUTABLE, settle_s=SETTLE_S),
        "Deployment": Kind(
            "Deployment", Nature.IMMUTABLE, billed=True, settle_s=SETTLE_S, deletable=_BUSY_REFUSES, tagged=False
        ),
        "Traffic": Kind("Traffic", Nature.MUTABLE, settle_s=SETTLE_S, root=True),
        "Job": Kind("Job", Nature.IMMUTABLE, billed=True, settle_s=SETTLE_S, purgeable=False, root=True),
    }

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return the gateway, its deployments, and the traffic table."""
        gateway = Resource("Gateway", spec.name, {"version": 1}, spec.labels)
        found: list[Resource] = []
        for deployment in spec.deployments:
            ref = Ref("Deployment", f"{spec.name}/{deployment.id}")
            labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
            if deployment.kept is not None:
                found.append(Resource(ref.kind, ref.id, None, labels, (gateway.ref,)))
                continue
            image = Resource("Image", f"image-{deployment.model[:16]}", {"digest": deployment.model}, labels)
            wanted = deployment_resource_spec(deployment)
            parents = (gateway.ref, image.ref)
            usd = deployment.usd_per_hour
            found += [image, Resource(ref.kind, ref.id, wanted, labels, parents, usd, deployment.model_name)]
        table: dict[str, Json] = {"weights": dict(spec.traffic)}
        users = tuple(Ref("Deployment", f"{spec.name}/{id_}") for id_ in spec.traffic)
        return [gateway, *found, Resource("Traffic", spec.name, table, spec.labels, (gateway.ref, *users))]

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Read the traffic table, the gateway, and everything that depends on it."""
        refs = [Ref("Traffic", name), Ref("Gateway", name)]
        hanging = [
            ref
            for ref in self.cloud.items
            if ref.kind == "Deployment" and Ref("Gateway", name) in self.cloud.items[ref].parents
        ]
        found = {ref: live for ref in [*refs, *hanging] if (live := self.read(ref, timeout=timeout)) is not None}
        for live in list(found.values()):
            for parent in live.parents:
                if parent not in found and (more := self.read(parent, timeout=timeout)) is not None:
                    found[parent] = more
        return list(found.values())

    @staticmethod
    def serving(cloud: FakeCloud, name: str) -> dict[str, int] | None:
        """Return the weights; every deployment with traffic must be ready."""
        table = cloud.items.get(Ref("Traffic", name))
        if table is None or table.gone_at is not None or Ref("Gateway", name) not in cloud.items:
            return None
        weights = {id_: weight for id_, weight in table.spec["weights"].items() if weight}
        items = [cloud.items.get(Ref("Deployment", f"{name}/{id_}")) for id_ in weights]
        if any(item is None or cloud.show(item).state != "ready" for item in items):
            return None
        return weights or None

    def deployments(self, live: Mapping[Ref, Live]) -> Sequence[DeploymentStatus]:
        """Return all deployments of the gateway."""
        table = next((item for ref, item in live.items() if ref.kind == "Traffic"), None)
        weights: Any = (table.spec or {}).get("weights", {}) if table else {}
        return [
            as_status(
                ref.id.split("/")[1], item.spec or {}, weights.get(ref.id.split("/")[1], 0), item, item.usd_per_hour
            )
            for ref, item in live.items()
            if ref.kind == "Deployment"
        ]


def is_used(cloud: FakeCloud, ref: Ref) -> bool:
    """Return whether something in the cloud refers to a resource, which then may not be deleted."""
    if ref.kind == "Deployment":
        name, id_ = ref.id.split("/")
        table = cloud.items.get(Ref("Traffic", name))
        return table is not None and bool(table.spec["weights"].get(id_))
    return any(ref in item.parents for item in cloud.items.values() if item.ref.kind == "Deployment")


def watch(adapter: type[FakeAdapter]) -> Callable[[FakeCloud], None]:
    """Return a check that records when an endpoint stops serving, unless it is being deleted on purpose."""

    def look(cloud: FakeCloud) -> None:
        for name in list(cloud.must_serve):
            weights = adapter.serving(cloud, name)
            if weights is None:
                cloud.outages.append(f"{name} stopped at {cloud.clock.monotonic():.1f} s")
                cloud.must_serve.discard(name)
            elif sum(weights.values()) != 100:
                cloud.outages.append(f"{name} has weights {weights}")

    return look


def make_fake(
    shape: type[FakeAdapter], cloud: str, context: AdapterContext, options: Mapping[str, Any] | None = None
) -> FakeAdapter:
    """Create an adapter of this shape for the cloud of this name."""
    return shape(FakeOptions(cloud=cloud, **(options or {})), context)


__all__ = ["ConfigFake", "DeploymentSpec", "FakeAdapter", "FakeOptions", "TrafficFake", "make_fake"]
