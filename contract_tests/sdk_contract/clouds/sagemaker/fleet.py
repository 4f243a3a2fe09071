"""The containers behind an endpoint: for each variant of a configuration the real image, started and watched.

One container stands for all instances of a variant; the reported count is that of the configuration.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from ..runners import Launch, StartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..runners import Running
    from .keys import Spot
    from .world import World

PORT = 8080
_PING_S = 2.0
_PAUSE_S = 0.02
_IN_FLIGHT_S = 60.0
_GRACE_S = 30.0  # between SIGTERM and SIGKILL on the real platform


@dataclass
class Variant:
    """A running variant.

    Attributes:
        body: Its part of the configuration.
        model: The request that made its model.
        weight: Its share; as in the configuration until it is changed.
        count: Instances; as in the configuration until changed. 0 when it is serverless.
        in_flight: Requests in its container now.
    """

    body: Mapping[str, Any]
    model: Mapping[str, Any]
    weight: float = 0.0
    count: int = 0
    running: Running | None = None
    in_flight: int = 0
    instance: str = field(default_factory=lambda: f"i-{uuid.uuid4().hex[:17]}")

    @property
    def name(self) -> str:
        """The name of the variant."""
        return str(self.body["VariantName"])

    @property
    def serverless(self) -> Mapping[str, Any] | None:
        """The serverless settings, if it has any."""
        return self.body.get("ServerlessConfig")

    @property
    def container(self) -> Mapping[str, Any]:
        """The container of its model."""
        found: Mapping[str, Any] = self.model.get("PrimaryContainer") or self.model["Containers"][0]
        return found


class Fleet:
    """All variants of one configuration, for one endpoint.

    Args:
        world: The state that all parts share: runner, images, logs.
        spot: Its account and region.
        endpoint: The endpoint's name.
        variants: The variants that serve.
        shadows: The variants that get copies of requests.
    """

    def __init__(
        self, world: World, spot: Spot, endpoint: str, variants: list[Variant], shadows: list[Variant]
    ) -> None:
        self._world, self._spot, self.endpoint = world, spot, endpoint
        self.variants, self.shadows = variants, shadows
        self.error: str | None = None
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._closing = False

    @property
    def settled(self) -> bool:
        """Whether the result of its start is known."""
        return self._ready.is_set()

    @property
    def gone(self) -> bool:
        """Whether all its containers have ended."""
        return self._stopped.is_set()

    def variant(self, name: str) -> Variant | None:
        """Return one of the variants that serve."""
        return next((one for one in self.variants if one.name == name), None)

    def instances(self) -> dict[str, int]:
        """Return the number of instances of each type."""
        found: dict[str, int] = {}
        for one in (*self.variants, *self.shadows):
            if one.body.get("InstanceType"):
                found[one.body["InstanceType"]] = found.get(one.body["InstanceType"], 0) + one.count
        return found

    def start(self, *, broken: str | None = None) -> None:
        """Start all containers in the background; ``broken`` is a reason for which the start fails."""
        self._world.threads.submit(self._start, broken)

    def stop(self) -> None:
        """Stop all containers in the background: wait for requests in progress, then send SIGTERM, then SIGKILL."""
        if not self._closing:
            self._closing = True
            self._world.threads.submit(self._stop)

    def _start(self, broken: str | None) -> None:
        try:
            if broken is None:
                for one in (*self.variants, *self.shadows):
                    self._launch(one)
                for one in (*self.variants, *self.shadows):
                    self._await(one)
            self.error = broken
        except StartFailed as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001  # no caller sees a thread's exception
            self.error = f"the mini cloud broke: {error!r}"
        finally:
            self._ready.set()

    def _launch(self, variant: Variant) -> None:
        if self._closing:
            raise StartFailed("it was deleted while it started")
        container = variant.container
        launch = Launch(
            f"{self.endpoint}/{variant.name}",
            self._world.ecr.registry,
            "@".join(self._world.image_digest(str(container["Image"]), self._spot)),
            ["serve"],
            env={**(container.get("Environment") or {}), "AWS_REGION": self._spot.region},
            mounts=self._model_data(variant),
            port=PORT,
        )
        variant.running = self._world.runner.start(launch)
        group, stream = f"/aws/sagemaker/Endpoints/{self.endpoint}", f"{variant.name}/{variant.instance}"
        self._world.watch(self._spot, group, stream, variant.running)

    def _model_data(self, variant: Variant) -> dict[str, Path]:
        """Unpack the model's archive, and return it as the folder in which containers find it."""
        uri = variant.container.get("ModelDataUrl")
        if not uri:
            return {}
        folder = self._world.folder / "models" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        ((_, data),) = self._world.data(str(uri), "model data")[:1]
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                place = folder / member.name
                if member.isreg() and place.resolve().is_relative_to(folder.resolve()):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    source = archive.extractfile(member)
                    if source is not None:
                        place.write_bytes(source.read())
        return {"/opt/ml/model": folder}

    def _await(self, variant: Variant) -> None:
        """Wait for a good answer to ``/ping``."""
        running = variant.running
        assert running is not None  # the container was launched before
        end = time.monotonic() + self._world.startup_s
        with httpx.Client(base_url=running.address, timeout=_PING_S, verify=False, trust_env=False) as client:
            while not self._closing and running.exit_code is None and time.monotonic() < end:
                with suppress(httpx.HTTPError):
                    if client.get("/ping").status_code == 200:
                        return
                time.sleep(_PAUSE_S)
        self._world.logs.collect()
        raise StartFailed(
            f"The primary container for production variant {variant.name} did not pass the ping health check. "
            "Please check CloudWatch logs for this endpoint."
        )

    def _stop(self) -> None:
        self._ready.wait()
        end = time.monotonic() + _IN_FLIGHT_S
        everything = (*self.variants, *self.shadows)
        while any(one.in_flight for one in everything) and time.monotonic() < end:
            time.sleep(_PAUSE_S)
        for one in everything:
            if one.running is not None:
                one.running.stop(_GRACE_S * min(self._world.pace.factor, 1.0))
        self._world.logs.collect()
        self._stopped.set()
