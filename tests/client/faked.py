"""Clients of a cloud in memory, in virtual time."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from sdk.adapter import YES, Capability
from sdk.adapter.metrics import Latency, MetricsReport
from sdk.adapter.prices import PriceRow
from sdk.adapter.registry import Registry
from sdk.adapter.types import LogLine
from sdk.client import Client
from sdk.config import load
from sdk.packaging.manifest import EXAMPLE, MANIFEST, Manifest, Signature, Tensor
from sdk.packaging.model import Model
from sdk_contract.fake import TrafficFake
from sdk_contract.fake_cloud import CALM, FakeCloud, Temper, VirtualClock, give_name
from sdk_contract.fake_plane import Plane

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sdk.adapter import Support

NUMBERS = itertools.count(1)


def a_model(letter: str = "a", name: str = "churn") -> Model:
    """A model that nobody needs to pack, as the fake runs none."""
    return Model(name, letter * 64)


class TellingFake(TrafficFake):
    """A fake that also measures, logs and has prices."""

    lines: tuple[str, ...] = ()
    reports: dict[float, MetricsReport]

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        return {**super().capabilities(options), Capability.LOGS: YES, Capability.METRICS: YES, Capability.GPU: YES}

    def prices(self) -> Iterable[PriceRow]:
        return (price("small", 2, 8, 0.1), price("big", 8, 32, 0.4), price("huge", 64, 256, None))

    def where(self) -> Mapping[str, str]:
        return {**super().where(), "region": "moon"}

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        self.asked = [*getattr(self, "asked", []), window_s]
        latency = (Latency("platform", "approximate", 90, p95=150.0), Latency("gateway", "exact", 100, p95=window_s))
        return MetricsReport(
            window_s, self.server_time(), {"2xx": 90, "4xx": 4, "5xx": 6}, latency, cpu=0.5, late_s=360.0
        )

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        return iter([LogLine(1.0, text, deployment) for text in self.lines])


def price(instance: str, cpu: float, memory: float, usd: float | None) -> PriceRow:
    return PriceRow("fake", "moon", "inference", instance, cpu, memory, "", 0, usd, "a test", "2026-01-01", "quoted")


class World:
    """One cloud, and as many clients of it as a test wants."""

    def __init__(self, folder: Path, shape: type[Any] = TellingFake, temper: Temper = CALM) -> None:
        self.folder = folder
        self.shape = shape
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock, temper)
        self.name = give_name(f"client-{next(NUMBERS)}", self.cloud)
        self.plane = Plane(shape)
        self.events: list[str] = []
        self.clients: list[Client] = []

    def client(self, *, owner: str = "me", env: dict[str, str] | None = None, **settings: Any) -> Client:
        registry = Registry(find=lambda: ())
        registry.register("fake", self.shape)
        target = {"provider": "fake", "cloud": self.name, **settings.pop("fake", {})}
        given = {"owner": owner, "default": "fake", "target": {"fake": target}, "state_dir": str(self.folder / owner)}
        made = Client(
            load(arguments={**given, **settings}, env={}, directory=self.folder, registry=registry),
            env=env or {},
            clock=self.clock,
            transport=self.plane,
            progress=lambda event: self.events.append(event.stage),
            seed=len(self.clients),
        )
        self.clients.append(made)
        return made

    def store(self, model: Model, *, example: list[Any], owner: str = "me", rowwise: bool = False) -> None:
        """Puts what a packed model leaves in the store where clients look for it."""
        folder = self.folder / owner / "models" / model.digest
        folder.mkdir(parents=True)
        signature = Signature(inputs=(Tensor("input", "float64", (-1, 2)),), rowwise=rowwise)
        manifest = Manifest(
            name=model.name, flavour="function", format="cloudpickle", entry="model/model.pkl", python="3.11",
            lock_sha256="0" * 64, signature=signature,
        )  # fmt: skip
        (folder / MANIFEST).write_bytes(manifest.encode())
        (folder / EXAMPLE).write_text(json.dumps({"instances": example}))

    @property
    def calls(self) -> list[str]:
        return [f"{operation} {ref.kind}" for operation, ref in self.cloud.calls]

    def close(self) -> None:
        for client in self.clients:
            client.close()
