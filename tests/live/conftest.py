"""The mini clouds as the account of a live run, and a client of each as a user would have it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk_contract.live.run import LiveRun
from sdk_contract.rig import Rig, shared_state
from sdk_contract.samples import Samples
from tests.clouds.rigs import AzureML, Sagemaker, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLES = Samples()


class Account:
    """A mini cloud that stands for an account."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig, self.folder = rig, folder
        self.cloud: Any = vars(rig)["cloud"]
        self.said: list[str] = []

    def config(self) -> dict[str, Any]:
        target = {"provider": self.rig.adapter.provider, **self.rig.settings()}
        state = {"state_dir": str(self.folder / "state"), "owner": "planted-owner"}
        return {"default": "planted-target", **state, "target": {"planted-target": target}}

    def run(self, budget_usd: float = 5.0, **rest: Any) -> LiveRun:
        """A live run that is not begun; what it says is kept."""
        work = self.folder / f"work-{len(list(self.folder.iterdir()))}"
        work.mkdir()
        return LiveRun(
            lambda own, progress: Client(self.config(), clock=own, progress=progress),
            budget_usd,
            work,
            clock=self.rig.clock,
            say=self.say,
            samples=SAMPLES,
            **rest,
        )

    def say(self, line: str) -> None:
        """Keep a line, and show it with a failure."""
        self.said.append(line)
        print(line, flush=True)  # noqa: T201  # shown with a failure

    def left(self) -> list[str]:
        """What costs and is still there, by the cloud's own account."""
        return self.rig.left()


@pytest.fixture(scope="module", params=[Sagemaker, Vertex, AzureML], ids=lambda rig: rig.adapter.provider)
def account(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with pytest.MonkeyPatch.context() as patch:
        if "MLPORT_STATE_DIR" not in os.environ:  # environments and images are made once for all
            patch.setenv("MLPORT_STATE_DIR", str(shared_state(tmp_path_factory)))
        # A rig sets variables of its own and removes them at its end: what is set beside it must be undone before.
        with request.param(tmp_path_factory.mktemp("account")) as rig, pytest.MonkeyPatch.context() as beside:
            for name, value in getattr(rig.cloud, "env", {}).items():
                beside.setenv(name, value)
            made = Account(rig, tmp_path_factory.mktemp("client"))
            yield made
