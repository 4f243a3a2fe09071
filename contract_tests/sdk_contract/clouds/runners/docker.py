"""The docker runner: runs images as containers of a Docker Engine, as the clouds do, with their limits.

Images are copied from the mini cloud's registry into the engine without using its network. Containers carry the label
``dev.mlport.mock`` with a value unique to this runner, and are removed when they are stopped or the runner is closed.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sdk.errors import ConflictError, NotFoundError, PlatformError, SdkError
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import load
from sdk.packaging.image.manifests import ImageConfig

from .base import Launch, Runner, Running, StartFailed
from .process import arguments

if TYPE_CHECKING:
    from pathlib import Path

LABEL = "dev.mlport.mock"
_FRAME = struct.Struct(">BxxxL")
_PORT_S = 10.0


class _Stops:
    """A count of the containers that are being stopped, since a cloud stops them in threads of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._closed = False

    def begin(self) -> bool:
        """Count one more; return false once the runner is closed and has removed all containers itself."""
        with self._changed:
            self._count += not self._closed
            return not self._closed

    def end(self) -> None:
        """Count one less."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Prevent further stops from starting, and wait for those in progress."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._count == 0)


class DockerRunner(Runner):
    """The docker runner.

    Args:
        folder: Not used; containers keep nothing on this machine.
        engine: The engine to use; the one that Docker's own command line would use when left out.
    """

    name = "docker"

    def __init__(self, folder: Path, *, engine: Engine | None = None) -> None:
        self._engine = engine or Engine()
        self._mark = secrets.token_hex(8)
        self._stops = _Stops()

    def start(self, launch: Launch) -> Running:
        """Run an image; see :meth:`Runner.start`."""
        image = launch.registry.image(*launch.place)
        if image is None:
            raise StartFailed(f"the registry has no image {launch.reference}")
        try:
            name = load(self._engine, image, launch.registry.store)
            body = self._body(launch, ImageConfig.read(image.config), name)
            container: str = self._engine.call("POST", "/containers/create", json=body)["Id"]
            running = DockerRunning(self._engine, launch.name, container, self._stops)
            try:
                self._engine.call("POST", f"/containers/{container}/start")
                if launch.port is not None:
                    running.find_address(launch.port)
            except SdkError:
                running.stop(0.0)
                raise
        except SdkError as error:
            raise StartFailed(f"cannot run {launch.reference}: {error}") from error
        return running

    def close(self) -> None:
        """Remove all containers of this runner."""
        for item in self._mine(stopped=True):
            with suppress(PlatformError):
                self._engine.call("DELETE", f"/containers/{item['Id']}", params={"force": "1", "v": "1"})
        self._stops.close()
        self._engine.close()

    def alive(self) -> list[str]:
        """Return the names of everything that runs."""
        return sorted(item["Labels"]["dev.mlport.mock.name"] for item in self._mine())

    def _mine(self, *, stopped: bool = False) -> list[dict[str, Any]]:
        params = {"all": "1" if stopped else "0", "filters": f'{{"label": ["{LABEL}={self._mark}"]}}'}
        found: list[dict[str, Any]] = self._engine.call("GET", "/containers/json", params=params)
        return found

    def _body(self, launch: Launch, config: ImageConfig, image: str) -> dict[str, Any]:
        line = arguments(launch, config)
        cut = 1 if launch.shell else len(config.entrypoint if launch.entrypoint is None else launch.entrypoint)
        ports: dict[str, Any] = {f"{launch.port}/tcp": {}} if launch.port else {}
        host: dict[str, Any] = {
            "Binds": [f"{source}:{path}" for path, source in launch.mounts.items()],
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}] for port in ports},
            "Init": False,
        }
        if launch.memory_gib:
            host["Memory"] = int(launch.memory_gib * 2**30)
        if launch.cpu:
            host["NanoCpus"] = int(min(launch.cpu, os.cpu_count() or 1) * 1e9)
        return {
            "Image": image,
            "Entrypoint": line[:cut],
            "Cmd": line[cut:],
            "Env": [f"{name}={value}" for name, value in launch.env.items()],
            "ExposedPorts": ports,
            "User": "" if launch.user is None else str(launch.user),
            "Labels": {LABEL: self._mark, "dev.mlport.mock.name": launch.name},
            "HostConfig": host,
        }


class DockerRunning(Running):
    """A running container."""

    def __init__(self, engine: Engine, name: str, container: str, stops: _Stops) -> None:
        self.name = name
        self._stops = stops
        self._engine, self._container = engine, container
        self._ended: tuple[int, list[tuple[float, str]]] | None = None

    def find_address(self, port: int) -> None:
        """Find the port of this machine on which the container's port was published."""
        end = time.monotonic() + _PORT_S
        while time.monotonic() < end:
            about = self._engine.call("GET", f"/containers/{self._container}/json")
            ports: dict[str, list[dict[str, str]] | None] = about["NetworkSettings"].get("Ports") or {}
            bound = ports.get(f"{port}/tcp")
            if bound:
                self.address = f"http://127.0.0.1:{bound[0]['HostPort']}"
            if bound or not about["State"]["Running"]:
                return
            time.sleep(0.02)

    def logs(self) -> list[tuple[float, str]]:
        """Return its output so far."""
        if self._ended is not None:
            return self._ended[1]
        params = {"stdout": "1", "stderr": "1", "timestamps": "1"}
        try:
            with self._engine.stream("GET", f"/containers/{self._container}/logs", params=params) as pieces:
                data = b"".join(pieces)
        except (NotFoundError, ConflictError):  # it is being removed
            return self._ended[1] if self._ended is not None else []
        return [_stamped(line) for line in _unframed(data).decode("utf-8", "replace").splitlines()]

    @property
    def exit_code(self) -> int | None:
        """The exit code; ``None`` while it runs."""
        if self._ended is not None:
            return self._ended[0]
        try:
            state = self._engine.call("GET", f"/containers/{self._container}/json")["State"]
        except NotFoundError:
            return 137
        return None if state["Running"] or state["Status"] == "created" else int(state["ExitCode"])

    def stop(self, grace_s: float = 30.0) -> None:
        """Send SIGTERM, then SIGKILL, and remove the container; its output remains readable here."""
        if self._ended is None and self._stops.begin():
            try:
                self._stop(grace_s)
            finally:
                self._stops.end()

    def _stop(self, grace_s: float) -> None:
        with suppress(NotFoundError, ConflictError):  # it is being removed elsewhere, or already has been
            if grace_s > 0:
                seconds = str(max(1, round(grace_s)))
                self._engine.call(
                    "POST", f"/containers/{self._container}/stop", params={"t": seconds}, timeout_s=grace_s + 30
                )
            code = self.exit_code
            self._ended = (137 if code is None else code, self.logs())  # before removal: threads may still read it
            self._engine.call("DELETE", f"/containers/{self._container}", params={"force": "1", "v": "1"})

    def usage(self) -> tuple[float, int]:
        """Return CPU seconds and bytes of memory; the engine takes about a second to answer."""
        try:
            params = {"stream": "false", "one-shot": "true"}
            about = self._engine.call("GET", f"/containers/{self._container}/stats", params=params)
        except PlatformError:
            return 0.0, 0
        cpu = about.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
        return cpu / 1e9, int(about.get("memory_stats", {}).get("usage", 0))


def _unframed(data: bytes) -> bytes:
    """Return the contents of the engine's 8-byte frames."""
    parts: list[bytes] = []
    position = 0
    while position + _FRAME.size <= len(data):
        _, size = _FRAME.unpack_from(data, position)
        parts.append(data[position + _FRAME.size : position + _FRAME.size + size])
        position += _FRAME.size + size
    return b"".join(parts)


def _stamped(line: str) -> tuple[float, str]:
    """Split a line into time and text; the engine gives nanoseconds."""
    stamp, _, text = line.partition(" ")
    whole, _, rest = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest or 0}"), text
