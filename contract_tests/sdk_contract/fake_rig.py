"""The rigs of the hostile fake: two shapes of a cloud in memory that is slow and forgetful, in virtual time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Capability, Live, Support

from . import samples
from .fake import ConfigFake, FakeAdapter, TrafficFake
from .fake_cloud import HOSTILE, FakeCloud, Fault, Trouble, VirtualClock, give_name
from .fake_plane import Plane
from .rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from sdk.adapter import Clock
    from sdk.packaging.model import Model

TROUBLES: dict[str, Trouble] = {"throttled": "throttled", "unavailable": "unavailable"}


class Honest(FakeAdapter):
    """A fake that declares what its data plane really does."""

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        """Declare the capabilities, without those that never reach a model."""
        lacks = Support(ok=False, reason="never", text="it is only a fake")
        missing = {Capability.ENV, Capability.SECRETS, Capability.REPLICAS}
        return {name: lacks if name in missing else found for name, found in super().capabilities(options).items()}


class Config(Honest, ConfigFake):
    """A fake whose endpoint is a pointer to an immutable configuration."""


class Traffic(Honest, TrafficFake):
    """A fake in which a traffic table names deployments inside a container."""


class FakeRig(Rig):
    """One cloud for all clients; they die by exception, since the cloud is in this process."""

    crash, protected, crash_points = "raise", False, 8
    official = False

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        super().__init__(folder, live=live)
        self.cloud = FakeCloud(VirtualClock(), HOSTILE)
        self.plane = Plane(self.adapter)

    @property
    def clock(self) -> Clock:
        return self.cloud.clock

    def settings(self) -> Mapping[str, Any]:
        return {"cloud": give_name(type(self).__name__, self.cloud)}

    def transport(self) -> Plane:
        return self.plane

    def model(self, n: int = 1) -> Model:
        self.plane.models[super().model(n).digest[:32]] = samples.behaving(n)
        return super().model(n)

    def broken(self) -> Model:
        self.plane.models[super().broken().digest[:32]] = samples.failing
        return super().broken()

    def failing(self) -> Model:
        self.plane.models[super().failing().digest[:32]] = samples.failing
        return super().failing()

    def left(self) -> list[str]:
        self.cloud.settle()
        return [str(ref) for ref in self.cloud.items if ref.kind not in {"Image", "Stage", "Job", "Thing"}]

    def plant_foreign(self) -> Callable[[], bool]:
        foreign = Live("Image", "foreign", "ready")
        self.cloud.plant(foreign)
        return lambda: bool(self.cloud.items.pop(foreign.ref, None))

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        trouble, _, once = failure.partition(" ")
        if trouble not in TROUBLES:
            pytest.skip(f"the fake is never {failure}")
        self.cloud.faults += [
            Fault(TROUBLES[trouble], op, times=1 if once else 99) for op in ("read", "list", "create")
        ]
        try:
            yield
        finally:
            self.cloud.faults.clear()


class ConfigRig(FakeRig):
    """The rig of the first shape."""

    adapter = Config


class TrafficRig(FakeRig):
    """The rig of the second shape."""

    adapter = Traffic
