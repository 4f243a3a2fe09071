"""A world of clients, one hostile cloud, disks that can lose power, and a way to die at any point."""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk import lifecycle
from sdk.adapter import AdapterContext, DeploymentSpec, JobSpec, Labels, Live, Materials, Nature, Ref
from sdk.change import Change
from sdk.errors import SdkError
from sdk.executor import Applied, Executor, new_txn
from sdk.executor.plan import closure
from sdk.redact import Redactor
from sdk_contract.fake import ConfigFake, FakeAdapter, TrafficFake, make_fake
from sdk_contract.fake_cloud import HOSTILE, FakeCloud, Fault, Temper, VirtualClock, give_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.types import EndpointStatus

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


class MemoryDisk:
    """A disk in memory that tells which states a power cut may leave behind.

    Every effect is logged; one that was not synced may be lost, alone or together with others.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {path: bytearray(data) for path, data in (files or {}).items()}
        self._start = {path: bytes(data) for path, data in self.files.items()}
        self.hook: Callable[[str], None] = lambda point: None
        self.log: list[tuple[Any, ...]] = []
        self.errors: dict[str, list[OSError | int]] = {}
        self._handles: dict[int, bytearray] = {}
        self._paths: dict[int, str] = {}
        self._next = 0

    def folder(self, path: Path) -> None:
        """Folders are always there."""

    def create(self, path: Path) -> int:
        self._step("create", str(path))
        if str(path) in self.files:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self.files[str(path)] = bytearray()
        self._done("create", str(path))
        return self._open(str(path))

    def open(self, path: Path) -> int:
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self._open(str(path))

    def write(self, handle: int, data: bytes) -> int:
        taken = self._step("write", self._paths[handle])
        data = data if taken is None else data[:taken]
        self._handles[handle] += data
        self._done("write", self._paths[handle], bytes(data))
        return len(data)

    def size(self, handle: int) -> int:
        return len(self._handles[handle])

    def truncate(self, handle: int, size: int) -> None:
        self._step("truncate", self._paths[handle])
        del self._handles[handle][size:]
        self._done("truncate", self._paths[handle], size)

    def sync(self, handle: int) -> None:
        self._step("sync", self._paths[handle])
        self._done("sync", self._paths[handle])

    def close(self, handle: int) -> None:
        self._handles.pop(handle)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder", str(path))
        self._done("sync_folder", str(path))

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", str(old))
        self.files[str(new)] = self.files.pop(str(old))
        self._paths = {handle: str(new) if path == str(old) else path for handle, path in self._paths.items()}
        self._done("rename", str(old), str(new))

    def remove(self, path: Path) -> None:
        self._step("remove", str(path))
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        del self.files[str(path)]
        self._done("remove", str(path))

    def read(self, path: Path) -> bytes:
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return bytes(self.files[str(path)])

    def names(self, folder: Path) -> list[str]:
        prefix = f"{folder}/"
        return sorted(path[len(prefix) :] for path in self.files if path.startswith(prefix))

    def after_power_cut(self, limit: int = 10) -> list[dict[str, bytes]]:
        """All states that a power cut now may leave: any subset of what was not synced may be lost."""
        volatile = self._volatile()[-limit:]
        states: dict[tuple[Any, ...], dict[str, bytes]] = {}
        for choice in itertools.product((False, True), repeat=len(volatile)):
            lost = {effect for effect, gone in zip(volatile, choice, strict=True) if gone}
            files = self._replay(lost)
            states[tuple(sorted(files.items()))] = files
        return list(states.values())

    def durable(self) -> dict[str, bytes]:
        """What surely survives a power cut now."""
        return self._replay(set(self._volatile()))

    def _volatile(self) -> list[tuple[int, str]]:
        """Effects that no later sync made durable: (number in the log, which half of it)."""
        found: list[tuple[int, str]] = []
        synced: set[tuple[str, Any]] = set()
        files = self._inodes()
        for number in range(len(self.log) - 1, -1, -1):
            op, path, *rest = self.log[number]
            if op == "sync":
                synced.add(("data", files[number]))
            elif op == "sync_folder":
                synced.add(("names", path))
            elif op in {"write", "truncate"} and ("data", files[number]) not in synced:
                found.append((number, "data"))
            elif op in {"create", "remove", "rename"}:
                found += [(number, "old")] if op == "rename" and ("names", _folder(path)) not in synced else []
                target = rest[0] if op == "rename" else path
                found += [(number, "new")] if ("names", _folder(target)) not in synced else []
        return found[::-1]

    def _inodes(self) -> list[int]:
        """Which file each effect in the log was about, whatever its name was then."""
        names = {path: -1 - index for index, path in enumerate(self._start)}
        result: list[int] = []
        for number, (op, path, *rest) in enumerate(self.log):
            if op == "create":
                names[path] = number
            result.append(names.get(path, number))
            if op == "rename":
                names[rest[0]] = names.pop(path)
            elif op == "remove":
                names.pop(path, None)
        return result

    def _replay(self, lost: set[tuple[int, str]]) -> dict[str, bytes]:
        names = {path: -1 - index for index, path in enumerate(self._start)}
        data = {-1 - index: bytearray(content) for index, content in enumerate(self._start.values())}
        for number, (inode, (op, path, *rest)) in enumerate(zip(self._inodes(), self.log, strict=True)):
            content = data.setdefault(inode, bytearray())
            if op == "write" and (number, "data") not in lost:
                content += rest[0]
            elif op == "truncate" and (number, "data") not in lost:
                del content[rest[0] :]
            elif op == "create" and (number, "new") not in lost:
                names[path] = inode
            elif op == "remove" and (number, "new") not in lost:
                names.pop(path, None)
            elif op == "rename":
                if (number, "old") not in lost:
                    names.pop(path, None)
                if (number, "new") not in lost:
                    names[rest[0]] = inode
        return {path: bytes(data[inode]) for path, inode in names.items()}

    def _open(self, path: str) -> int:
        self._next += 1
        self._handles[self._next] = self.files[path]
        self._paths[self._next] = path
        return self._next

    def _step(self, op: str, path: str) -> int | None:
        """A point to die before, and trouble on demand: an error, or how many bytes a write takes."""
        self.hook(f"disk before {op}")
        if "ballast" in path:
            return None
        trouble = self.errors.get(op)
        if not trouble:
            return None
        item = trouble.pop(0)
        if isinstance(item, OSError):
            raise item
        return item if item >= 0 else None

    def _done(self, op: str, path: str, *rest: Any) -> None:
        self.log.append((op, path, *rest))
        self.hook(f"disk after {op}")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


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

    def context(self) -> lifecycle.Context:
        return lifecycle.Context(NAME, self.owner, new_txn(self.world.clock, self.random))

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
        return [str(ref) for ref in items if ref not in needed and kinds[ref.kind].nature is not Nature.SHARED]

    def faults(self) -> list[str]:
        """Everything that is wrong with the world, by the invariants that hold after every end."""
        wrong = [f"orphan {item}" for item in self.orphans()]
        wrong += [f"outage: {item}" for item in self.cloud.outages]
        wrong += [f"unfinished {txn}" for disk in self.disks.values() for txn in disk.files if "/open/" in txn]
        if self.cloud.show(self.cloud.items[FOREIGN.ref]).spec != FOREIGN.spec:
            wrong.append("a foreign resource was changed")
        root_there = any(ref.kind in {"Endpoint", "Traffic"} for ref in self.cloud.items)
        if root_there and self.serving() is None:
            wrong.append("the endpoint is there and does not serve")
        return wrong


@dataclass(frozen=True)
class Case:
    """One run of one verb in one world: where the client dies, what goes wrong, what is lost.

    ``kill`` and ``again`` are numbers of kill points, the second one inside the recovery; ``fault`` is
    ``trouble:op:skip`` with ``:times`` at the end if it is more than once; ``lost`` throws the journal away after the
    kill; ``cut`` chooses one of the states that a power cut may leave on the disk.
    """

    shape: str
    scenario: str
    kill: int | None = None
    again: int | None = None
    fault: str = ""
    lost: bool = False
    etags: bool = True
    cut: int | None = None
    count_states: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        return f".venv/bin/python -m tests.executor.world '{self!r}'"

    def world(self, folder: Path, executor: type[Executor] = Executor) -> World:
        """The world before anything happened."""
        temper = HOSTILE if self.etags else replace(HOSTILE, etags=False)
        shape = next(shape for shape in SHAPES if shape.__name__ == self.shape)
        return World(shape, folder, temper=temper, executor=executor)

    def run(self, folder: Path, executor: type[Executor] = Executor) -> Outcome:
        """What became of it."""
        world = self.world(folder, executor)
        verb = world.prepare(self.scenario)
        outcome = Outcome(world, before=world.table())
        self._plan_trouble(world)
        switch = Switch(self.kill)
        client = Client(world).mortal(switch)
        try:
            outcome.applied = client.run(verb)
        except Kill:
            outcome.killed = True
        except SdkError as error:
            outcome.error = error
        outcome.points, outcome.events = switch.points, client.events
        outcome.wrong += outcome.at_once()
        outcome.states = len(world.disk_of("laptop").after_power_cut()) if self.count_states else 0
        self._disaster(world)
        if self.again is not None:
            outcome.recovery_points = self._die_again(world)
        world.converge()
        outcome.wrong += [*world.faults(), *outcome.in_the_end(lost=self.lost)]
        return outcome

    def _plan_trouble(self, world: World) -> None:
        if self.fault:
            trouble, op, skip, *times = self.fault.split(":")
            number = int(times[0]) if times else 1
            world.cloud.faults.append(Fault(trouble, op, skip=int(skip), times=number))  # type: ignore[arg-type]  # a word of Trouble

    def _disaster(self, world: World) -> None:
        disk = world.disk_of("laptop")
        if self.cut is not None:
            states = disk.after_power_cut()
            disk = MemoryDisk(states[self.cut % len(states)])
        if self.lost:
            disk = MemoryDisk()
            world.clock.sleep(4000)
        disk.hook = lambda point: None
        world.disks["laptop"] = disk

    def _die_again(self, world: World) -> list[str]:
        switch = Switch(self.again)
        with contextlib.suppress(Kill):
            Client(world).mortal(switch).executor.gc(apply=True)
        world.disk_of("laptop").hook = lambda point: None
        return switch.points


@dataclass
class Outcome:
    """What a case came to; ``wrong`` is empty if all is well."""

    world: World
    before: Any
    applied: Applied | None = None
    error: SdkError | None = None
    killed: bool = False
    points: list[str] = field(default_factory=list[str])
    recovery_points: list[str] = field(default_factory=list[str])
    events: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    states: int = 0

    def at_once(self) -> list[str]:
        """What is wrong right after a verb that was not killed, before anybody cleans up."""
        left = getattr(self.error, "leftovers", ()) or (self.applied.leftovers if self.applied else ())
        if self.killed or left:
            return []
        self.world.clock.sleep(60)  # what lands late has landed now
        self.world.cloud.settle()
        return [f"at once: {item}" for item in self.world.faults()]

    def in_the_end(self, *, lost: bool) -> list[str]:
        """Whether the endpoint is as it was, or as it should become; without a journal it must only serve so."""
        table, wanted = self.world.table(), self.expected()
        if lost:
            serving = {key: value for key, value in (table or {}).items() if value}
            wanted = [{key: value for key, value in (item or {}).items() if value} for item in wanted]
            table = serving
        shares = sorted((table or {}).values())
        if any(shares == sorted((item or {}).values()) for item in wanted):
            return []
        return [f"the shares are {table}, not one of {wanted}"]

    def expected(self) -> list[Any]:
        """The shares before the verb, and those after it in a world without trouble."""
        return [self.before, AFTER[self.world.scenario]]


# What the shares are after each verb, by the size only: ids are different in every run.
AFTER: dict[str, Any] = {
    "fresh": {"a": 100},
    "update": {"a": 0, "b": 100},
    "third": {"b": 0, "c": 100},
    "canary": {"a": 90, "b": 10},
    "promote": {"a": 0, "b": 100},
    "rollback": {"a": 100, "b": 0},
    "weights": {"a": 70, "b": 30},
    "finalize": {"b": 100},
    "delete": None,
    "train": None,
}


def main() -> None:
    """Runs one case that a test named, and tells what happened."""
    case: Case = eval(sys.argv[1], {"Case": Case})  # typed by a developer
    with tempfile.TemporaryDirectory() as folder:
        outcome = case.run(Path(folder))
    sys.stdout.write("\n".join([*outcome.events, f"error: {outcome.error!r}", f"wrong: {outcome.wrong}", ""]))


if __name__ == "__main__":
    main()
