"""One state folder, one locked environment and a few models for all tests of the local target."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil
import pytest

from sdk.adapter import AdapterContext, DeploymentSpec, JobSpec, Labels, Materials
from sdk.executor import Executor, lifecycle, new_txn
from sdk.executor.change import Change
from sdk.packaging import training
from sdk.packaging.model import Model, model
from sdk.util.redact import Redactor
from sdk.util.waiting import Deadline, SystemClock
from sdk_local import LocalAdapter, LocalOptions

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sdk.adapter.types import EndpointStatus
    from sdk.executor import Applied

NAMES = (f"test-{number}" for number in itertools.count(1))


class Later(SystemClock):
    """The machine's clock, some seconds ahead."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def time(self) -> float:
        return super().time() + self.ahead


class Local:
    """A client of the local target, as the SDK puts one together."""

    def __init__(self, state: Path, owner: str = "me", *, ahead: float = 0.0, **options: Any) -> None:
        import random

        self.state = state
        self.owner = owner
        self.random: random.Random = random.Random()
        self.clock = Later(ahead)
        context = AdapterContext("local", owner, state, self.clock, Redactor())
        self.adapter = LocalAdapter(LocalOptions(**options), context)
        self.executor = Executor(
            self.adapter, owner=owner, state_dir=state, clock=self.clock, target="local", random=self.random
        )

    def status(self, name: str) -> EndpointStatus | None:
        return self.adapter.status(name, self.adapter.observe(name, timeout=30))

    def context(self, name: str) -> lifecycle.ChangeContext:
        return lifecycle.ChangeContext(name, self.owner, new_txn(self.clock, self.random))

    def deploy(self, deployed: Model, name: str, *, share: int = 100, secret: Any = None, **spec: Any) -> Applied:
        live = self.status(name)
        wanted = DeploymentSpec("", deployed.name, deployed.digest, 0, **spec)
        change = lifecycle.deploy(live, wanted, self.context(name), share=share)
        return self.apply(change, Materials(model=deployed, secret=secret))

    def verb(self, verb: Callable[..., Change], name: str, *arguments: Any) -> Applied:
        return self.apply(verb(self.status(name), *arguments, self.context(name)), Materials())

    def apply(self, change: Change, materials: Materials) -> Applied:
        plan = self.executor.plan(change)
        return self.executor.apply(
            plan, materials, probe=lambda one: self.probe(change.name, one), deadline=Deadline(self.clock, 120)
        )

    def delete(self, name: str) -> Applied:
        return self.verb(lifecycle.delete, name)

    def probe(self, name: str, deployment: str) -> None:
        self.predict(name, [[1.0]], deployment)

    def predict(self, name: str, rows: Sequence[Any], deployment: str | None = None) -> list[Any]:
        response = self.ask(name, rows, deployment)
        assert 200 == response.status_code, response.text
        answer: list[Any] = response.json()["predictions"]
        return answer

    def ask(self, name: str, rows: Sequence[Any], deployment: str | None = None) -> httpx.Response:
        status = self.status(name)
        assert status is not None
        invoker = self.adapter.invoker(status)
        headers = invoker.pin(deployment) if deployment and invoker.pin else {}
        return httpx.post(invoker.url, json={"instances": rows}, auth=invoker.auth, headers=headers, timeout=30)

    def submit(
        self, entry: Any, name: str, *, secret: Any = None, packing: Any = None, **spec: Any
    ) -> training.Program:
        program = training.job_bundle(entry, packing)
        txn = new_txn(self.clock, self.random)
        labels = Labels(name, self.owner, txn, model=program.digest[:32])
        job = JobSpec(name, labels, program.path, program.digest, **spec)
        change = Change("train", name, txn, job=job)
        plan = self.executor.plan(change)
        self.executor.apply(plan, Materials(job=job, secret=secret), deadline=Deadline(self.clock, 120))
        return program

    def finished(self, name: str) -> Any:
        """The job's status at its end."""
        for _ in self.adapter.job_logs(name, follow=True):
            pass
        return self.adapter.job_status(name, timeout=5)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("local") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPORT_STATE_DIR", str(folder))
        folder.mkdir(mode=0o700)
        yield folder
    assert [] == left(folder)


@pytest.fixture
def local(state: Path) -> Local:
    return Local(state)


@pytest.fixture
def name(state: Path) -> Iterator[str]:
    """A name of one's own; what a test leaves under it is removed."""
    taken = next(NAMES)
    yield taken
    client = Local(state)
    client.delete(taken)
    assert [] == left(state, taken)


@pytest.fixture(scope="session")
def times(state: Path) -> Callable[[float], Model]:
    """Models by what they multiply with."""
    made: dict[float, Model] = {}

    def make(factor: float) -> Model:
        if factor not in made:

            def predict(rows: Any) -> Any:
                return rows * factor

            made[factor] = model(predict, name="times", example=np.ones((1, 1)))
        return made[factor]

    return make


@pytest.fixture(scope="session")
def acting(state: Path) -> Model:
    """A model that is told by its input what to do."""

    def predict(rows: Any) -> Any:
        import os
        import signal
        import sys
        import time

        action, value = rows[0] if len(rows[0]) == 2 else ("", "probed")
        if action == "env":
            return [os.environ.get(value, "")]
        if action == "names":
            return [",".join(sorted(os.environ))]
        if action == "sleep":
            time.sleep(float(value))
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "fail":
            raise RuntimeError(value)
        if action == "say":
            sys.stdout.write(value)
            sys.stdout.write("\n")
            sys.stdout.flush()
        if action == "eat":
            eaten = b"x" * (int(value) * 2**20)
            time.sleep(5)
            return [str(len(eaten))]
        return [value]

    return model(predict, name="acting")


def left(state: Path, name: str = "") -> list[str]:
    """Processes, folders and records that belong to an endpoint or job, or to any."""
    found = [str(path) for part in ("endpoints", "jobs") for path in (state / part).glob(f"{name}*")]
    for process in psutil.process_iter():
        try:
            text = " ".join([*process.cmdline(), process.environ().get("MLPORT_ENDPOINT", "")])
        except (psutil.Error, OSError):
            continue
        if f"{state}/" in text and name in text and process.pid != os.getpid():
            found.append(f"process {process.pid}: {text}")
    return found


@pytest.fixture
def new_local(state: Path) -> Callable[..., Local]:
    """Makes further clients, with other owners, clocks and options."""

    def make(owner: str = "me", *, folder: Path = state, **options: Any) -> Local:
        return Local(folder, owner, **options)

    return make


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """A client with a state folder and a cache of its own, for tests that remove what others would use."""
    monkeypatch.delenv("MLPORT_CACHE_DIR")
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path / "state"))
    client = Local(tmp_path / "state")
    yield client
    for endpoint in {live.labels.endpoint for live in client.adapter.list(timeout=30) if live.labels is not None}:
        client.delete(endpoint)
    assert [] == left(tmp_path / "state")


@pytest.fixture
def left_over(state: Path) -> Callable[[str], list[str]]:
    """Tells what is left of a name."""
    return lambda name: left(state, name)
