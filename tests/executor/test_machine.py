"""Random lives of an endpoint: any verbs, troubles, deaths and outsiders, and the invariants after every step."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sdk.errors import ConfigError, SdkError
from sdk.executor import lifecycle
from sdk_contract.fake_cloud import Fault
from tests.executor.power import MemoryDisk
from tests.executor.world import NAME, SHAPES, Client, Kill, Switch, World, deployment

TROUBLES = st.sampled_from(["", "", "lost", "late", "dropped", "throttled", "unavailable", "fails", "reverts", "stale"])


class Life(RuleBasedStateMachine):
    """One endpoint, two machines, and everything that can happen to them."""

    shape = SHAPES[0]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.shape, self.folder)
        self.served = False

    def teardown(self) -> None:
        """The faults stop: two clean-ups and the passing of time bring the world in order (I5)."""
        if not hasattr(self, "world"):
            return
        for machine in ("laptop", "desktop"):
            self.world.clock.sleep(4000)
            self.world.converge(Client(self.world, machine=machine))
        shutil.rmtree(self.folder)
        assert [] == self.world.faults()

    @rule(
        verb=st.sampled_from(["deploy", "canary", "promote", "rollback", "traffic", "finalize", "delete"]),
        model=st.sampled_from("abc"),
        trouble=TROUBLES,
        skip=st.integers(0, 3),
        die=st.none() | st.integers(0, 140),
        machine=st.sampled_from(["laptop", "laptop", "desktop"]),
    )
    def act(self, *, verb: str, model: str, trouble: str, skip: int, die: int | None, machine: str) -> None:
        """Somebody runs a verb, in whatever trouble, and may die."""
        client, switch = Client(self.world, machine=machine), Switch(die)
        if trouble:
            op = {"fails": "create", "reverts": "update", "stale": "read"}.get(trouble, ["create", "update"][skip % 2])
            self.world.cloud.faults.append(Fault(trouble, op, skip=skip))  # type: ignore[arg-type]  # a word of Trouble
        if verb == "delete":
            self.world.cloud.must_serve.discard(NAME)
        try:
            change = _change(client, verb, model)
            client.mortal(switch).run(lambda _: change)
        except (Kill, SdkError, ConfigError):
            pass
        else:
            self._after(client, verb, model)
        self.world.cloud.faults.clear()
        client.adapter.hook = self.world.disk_of(machine).hook = lambda point: None

    def _after(self, client: Client, verb: str, model: str) -> None:
        """I8: a verb that returned has done what it says."""
        status = client.status()
        if verb == "delete":
            assert status is None
            return
        assert status is not None
        assert 100 == sum(status.traffic.values())
        if verb == "deploy":
            assert {model * 32} == {item.model for item in status.deployments if item.traffic}
        self.world.cloud.must_serve.add(NAME)

    @rule(seconds=st.sampled_from([1, 5, 30, 130, 2000]))
    def tick(self, seconds: int) -> None:
        self.world.clock.sleep(seconds)
        self.world.cloud.settle()

    @rule(machine=st.sampled_from(["laptop", "desktop"]), die=st.none() | st.integers(0, 40))
    def collect(self, machine: str, die: int | None) -> None:
        """Somebody runs gc, and may die."""
        client = Client(self.world, machine=machine).mortal(Switch(die))
        with contextlib.suppress(Kill, SdkError):
            client.executor.gc(apply=True)
        client.adapter.hook = self.world.disk_of(machine).hook = lambda point: None

    @rule()
    def lose_the_laptop(self) -> None:
        self.world.disks["laptop"] = MemoryDisk()

    @rule(by=st.sampled_from([-86_400.0, 86_400.0, 0.0]))
    def set_the_clock(self, by: float) -> None:
        self.world.clock.wrong_by = by

    @invariant()
    def nothing_stops(self) -> None:
        """I3, I4, I7: what serves goes on, its shares sum to 100, and nothing foreign is touched."""
        if hasattr(self, "world"):
            self.world.cloud.settle()
            assert [] == self.world.cloud.outages
            assert [] == [item for item in self.world.faults() if "foreign" in item]


def _change(client: Client, verb: str, model: str) -> Any:
    live, context = client.status(), client.context()
    if verb in {"deploy", "canary"}:
        return lifecycle.deploy(live, deployment(model), context, share=100 if verb == "deploy" else 10)
    if verb == "traffic":
        return lifecycle.traffic(live, 30, context)
    return getattr(lifecycle, verb)(live, context)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("examples", [25, pytest.param(1000, marks=pytest.mark.full)])
def test_any_life(shape: type, examples: int) -> None:
    """Whatever happens in whatever order, the invariants hold after every step and at the end all is in order."""
    life = type("LifeOf" + shape.__name__, (Life,), {"shape": shape})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12 if examples < 100 else 30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=checks,
            print_blob=True,
        ),
    )
