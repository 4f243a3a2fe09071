"""A connection to a command inside a container: writes go to its input, reads come from its output."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import httpcore

from sdk.errors import UnavailableError, UnreadableError
from sdk.util.bounded import Patience

from ._errors import PROVIDER

if TYPE_CHECKING:
    from contextlib import ExitStack

    from sdk.packaging.image.engine import Engine

_HEADER = struct.Struct(">BxxxL")
_BLOCK = 64 * 1024
_STDERR = 2
_LARGEST_FRAME = 16 << 20  # an engine splits what a command writes into pieces of 32 KiB


class Pipe:
    """A connection to one running command.

    Args:
        engine: The engine that runs the container.
        container: The container's name or id.
        argv: The command; it must end when its input ends.
        timeout: Seconds allowed for starting it.

    Raises:
        NotFoundError: The container does not exist.
        ConflictError: The container does not run.
    """

    def __init__(self, engine: Engine, container: str, argv: list[str], timeout: float) -> None:
        attach = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
        path = f"/containers/{container}/exec"
        made = engine.call("POST", path, json={**attach, "Cmd": argv}, timeout_s=timeout)
        opened: tuple[ExitStack, Any] = engine.upgrade(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False})
        self._stack, self._stream = opened
        self._raw = b""
        self._said = b""

    def write(self, data: bytes, timeout: float) -> None:
        """Write to the command's input.

        Raises:
            UnavailableError: The connection to the command was lost.
        """
        try:
            self._stream.write(data, timeout=timeout)
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
            raise self._lost(error) from error

    def read(self, timeout: float) -> bytes:
        """Return the next piece of the command's output, empty when the command has ended.

        Raises:
            TimeoutError: No output came in time.
            UnavailableError: The connection to the engine was lost.
        """
        patience = Patience(timeout)
        while True:
            frame = self._frame()
            if frame is not None:
                kind, data = frame
                if kind != _STDERR:
                    return data
                self._said = (self._said + data)[-2000:]
                continue
            try:
                more: bytes = self._stream.read(_BLOCK, timeout=patience.left)
            except httpcore.TimeoutException as error:
                raise TimeoutError from error
            except (httpcore.NetworkError, OSError) as error:
                raise self._lost(error) from error
            if not more:
                return b""
            self._raw += more

    def _frame(self) -> tuple[int, bytes] | None:
        """Return the next of the frames in which an engine wraps a command's output, ``None`` until it is complete."""
        if len(self._raw) < _HEADER.size:
            return None
        kind, size = _HEADER.unpack_from(self._raw)
        if size > _LARGEST_FRAME:
            raise UnreadableError(f"the engine sends a frame of {size:,} bytes", provider=PROVIDER)
        end = _HEADER.size + size
        if len(self._raw) < end:
            return None
        data, self._raw = self._raw[_HEADER.size : end], self._raw[end:]
        return kind, data

    def _lost(self, error: Exception) -> UnavailableError:
        said = self.said or str(error) or type(error).__name__
        return UnavailableError(f"the connection into the container was lost: {said}", provider=PROVIDER)

    @property
    def said(self) -> str:
        """The end of the command's standard error, at most 2,000 bytes as read so far."""
        return self._said.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Close the input, which ends the command."""
        self._stack.close()
