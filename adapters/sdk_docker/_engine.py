"""What this adapter asks of an engine, in a few words: containers by label, files in and out, commands inside."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from typing import TYPE_CHECKING, Any

from sdk.errors import NotFoundError
from sdk.packaging.image.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOBODY = 65532
"""The user of every container."""

KIND, ENDPOINT, DEPLOYMENT, SPEC, PRICE = (
    "mlport-kind", "mlport-endpoint", "mlport-deployment", "mlport-spec-json", "mlport-usd-per-hour",
)  # fmt: skip
_HEADER = struct.Struct(">BxxxL")


class Host:
    """One engine, connected to at the first call."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The client of the engine."""
        if self._engine is None:
            self._engine = Engine()
        return self._engine

    def close(self) -> None:
        """Let go of the connections."""
        if self._engine is not None:
            self._engine.close()

    def containers(self, timeout: float, **labels: str) -> list[dict[str, Any]]:
        """Our containers with these labels, running or not."""
        wanted = ["mlport=1", *(f"mlport-{name}={value}" for name, value in labels.items())]
        params = {"all": "1", "filters": json.dumps({"label": wanted})}
        found: list[dict[str, Any]] = self.engine.call("GET", "/containers/json", params=params, timeout_s=timeout)
        return found

    def inspect(self, name: str, timeout: float) -> dict[str, Any] | None:
        """A container, ``None`` if there is none."""
        try:
            about: dict[str, Any] = self.engine.call("GET", f"/containers/{name}/json", timeout_s=timeout)
        except NotFoundError:
            return None
        return about

    def create(self, name: str, body: Mapping[str, Any], timeout: float) -> None:
        """Make a container that does not run yet."""
        self.engine.call("POST", "/containers/create", params={"name": name}, json=body, timeout_s=timeout)

    def start(self, name: str, timeout: float) -> None:
        """Start a container; one that runs goes on."""
        self.engine.call("POST", f"/containers/{name}/start", timeout_s=timeout)

    def remove(self, name: str, timeout: float) -> None:
        """End a container and remove it with its own volumes."""
        self.engine.call("DELETE", f"/containers/{name}", params={"v": "1", "force": "1"}, timeout_s=timeout)

    def put(self, name: str, folder: str, archive: bytes, timeout: float) -> None:
        """Unpack a tar archive inside a container, running or not."""
        self.engine.call(
            "PUT",
            f"/containers/{name}/archive",
            params={"path": folder},
            content=[archive],
            headers={"content-type": "application/x-tar"},
            timeout_s=timeout,
        )

    def get(self, name: str, path: str) -> bytes:
        """A file or folder of a container as a tar archive."""
        with self.engine.stream("GET", f"/containers/{name}/archive", params={"path": path}) as pieces:
            return b"".join(pieces)

    def run(self, name: str, argv: list[str], timeout: float, *, detach: bool = False) -> bytes:
        """Standard output of a command inside a running container; nothing with ``detach``."""
        body = {"AttachStdout": not detach, "AttachStderr": False, "Cmd": argv}
        made = self.engine.call("POST", f"/containers/{name}/exec", json=body, timeout_s=timeout)
        data = json.dumps({"Detach": detach, "Tty": False}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(data))}
        with self.engine.stream("POST", f"/exec/{made['Id']}/start", content=[data], headers=headers) as pieces:
            return b"".join(frames(b"".join(pieces)))


def frames(data: bytes) -> Iterator[bytes]:
    """The contents of the 8-byte frames that an engine puts around what a container writes."""
    position = 0
    while position + _HEADER.size <= len(data):
        _, size = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        yield data[position : position + size]
        position += size


def pack(files: Mapping[str, bytes | None]) -> bytes:
    """A tar archive for the user of the containers alone; a name without content is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.uid = info.gid = NOBODY
            info.type, info.mode = (tarfile.DIRTYPE, 0o700) if data is None else (tarfile.REGTYPE, 0o600)
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """The files of a tar archive by their names."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                found[member.name] = file.read()
    return found


def hardened(cpu: float | None, memory_gib: float | None) -> dict[str, Any]:
    """The limits and protections of every container."""
    limits: dict[str, Any] = {"NanoCpus": int(cpu * 1e9)} if cpu else {}
    if memory_gib:
        limits |= {"Memory": int(memory_gib * 2**30), "MemorySwap": int(memory_gib * 2**30)}
    return {
        **limits,
        "PidsLimit": 1024,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=268435456,mode=1777"},  # noqa: S108  inside the container
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
    }
