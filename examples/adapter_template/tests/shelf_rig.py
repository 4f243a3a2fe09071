"""The rig: how the contract suites reach a shelf, and how they see what is left on it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlport_shelf import ShelfAdapter
from mlport_shelf.platform import Shelf
from sdk_contract.rig import Rig

STATUSES = {"throttled": 429, "unavailable": 503, "denied": 403}


class ShelfRig(Rig):
    """A shelf in this process; clients reach it over HTTP, so they can be killed."""

    adapter, price, protected = ShelfAdapter, 0.5, False
    official = False  # a local shelf on this machine, not the company's

    def __init__(self, folder: Path, *, live: bool = False, shelf: Shelf | None = None) -> None:
        super().__init__(folder, live=live)
        self.shelf = shelf or Shelf()

    def start(self) -> None:
        self.shelf.__enter__()

    def stop(self) -> None:
        self.shelf.__exit__()

    def settings(self) -> Mapping[str, Any]:
        return {"url": self.shelf.url, "usd_per_hour": 0.5}

    def unpriced(self) -> Mapping[str, Any]:
        return {"url": self.shelf.url}

    def left(self) -> list[str]:
        return [item for item in self.shelf.inventory() if not item.startswith("Model ")]

    def plant_foreign(self) -> Callable[[], bool]:
        httpx.put(f"{self.shelf.url}/items/Thing/foreign", json={"spec": {}, "tags": {"team": "other"}})
        return lambda: ("Thing", "foreign") in self.shelf.items

    @contextmanager
    def provoke(self, failure: str) -> Iterator[None]:
        kind, _, once = failure.partition(" ")
        if kind not in STATUSES:
            pytest.skip(f"a shelf cannot be {failure}")
        self.shelf.failing[:] = [STATUSES[kind]] * (1 if once else 1000)
        try:
            yield
        finally:
            self.shelf.failing.clear()
