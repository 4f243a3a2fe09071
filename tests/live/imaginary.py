"""A priced cloud in memory and virtual time as the account of a live run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.adapter.registry import Registry
from sdk.client import Client
from sdk.config import load
from sdk_contract.fake_cloud import CALM
from sdk_contract.live.life import STAGES
from sdk_contract.live.run import LiveRun
from sdk_contract.samples import Samples, behaving
from tests.client.faked import TellingFake, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk_contract.fake_cloud import Temper

SAMPLES = Samples()
PRICE = 0.4  # an hour of the instance "big"


class Priced(TellingFake):
    """Its log holds what a model of the samples is asked to write."""

    lines = ("contract: told to say 73501",)


class Account(World):
    """An account with an endpoint's life but no jobs."""

    def __init__(self, folder: Path, temper: Temper = CALM, shape: type[Any] = Priced) -> None:
        super().__init__(folder, shape, temper)
        self.said: list[str] = []
        self.told: Callable[[str], None] = self.said.append

    def run(self, budget_usd: float = 5.0, *, instance: str = "big", stages: Any = None) -> LiveRun:
        """A live run that is not begun."""
        for n in (1, 2):
            self.plane.models[SAMPLES.model(n).digest[:32]] = behaving(n)
        registry = Registry(find=lambda: ())
        registry.register("fake", self.shape)
        target = {"provider": "fake", "cloud": self.name, "instance": instance}
        config = {"owner": "me", "default": "fake", "target": {"fake": target}, "state_dir": str(self.folder / "state")}
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        return LiveRun(
            lambda clock, progress: Client(
                load(arguments=config, env={}, directory=self.folder, registry=registry),
                env={},
                clock=clock,
                transport=self.plane,
                progress=progress,
            ),
            budget_usd,
            work,
            clock=self.clock,
            say=self.say,
            samples=SAMPLES,
            stages=[stage for stage in STAGES if stage.name != "train"] if stages is None else stages,
        )

    def say(self, line: str) -> None:
        """Hand a line to whoever listens now."""
        self.told(line)

    def left(self) -> list[str]:
        """What is there and should not be."""
        self.cloud.settle()
        return [str(ref) for ref in self.cloud.items if ref.kind not in {"Image", "Stage", "Job"}]
