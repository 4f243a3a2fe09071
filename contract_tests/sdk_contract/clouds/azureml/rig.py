"""The rig by which the contract suites reach a mini Azure ML; for an adapter to extend."""

from __future__ import annotations

import shutil
import ssl
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ...rig import Rig, ShortLived
from .. import mini_cloud
from .blobs import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from .cloud import AzureMLCloud

_FAULTS = {"throttled": "throttle", "unavailable": "unavailable", "denied": "denied"}
_COUNTS = ("autoscale", "deployment", "endpoint", "process")


class AzureMLRig(Rig):
    """A mini Azure in this process, whose containers are forked from a warm process.

    Attributes:
        runner: How models and jobs run.
    """

    price: ClassVar[float | None] = 0.136
    official = False
    executor = ShortLived
    runner: ClassVar[str] = "fork"

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        super().__init__(folder, live=live)
        self._stack = ExitStack()
        self.cloud: AzureMLCloud

    def start(self) -> None:
        self.cloud = self._stack.enter_context(  # type: ignore[assignment]  # the name says which one
            mini_cloud("azureml", runner=self.runner, folder=self.folder / "cloud")
        )

    def stop(self) -> None:
        errors = self.cloud.errors
        self._stack.close()
        assert [] == errors

    def verify(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.cloud.tls.ca_file)

    def settings(self) -> Mapping[str, Any]:
        return {**self.cloud.settings, "instance": "Standard_DS2_v2"}

    def unpriced(self) -> Mapping[str, Any]:
        return {**self.settings(), "instance": "Standard_D2s_v3"}

    def left(self) -> list[str]:
        return [item for item in self.cloud.inventory() if item.startswith(_COUNTS)]

    def forget_shared(self) -> None:
        """Delete all images, environments and data of jobs, so that the next deploy and job push them again."""
        shutil.rmtree(self.cloud.blobs.path(DEFAULT, "mlport"), ignore_errors=True)
        for repository in self.cloud.acr.registry.repositories():
            self.cloud.acr.registry.remove(repository)
        with self.cloud.world.lock:
            self.cloud.world.assets.pop("environments", None)

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        kind, _, once = failure.partition(" ")
        if kind not in _FAULTS:
            pytest.skip(f"a mini cloud is never {kind}")
        self.cloud.faults.add("*", _FAULTS[kind], times=1 if once else 10**6)  # type: ignore[arg-type]  # one of its kinds
        try:
            yield
        finally:
            self.cloud.faults.clear()

    def plant_foreign(self) -> Callable[[], bool]:
        """Create an endpoint as if by hand, and return a check that it is untouched."""
        path = f"{self.cloud.url}{self.cloud.world.place.path}/onlineEndpoints/foreign"
        body = {"location": "westeurope", "properties": {"authMode": "Key"}}
        headers = {"authorization": f"Bearer {self.cloud.identity.issue('arm')}"}
        with self.http(headers=headers) as client:
            client.put(path, json=body, params={"api-version": "2024-10-01"}).raise_for_status()
        return self._take_foreign

    def _take_foreign(self) -> bool:
        with self.cloud.world.lock:
            return self.cloud.endpoints.all.pop("foreign", None) is not None
