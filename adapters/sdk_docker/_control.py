"""A client of a gateway's control protocol, which runs over a command inside the gateway's container.

The command is started once and reused by the calls that follow: each of them then takes a millisecond.
"""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sdk.errors import ConflictError, PlatformError, UnavailableError, UnreadableError
from sdk.util import foreign
from sdk.util.bounded import Patience

from ._errors import PROVIDER
from ._pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.packaging.image.engine import Engine

_LARGEST = 64 << 20  # bytes of an answer
PIPE = ["python", "-P", "-m", "mlport_serving", "gateway", "pipe"]


class Control:
    """A client of the gateway of one endpoint.

    Args:
        engine: The engine that runs the gateway.
        container: The gateway's container.
        socket: Path of the control socket inside the container.
    """

    def __init__(self, engine: Engine, container: str, socket: str) -> None:
        self._engine = engine
        self._container = container
        self._command = [*PIPE, f"unix:{socket}"]
        self._pipe: Pipe | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the command is already running."""
        return self._pipe is not None

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        timeout: float,
    ) -> dict[str, Any]:
        """Make one call and return its answer.

        Raises:
            ConflictError: The call's condition does not hold.
            UnavailableError: The gateway gave no answer, or does not run.
            PlatformError: The gateway refused the call.
        """
        given = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path}{'?' if given else ''}{given} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(data)}"
        with self._lock, self._engine.watched(method, f"gateway {path}"):
            status, value = self._exchange(head.encode() + b"\r\n\r\n" + data, timeout)
        if status >= 400:
            told = value["error"]
            kind = ConflictError if status == 409 else PlatformError
            facts: dict[str, Any] = {"provider": PROVIDER, "operation": f"{method} {path}", "status": status}
            raise kind(f"the gateway in {self._container}: {told['message']}", **facts)
        return value

    def _exchange(self, request: bytes, timeout: float) -> tuple[int, dict[str, Any]]:
        try:
            if self._pipe is None:
                self._pipe = Pipe(self._engine, self._container, self._command, timeout)
            self._pipe.write(request, timeout)
            return _answer(self._pipe, timeout)
        except (TimeoutError, PlatformError, ValueError) as error:
            said = self._pipe.said if self._pipe else ""
            self._drop()
            message = f"the gateway in {self._container} gave no answer: {said or error or 'it took too long'}"
            raise UnavailableError(message, provider=PROVIDER, operation="control", resource=self._container) from error

    def _drop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(PlatformError, OSError):
                pipe.close()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()


def _answer(pipe: Pipe, timeout: float) -> tuple[int, dict[str, Any]]:
    """Read one HTTP answer; the gateway always sends its length."""
    data, patience = b"", Patience(timeout)
    while b"\r\n\r\n" not in data:
        data += _more(pipe, patience)
        if len(data) > _LARGEST:
            raise UnreadableError("the head of its answer has no end", provider=PROVIDER)
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(fields.get("content-length", "-"))
    if not 0 <= length <= _LARGEST:
        raise UnreadableError(f"its answer claims {length:,} bytes", provider=PROVIDER)
    while len(rest) < length:
        rest += _more(pipe, patience)
    value: dict[str, Any] = foreign.table(rest, "the gateway's answer")
    return int(lines[0].split(" ")[1]), value


def _more(pipe: Pipe, patience: Patience) -> bytes:
    data = pipe.read(patience.left)
    if not data:
        raise UnavailableError(pipe.said or "the connection ended", provider=PROVIDER)
    return data
