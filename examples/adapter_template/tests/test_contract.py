"""Shelf under the same contract as the built-in adapters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlport_shelf import ShelfAdapter
from mlport_shelf.platform import Shelf
from sdk_contract.rig import Rig, rig_fixture
from sdk_contract.suite_capabilities import CapabilitiesSuite
from sdk_contract.suite_operations import OperationsSuite


class ShelfRig(Rig):
    """A shelf in this process; clients reach it over HTTP, so they can be killed."""

    adapter = ShelfAdapter

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        super().__init__(folder, live=live)
        self.shelf = Shelf()

    def start(self) -> None:
        self.shelf.__enter__()

    def stop(self) -> None:
        self.shelf.__exit__()

    def settings(self) -> Mapping[str, Any]:
        return {"url": self.shelf.url, "usd_per_hour": 0.5}

    def left(self) -> list[str]:
        return [item for item in self.shelf.inventory() if not item.startswith("Model ")]


rig = rig_fixture(ShelfRig)


class TestCapabilities(CapabilitiesSuite): ...


class TestOperations(OperationsSuite): ...
