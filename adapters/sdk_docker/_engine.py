"""Short forms of the engine calls that this adapter makes: containers by label, files in and out."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sdk.errors import ConflictError, NotFoundError, UnreadableError
from sdk.packaging.image.engine import Engine
from sdk.util import bounded, foreign

from ._errors import PROVIDER
from ._pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sdk.packaging.image.engine_address import Address

_GO_ON = ["python", "-P", "-c", "import os, signal; os.kill(-1, signal.SIGCONT)"]


class Host:
    """One engine, to which the first call connects.

    Args:
        find: Returns the engine's address.
    """

    def __init__(self, find: Callable[[], Address]) -> None:
        self._find = find
        self._engine: Engine | None = None
        self._clock = (0.0, 0.0)

    @property
    def engine(self) -> Engine:
        """The client of the engine."""
        if self._engine is None:
            self._engine = Engine(self._find())
        return self._engine

    def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            self._engine.close()

    def time(self, here: float) -> float:
        """Return Unix seconds by the engine's clock as last seen; ``here`` before the first call.

        Args:
            here: Unix seconds by this machine's clock.
        """
        date = self._engine.date if self._engine is not None else None
        if date is None:
            return here
        if date != self._clock[0]:
            self._clock = (date, time.monotonic())
        return date + time.monotonic() - self._clock[1]

    def containers(self, timeout: float, **labels: str) -> list[dict[str, Any]]:
        """Return the containers of this SDK with these labels, running or not."""
        wanted = ["mlport=1", *(f"mlport-{name}={value}" for name, value in labels.items())]
        params = {"all": "1", "filters": json.dumps({"label": wanted})}
        found: list[dict[str, Any]] = self.engine.call("GET", "/containers/json", params=params, timeout_s=timeout)
        return found

    def inspect(self, name: str, timeout: float) -> dict[str, Any] | None:
        """Return a container's description, ``None`` if the container does not exist."""
        try:
            about: dict[str, Any] = self.engine.call("GET", f"/containers/{name}/json", timeout_s=timeout)
        except NotFoundError:
            return None
        return about

    def create(self, name: str, body: Mapping[str, Any], timeout: float) -> None:
        """Create a container without starting it."""
        self.engine.call("POST", "/containers/create", params={"name": name}, json=body, timeout_s=timeout)

    def start(self, name: str, timeout: float) -> None:
        """Start a container; one that already runs is left running."""
        self.engine.call("POST", f"/containers/{name}/start", timeout_s=timeout)

    def unpause(self, name: str, timeout: float) -> None:
        """Resume a paused container."""
        self.engine.call("POST", f"/containers/{name}/unpause", timeout_s=timeout)

    def go_on(self, name: str, timeout: float) -> None:
        """Resume all processes of a container that were stopped by a signal."""
        self.engine.call("POST", f"/containers/{name}/kill", params={"signal": "CONT"}, timeout_s=timeout)
        with contextlib.closing(self.pipe(name, _GO_ON, timeout)) as pipe:
            pipe.read(timeout)  # until it has ended

    def restart(self, name: str, timeout: float) -> None:
        """Stop what runs in a container, and start it again."""
        self.engine.call("POST", f"/containers/{name}/restart", params={"t": "1"}, timeout_s=timeout)

    def update(self, name: str, body: Mapping[str, Any], timeout: float) -> None:
        """Change the limits or the restart policy of a running container."""
        self.engine.call("POST", f"/containers/{name}/update", json=body, timeout_s=timeout)

    def remove(self, name: str, timeout: float) -> None:
        """Stop and remove a container with its own volumes; not an error if another client does or did the same."""
        with contextlib.suppress(NotFoundError):
            try:
                self.engine.call("DELETE", f"/containers/{name}", params={"v": "1", "force": "1"}, timeout_s=timeout)
            except ConflictError as error:
                if "already in progress" not in str(error):
                    raise

    def put(self, name: str, folder: str, archive: Iterable[bytes], timeout: float) -> None:
        """Unpack a tar archive inside a container, running or not."""
        self.engine.call(
            "PUT",
            f"/containers/{name}/archive",
            params={"path": folder},
            content=archive,
            headers={"content-type": "application/x-tar"},
            timeout_s=timeout,
        )

    def file(self, name: str, path: str) -> bytes:
        """Return the content of a small file in a container.

        Raises:
            NotFoundError: The container or the file does not exist.
        """
        query = {"path": path}
        with self.engine.stream("GET", f"/containers/{name}/archive", params=query, bound=bounded.ANSWER) as pieces:
            data = b"".join(pieces)
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:  # the engine does not compress it
                member = tar.next()
                plain = member is not None and member.isreg() and not member.issparse()
                found = tar.extractfile(member) if member is not None and plain else None
                return found.read() if found is not None else b""
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            text = f"{path} of {name} cannot be read: the engine sent no whole archive ({error})"
            raise UnreadableError(text, provider=PROVIDER, operation="ReadFile", resource=name) from error

    def pipe(self, name: str, argv: list[str], timeout: float) -> Pipe:
        """Start a command inside a running container and return a connection to it."""
        return Pipe(self.engine, name, argv, timeout)

    def networks(self, timeout: float, *, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return the networks of this SDK, of all endpoints or of one."""
        wanted = ["mlport=1"] if endpoint is None else ["mlport=1", f"mlport-endpoint={endpoint}"]
        params = {"filters": json.dumps({"label": wanted})}
        found: list[dict[str, Any]] = self.engine.call("GET", "/networks", params=params, timeout_s=timeout)
        return found

    def remove_left_volumes(self, endpoint: str, timeout: float) -> None:
        """Remove the volumes of an endpoint whose containers were removed by hand; they hold its token."""
        filters = {"label": ["mlport=1", f"mlport-endpoint={endpoint}"], "dangling": ["true"]}
        found = self.engine.call("GET", "/volumes", params={"filters": json.dumps(filters)}, timeout_s=timeout)
        for one in found["Volumes"] or ():
            with contextlib.suppress(NotFoundError, ConflictError):
                self.engine.call("DELETE", f"/volumes/{one['Name']}", timeout_s=timeout)

    def lines(self, container: str, *, after: str = "", tail: int | None = None) -> list[tuple[str, str]]:
        """Return what a container wrote: the time of each line in the engine's format, and its text.

        Args:
            container: Name or id.
            after: The time of a line; only later lines are returned.
            tail: The number of last lines to return; ``None`` for all.
        """
        since = next_moment(after) if after else None
        stamped = self.engine.logs(container, tail=tail, since=since, stamped=True)
        return [(stamp, text) for stamp, _, text in (line.partition(" ") for line in stamped)]

    def events(self, label: str, *kinds: str, after: float) -> list[dict[str, Any]]:
        """Return the events of containers that the engine still remembers, oldest first.

        Args:
            label: A label of the containers, with its value.
            kinds: Kinds of the events.
            after: Unix seconds by the engine's clock.
        """
        until = max(after, self.time(time.time()))  # with a time in the future the engine would wait until then
        params = {
            "since": f"{after:.9f}",
            "until": f"{until:.9f}",
            "filters": json.dumps({"type": ["container"], "event": kinds, "label": [label]}),
        }
        with self.engine.stream("GET", "/events", params=params) as pieces:
            return [foreign.parse(line, "an event") for line in b"".join(pieces).splitlines()]


def pack(files: Mapping[str, bytes | None], owner: int) -> list[bytes]:
    """Return a tar archive that only ``owner`` can read; a name without content becomes a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.uid = info.gid = owner
            info.type, info.mode = (tarfile.DIRTYPE, 0o700) if data is None else (tarfile.REGTYPE, 0o600)
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return [buffer.getvalue()]


def seconds(stamp: str) -> float | None:
    """Convert a time of the engine to Unix seconds, ``None`` for its zero time.

    Example:
        >>> seconds("1970-01-01T00:00:01.500000000Z")
        1.5
    """
    if not stamp or stamp.startswith("0001"):
        return None
    return datetime.fromisoformat(stamp).timestamp()


def next_moment(stamp: str) -> str:
    """Return the time one nanosecond after a time of the engine, as Unix seconds with nine decimals.

    Example:
        >>> next_moment("1970-01-01T00:00:01.999999999Z")
        '2.000000000'
    """
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    nanoseconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9
    nanoseconds += int(fraction.ljust(9, "0")) + 1
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
