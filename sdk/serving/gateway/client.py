"""A client of a gateway on the same machine: starts it, sends it tables, and reads its state.

It uses only the standard library, is synchronous, and is safe to import anywhere.

Example:
    >>> from pathlib import Path
    >>> is_running(Path("/nonexistent"))
    False

"""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NO_LOCK = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
"""Errors of opening a lock file that mean that no process can hold the lock."""

_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

_LARGEST = 32 << 20  # bytes of an answer; metrics of 64 deployments are far below

ALREADY_RUNNING = 3
"""The exit code of a gateway whose folder has another gateway."""


class GatewayError(Exception):
    """Raised when a gateway refused a call, failed at it, or could not be reached.

    Attributes:
        status: HTTP status of the response, 0 without a response.
        code: The error code in one word; `unreachable` without a response.
        details: Further fields of the response, for example `log` and `last_exit` of a replica that failed.

    """

    def __init__(self, message: str, *, status: int = 0, code: str = "unreachable", details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details: dict[str, Any] = details or {}


class _ControlConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def call(
    folder: Path,
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    timeout: float = 30.0,
) -> dict[str, Any]:
    """Make one control call and return its JSON response.

    Args:
        folder: The gateway's folder.
        method: The method in the control protocol.
        path: The path in the control protocol.
        query: Parameters; those that are None are omitted.
        body: A JSON value.
        timeout: Maximum seconds without a byte of the response.

    Raises:
        GatewayError: The gateway is not running, or answered with an error.

    """
    given = urlencode({name: value for name, value in (query or {}).items() if value is not None})
    connection = _ControlConnection(folder / "control.sock", timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, f"{path}?{given}" if given else path, data)
        response = connection.getresponse()
        answer = _table(_parsed(response.read(_LARGEST + 1)))
        refusal = _refusal(answer, response.status) if response.status >= 400 else None
    except (OSError, http.client.HTTPException, ValueError, KeyError, RecursionError) as error:
        raise _unanswered(folder, error) from error
    finally:
        connection.close()
    if refusal is not None:
        raise refusal
    return answer


def _unanswered(folder: Path, error: Exception) -> GatewayError:
    return GatewayError(f"The gateway in {folder} gave no answer: {error!r}.")


def _parsed(data: bytes) -> Any:
    if len(data) > _LARGEST:
        raise ValueError(f"more than {_LARGEST} bytes")
    return json.loads(data)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # what arrived is wrong, not what a caller passed
    return cast("dict[str, Any]", value)


def _refusal(answer: dict[str, Any], status: int) -> GatewayError:
    details = _table(answer["error"])
    return GatewayError(str(details["message"]), status=status, code=str(details["code"]), details=details)


def status(folder: Path) -> dict[str, Any]:
    """Return the state of the endpoint."""
    return call(folder, "GET", "/status")


def metrics(folder: Path, *, window_s: float = 3600.0) -> dict[str, Any]:
    """Return counts and latency histograms of the last `window_s` seconds, by deployment."""
    return call(folder, "GET", "/metrics", query={"window": window_s})


def get_table(folder: Path) -> dict[str, Any] | None:
    """Return the table in force, or None before the first."""
    answer = call(folder, "GET", "/table")
    try:
        return None if answer["table"] is None else _table(answer["table"])
    except (KeyError, ValueError) as error:
        raise _unanswered(folder, error) from error


def put_table(
    folder: Path, table: Mapping[str, Any], *, timeout_s: float = 300.0, wait_drained: bool = False
) -> dict[str, Any]:
    """Put a table in force and return once it is; with `wait_drained`, once removed replicas have ended.

    Raises:
        GatewayError: `code` is `replica_failed`, `stale_generation`, `other_content`, `overtaken`, `bad_request`, ….

    """
    query = {"timeout_s": timeout_s, "wait_drained": int(wait_drained)}
    return call(folder, "PUT", "/table", query=query, body=table, timeout=timeout_s + 90.0)


def drain(folder: Path, *, timeout_s: float = 60.0) -> None:
    """Wait until every replica that was removed from the table has ended."""
    call(folder, "POST", "/drain", query={"timeout_s": timeout_s}, timeout=timeout_s + 10.0)


def logs(
    folder: Path,
    *,
    deployment: str | None = None,
    replica: str | None = None,
    tail: int | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return log lines as `{"lines": [{"replica", "text"}], "cursor"}`; pass the cursor to get the next lines."""
    query = {"deployment": deployment, "replica": replica, "tail": tail, "cursor": cursor}
    return call(folder, "GET", "/logs", query=query)


def stop(folder: Path, *, timeout_s: float = 60.0) -> bool:
    """Stop the gateway and its replicas; return True if one was running.

    Raises:
        GatewayError: The gateway still runs after `timeout_s`.

    """
    if not is_running(folder):
        return False
    deadline = time.monotonic() + timeout_s
    call(folder, "POST", "/stop", timeout=timeout_s)
    while is_running(folder):
        if time.monotonic() > deadline:
            raise GatewayError(f"The gateway in {folder} still runs after {timeout_s:g} s.", code="still_running")
        time.sleep(0.02)
    return True


def is_running(folder: Path) -> bool:
    """Return whether a gateway runs in the folder, by its lock."""
    path = folder / "gateway.lock"
    try:
        lock = os.open(path, _LOOK)
    except PermissionError:
        path.chmod(0o600)  # its mode was removed; only the owner can restore it
        lock = os.open(path, _LOOK)
    except OSError as error:
        if error.errno not in NO_LOCK:
            raise
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def ensure_gateway(
    folder: Path,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> dict[str, Any]:
    """Start a gateway in a folder that holds its token, unless one runs there, and return its status.

    The gateway is detached and outlives the caller. If several callers call this at once, one starts it and the others
    find it.

    Args:
        folder: The endpoint's folder, mode 0700.
        argv: The command up to and including `gateway`, then further options; `--dir` and `--detach` are appended.
        env: The gateway's environment; None passes on the caller's.
        timeout_s: Seconds until the gateway must answer.

    Raises:
        GatewayError: The gateway could not start; the message is the gateway's own.

    """
    deadline = time.monotonic() + timeout_s
    while True:
        if not is_running(folder):
            try:
                _start(folder, argv, env, timeout_s)
            except GatewayError:
                if not _answers(folder):  # a gateway that lost its lock answers, and takes it again
                    raise
        try:
            return status(folder)
        except GatewayError as error:
            if error.status or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _answers(folder: Path) -> bool:
    try:
        status(folder)
    except GatewayError:
        return False
    return True


def _start(folder: Path, argv: Sequence[str], env: Mapping[str, str] | None, timeout_s: float) -> None:
    command = [*argv, "--dir", str(folder), "--detach"]
    try:
        result = subprocess.run(  # noqa: S603 - the caller's own interpreter
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GatewayError(f"The gateway could not be started: {error}.", code="start_failed") from error
    if result.returncode not in {0, ALREADY_RUNNING}:
        message = result.stderr.decode("utf-8", "replace").strip()
        raise GatewayError(message or f"exit code {result.returncode}", code="start_failed")
