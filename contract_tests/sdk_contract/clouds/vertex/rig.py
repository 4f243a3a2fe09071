"""The rig of the `vertex` target: its own mini cloud, and a fast clock that shortens waiting."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import httpx

from sdk_contract.rig import Rig, ShortLived

from .cloud import PROJECT, REGION, VertexCloud

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sdk.adapter import Clock

    from ..faults import Kind

_TROUBLE: Mapping[str, Kind] = {"throttled": "throttle", "unavailable": "unavailable", "denied": "denied"}
_SHORTEST_S = 0.1
_SLOW = 0.01  # times the real platform's seconds: an upload takes 0.2, a deploy 4.2, an undeploy 0.6
_KEPT = ("repository", "image", "bucket", "object")  # shared on purpose, or free of charge


class HastyClock:
    """The clock of this machine, whose monotonic seconds pass ``factor`` times as fast.

    A platform gets up to a minute to show what it has acknowledged; a mini cloud needs no such time.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._start = time.monotonic()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return self._start + (time.monotonic() - self._start) * self._factor

    def sleep(self, seconds: float) -> None:
        """Sleep, but not so briefly that polling takes the processor from the work being waited for."""
        time.sleep(max(seconds / self._factor, min(seconds, _SHORTEST_S)))


class VertexMiniRig(Rig):
    """Vertex AI on its mini cloud; a subclass provides the adapter.

    Attributes:
        runner: How models run; forked ones start fastest.
        haste: How much faster than real seconds the seconds of waiting pass.
    """

    price = 0.120272
    official = False
    executor = ShortLived
    patience: ClassVar[float] = 4000.0
    runner: ClassVar[str] = "fork"
    haste: ClassVar[float] = 20.0
    polls: ClassVar[frozenset[str]] = frozenset({"GetOperation"})
    cloud: VertexCloud

    def start(self) -> None:
        """Start a mini cloud, and set the variables that point to it."""
        self._clock = HastyClock(self.haste)
        self.cloud = VertexCloud(self.folder / "cloud", self.runner)
        self.cloud.identity.personal = True  # as after `gcloud auth application-default login`, the stricter case
        os.environ.update(self.cloud.start())

    def stop(self) -> None:
        """Stop the mini cloud and unset its variables."""
        for name in self.cloud.env:
            os.environ.pop(name, None)
        self.cloud.close()

    @property
    def clock(self) -> Clock:
        """The fast clock."""
        return self._clock

    def settings(self) -> Mapping[str, str]:
        """Return the project and region that exist from the start."""
        return {"project": PROJECT, "region": REGION, "instance": "n1-standard-2"}

    def unpriced(self) -> Mapping[str, str]:
        """Return settings with a machine that is not in any price table."""
        return {**self.settings(), "instance": "n1-highmem-32"}

    def left(self) -> list[str]:
        """List what is left, according to the cloud itself."""
        return [line for line in self.cloud.inventory() if not line.startswith(_KEPT)]

    def forget_shared(self) -> None:
        """Delete all repositories and buckets, so that the next deploy creates them and pushes its image."""
        with self.cloud.common.lock:
            self.cloud.world.tables["repositories"].clear()
            for image in self.cloud.artifacts.registry.repositories():
                self.cloud.artifacts.registry.remove(image)
            for bucket in list(self.cloud.storage.buckets):
                self.cloud.storage.drop_bucket(bucket)

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        """Plan faults of the cloud, or make the cloud unreachable."""
        if failure == "refused":
            with self.cloud.unplugged():
                yield
            return
        kind, _, once = failure.partition(" ")
        self.cloud.faults.add("*", _TROUBLE[kind], times=1 if once else 99)
        try:
            yield
        finally:
            self.cloud.faults.clear()

    @contextmanager
    def slowly(self) -> Generator[None]:
        """Use a hundredth of the real platform's time, instead of none."""
        self.cloud.pace.factor = _SLOW
        try:
            yield
        finally:
            self.cloud.pace.factor = 0.0

    def plant_foreign(self) -> Callable[[], bool]:
        """Create an endpoint as if by hand, and return a check that it is untouched."""
        place = f"{self.cloud.url}/v1/{self.cloud.world.parent}/endpoints"
        headers = {"authorization": f"Bearer {self.cloud.world.token}", "x-goog-user-project": PROJECT}
        body = {"displayName": "by-hand", "labels": {"team": "other"}}
        httpx.post(place, params={"endpointId": "by-hand"}, json=body, headers=headers, trust_env=False)

        def untouched() -> bool:
            found = httpx.get(f"{place}/by-hand", headers=headers, trust_env=False).json()
            httpx.delete(f"{place}/by-hand", headers=headers, trust_env=False)
            return bool(body["labels"] == found.get("labels"))

        return untouched
