"""A world of clients, one hostile cloud, disks that can lose power, and a way to die at any point."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdk.adapter import AdapterContext, DeploymentSpec, JobSpec, Labels, Live, Materials, Nature, Ref
from sdk.executor import Applied, Executor, lifecycle, new_txn
from sdk.executor.change import Change
from sdk.executor.lease import parse
from sdk.executor.plan import closure
from sdk.util.redact import Redactor
from sdk_contract.fake import ConfigFake, FakeAdapter, TrafficFake, make_fake
from sdk_contract.fake_cloud import HOSTILE, FakeCloud, Temper, VirtualClock, give_name
from tests.executor.power import MemoryDisk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.adapter.types import EndpointStatus

SHAPES: tuple[type[FakeAdapter], ...] = (ConfigFake, TrafficFake)
NAME = "churn"
FOREIGN = Live("Image", "somebody-elses", "ready", spec={"digest": "f"}, usd_per_hour=5.0)


class Kill(BaseException):
    """SIGKILL: nothing may catch it, nothing may run after it."""


@dataclass
class Switch:
    """Counts the points at which a client can die, and lets it die at one of them."""

    at: int | None = None
    error: type[BaseException] = Kill
    repeat: bool = True
    points: list[str] = field(default_factory=list[str])
    dead: bool = False

    def __call__(self, point: str) -> None:
        if self.dead and self.repeat:
            raise self.error(point)
        self.points.append(point)
        if self.at == len(self.points) - 1:
            self.dead = True
            raise self.error(point)


def kill_point(point: str) -> bool:
    """Whether dying here can differ from dying at the point before: reads change nothing."""
    return point.startswith("disk") or any(word in point for word in ("create", "update", "delete", "lease write"))


class Client:
    """One process of one user on one machine."""

    def __init__(
        self, world: World, *, owner: str = "me", machine: str = "laptop", executor: type[Executor] | None = None
    ) -> None:
        self.world = world
        self.owner = owner
        self.machine = machine
        self.adapter = make_fake(
            world.shape, world.name, AdapterContext("t", owner, world.folder, world.clock, Redactor())
        )
        if not world.leases:
            self.adapter = _without_leases(self.adapter)
        self.events: list[str] = []
        self.random = random.Random(world.random.random())
        self.executor = (executor or world.executor)(
            self.adapter,
            owner=owner,
            state_dir=world.folder / machine,
            clock=world.clock,
            target="t",
            random=self.random,
            progress=lambda event: self.events.append(event.stage),
            disk=world.disk_of(machine),
            longest_deadline_s=1800.0,
        )

    def mortal(self, switch: Switch, *, only: Callable[[str], bool] = kill_point) -> Client:
        """Lets this client die."""

        def hook(point: str) -> None:
            if only(point) or (switch.dead and switch.repeat):
                switch(point)

        self.adapter.hook = hook
        self.world.disk_of(self.machine).hook = hook
        return self

    def status(self) -> EndpointStatus | None:
        return self.adapter.status(NAME, self.adapter.observe(NAME, timeout=9))

    def context(self) -> lifecycle.ChangeContext:
        return lifecycle.ChangeContext(NAME, self.owner, new_txn(self.world.clock, self.random))

    def run(self, verb: Callable[[Client], Change], **options: Any) -> Applied:
        """Plans and applies a verb."""
        plan = self.executor.plan(verb(self))
        return self.executor.apply(plan, Materials(), probe=self.probe, **options)

    def probe(self, deployment: str) -> None:
        """A smoke test that always succeeds."""


def _without_leases(adapter: FakeAdapter) -> FakeAdapter:
    shape = type(adapter)
    hidden = type(shape.__name__, (shape,), {"lease_read": None, "lease_write": None, "lease_delete": None})
    hidden.lease_read = property()  # type: ignore[attr-defined]
    adapter.__class__ = hidden
    return adapter


def deployment(letter: str) -> DeploymentSpec:
    """A deployment of model ``letter``."""
    return DeploymentSpec(id="", model_name="m", model=letter * 64, generation=0, usd_per_hour=0.25)


def fresh(client: Client) -> Change:
    return lifecycle.deploy(client.status(), deployment("a"), client.context())


def update(client: Client) -> Change:
    return lifecycle.deploy(client.status(), deployment("b"), client.context())


def third(client: Client) -> Change:
    return lifecycle.deploy(client.status(), deployment("c"), client.context())


def canary(client: Client) -> Change:
    return lifecycle.deploy(client.status(), deployment("b"), client.context(), share=10)


def promote(client: Client) -> Change:
    return lifecycle.promote(client.status(), client.context())


def rollback(client: Client) -> Change:
    return lifecycle.rollback(client.status(), client.context())


def weights(client: Client) -> Change:
    return lifecycle.traffic(client.status(), 30, client.context())


def finalize(client: Client) -> Change:
    return lifecycle.finalize(client.status(), client.context())


def delete(client: Client) -> Change:
    return lifecycle.delete(client.status(), client.context())


def train(client: Client) -> Change:
    context = client.context()
    labels = Labels("job-1", client.owner, context.txn, model="e" * 32)
    job = JobSpec("job-1", labels, client.world.folder, "e" * 64, usd_per_hour=0.5)
    return Change("train", "job-1", context.txn, job=job)


# scenario -> (what was done before, the verb)
SCENARIOS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "fresh": ((), fresh),
    "update": ((fresh,), update),
    "third": ((fresh, update), third),
    "canary": ((fresh,), canary),
    "promote": ((fresh, canary), promote),
    "rollback": ((fresh, update), rollback),
    "weights": ((fresh, canary), weights),
    "finalize": ((fresh, update), finalize),
    "delete": ((fresh, canary), delete),
    "train": ((), train),
}


class World:
    """One cloud, its time, and the machines around it."""

    def __init__(
        self,
        shape: type[FakeAdapter],
        folder: Path,
        *,
        temper: Temper = HOSTILE,
        leases: bool = True,
        seed: int = 0,
        executor: type[Executor] = Executor,
    ) -> None:
        self.shape = shape
        self.executor = executor
        self.folder = folder
        self.leases = leases
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock, temper)
        self.name = give_name(f"cloud-{folder.name}-{shape.__name__}", self.cloud)
        self.disks: dict[str, MemoryDisk] = {}
        self.scenario = ""
        self.cloud.plant(FOREIGN)

    def disk_of(self, machine: str) -> MemoryDisk:
        """The disk of a machine."""
        return self.disks.setdefault(machine, MemoryDisk())

    def prepare(self, scenario: str) -> Any:
        """Brings the world to the point before a verb, and gives the verb."""
        self.scenario = scenario
        before, verb = SCENARIOS[scenario]
        for earlier in before:
            Client(self, executor=Executor).run(earlier)
            self.clock.sleep(100)
        self.cloud.calls.clear()
        if before and scenario != "delete":
            self.cloud.must_serve.add(NAME)
        return verb

    def converge(self, client: Client | None = None, rounds: int = 6) -> Client:
        """The faults stop, a new process comes, and cleans up."""
        self.cloud.faults.clear()
        client = client or Client(self)
        for _ in range(rounds):
            report = client.executor.gc(apply=True)
            if not report.orphans and not client.executor.journals.unfinished():
                break
            self.clock.sleep(60)
        self.clock.sleep(60)
        self.cloud.settle()
        return client

    def serving(self) -> dict[str, int] | None:
        """Who answers."""
        return self.shape.serving(self.cloud, NAME)

    def table(self) -> Any:
        """What the endpoint's pointer says, down to the deployments that are kept at 0 %."""
        root = self.cloud.items.get(Ref("Endpoint", NAME)) or self.cloud.items.get(Ref("Traffic", NAME))
        if root is None:
            return None
        if root.ref.kind == "Traffic":
            return dict(root.spec["weights"])
        config = self.cloud.items.get(Ref("Config", str(root.spec["config"])))
        return None if config is None else {key: row["weight"] for key, row in config.spec["variants"].items()}

    def orphans(self) -> list[str]:
        """What is there, costs something or not, and is needed by nothing (shared things are there on purpose)."""
        kinds = self.shape.kinds
        items = self.cloud.items
        roots = [ref for ref in items if kinds[ref.kind].root]
        needed = closure(roots, {ref: item.parents for ref, item in items.items()})
        for kind in (kind for kind in kinds.values() if kind.attached):
            needed |= {ref for ref, item in items.items() if ref.kind == kind.name and needed.issuperset(item.parents)}
        return [str(ref) for ref in items if ref not in needed and kinds[ref.kind].nature is not Nature.SHARED]

    def _stale_leases(self) -> list[str]:
        """Leases whose journal is there, so that whoever ended it could have given them back."""
        journals = [path for disk in self.disks.values() for path in disk.files]
        holders = {key: parse(record) for key, record in self.cloud.leases.items()}
        return [key for key, holder in holders.items() if holder and any(holder.txn in path for path in journals)]

    def faults(self) -> list[str]:
        """Everything that is wrong with the world, by the invariants that hold after every end."""
        wrong = [f"orphan {item}" for item in self.orphans()]
        wrong += [f"outage: {item}" for item in self.cloud.outages]
        wrong += [f"unfinished {txn}" for disk in self.disks.values() for txn in disk.files if "/open/" in txn]
        wrong += [f"lease of an ended transaction: {key}" for key in self._stale_leases()]
        if self.cloud.show(self.cloud.items[FOREIGN.ref]).spec != FOREIGN.spec:
            wrong.append("a foreign resource was changed")
        root_there = any(ref.kind in {"Endpoint", "Traffic"} for ref in self.cloud.items)
        if root_there and self.serving() is None:
            wrong.append("the endpoint is there and does not serve")
        return wrong
