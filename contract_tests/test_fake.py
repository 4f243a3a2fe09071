"""The contract of the hostile fake: two shapes of a cloud in memory that is slow and forgetful, in virtual time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sdk_contract import samples, suites
from sdk_contract.fake import ConfigFake, FakeAdapter, TrafficFake
from sdk_contract.fake_cloud import HOSTILE, FakeCloud, Fault, VirtualClock, give_name
from sdk_contract.fake_plane import Plane
from sdk_contract.rig import Rig, rig_fixture

from sdk.adapter import Capability, Live, Support
from sdk.model import Model


def honest(options: Any = None) -> Mapping[Capability, Support]:
    """What its data plane really does."""
    lacks = dict.fromkeys((Capability.ENV, Capability.SECRETS, Capability.REPLICAS), Support(False, "never", "a fake"))
    return {**FakeAdapter.capabilities(options), **lacks}


class Config(ConfigFake):
    """An endpoint is a pointer at an immutable configuration."""

    capabilities = staticmethod(honest)


class Traffic(TrafficFake):
    """A traffic table names deployments inside a container."""

    capabilities = staticmethod(honest)


class ConfigRig(Rig):
    """One cloud for all clients; they die by exception, since the cloud is in this process."""

    adapter, crash, protected, crash_points = Config, "raise", False, 8

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        super().__init__(folder, live=live)
        self.cloud = FakeCloud(VirtualClock(), HOSTILE)
        self.clock = self.cloud.clock
        self.plane = Plane(self.adapter)

    def settings(self) -> Mapping[str, Any]:
        return {"cloud": give_name(type(self).__name__, self.cloud)}

    def transport(self) -> Plane:
        return self.plane

    def model(self, n: int = 1) -> Model:
        self.plane.models[super().model(n).digest[:32]] = samples.behaving(n)
        return super().model(n)

    def broken(self) -> Model:
        self.plane.models[super().broken().digest[:32]] = samples.behaving("no number")
        return super().broken()

    def left(self) -> list[str]:
        self.cloud.settle()
        return [str(ref) for ref in self.cloud.items if ref.kind not in {"Image", "Stage", "Job", "Thing"}]

    def plant_foreign(self) -> Callable[[], bool]:
        foreign = Live("Image", "foreign", "ready")
        self.cloud.plant(foreign)
        return lambda: self.cloud.items.pop(foreign.ref) is not None

    @contextmanager
    def provoke(self, failure: str) -> Iterator[None]:
        trouble, _, once = failure.partition(" ")
        if trouble not in {"throttled", "unavailable"}:
            pytest.skip(f"the fake is never {failure}")
        self.cloud.faults += [Fault(trouble, op, times=1 if once else 99) for op in ("read", "list", "create")]
        try:
            yield
        finally:
            self.cloud.faults.clear()


class TrafficRig(ConfigRig):
    """The other shape."""

    adapter = Traffic


rig = rig_fixture(ConfigRig, TrafficRig)


class TestCapabilities(suites.CapabilitiesSuite): ...


class TestOperations(suites.OperationsSuite): ...


class TestDeploy(suites.DeploySuite): ...


class TestTraffic(suites.TrafficSuite): ...


class TestErrors(suites.ErrorsSuite): ...


class TestPrices(suites.PricesSuite): ...


class TestCrash(suites.CrashSuite): ...
