"""Checks of what endpoints and jobs need on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from typing import TYPE_CHECKING

from sdk.adapter.types import Check
from sdk.errors import SdkError
from sdk.packaging import disk, uvrun, venv
from sdk.util import scratch

from ._folder import Endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .options import LocalOptions

_ENOUGH = 2 * 2**30


def checks(state_dir: Path, options: LocalOptions) -> Iterator[Check]:
    """Run the checks; each tries the same operation that a deployment will perform."""
    yield _python()
    yield _writable(state_dir)
    yield _space(state_dir)
    yield _uv()
    yield _port(options.port)
    yield _runtime()
    yield _endpoints(state_dir)


def _python() -> Check:
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    ok = sys.version_info >= (3, 11) and sys.platform in {"linux", "darwin"}
    hint = None if ok else "use Python 3.11 or newer on Linux or macOS"
    return Check("python", ok, f"{version} on {sys.platform}", hint)


def _writable(state_dir: Path) -> Check:
    try:
        with scratch.file(disk.subfolder(state_dir)) as (_, file):
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, SdkError) as error:
        return Check("state folder", False, f"{state_dir}: {error}", "make it writable, or set MLPORT_STATE_DIR")
    return Check("state folder", True, f"{state_dir} is writable")


def _space(state_dir: Path) -> Check:
    free = shutil.disk_usage(state_dir if state_dir.exists() else state_dir.anchor).free
    hint = None if free >= _ENOUGH else "free some space: environments of big libraries take gigabytes"
    return Check("disk space", free >= _ENOUGH, f"{free / 2**30:.1f} GiB free", hint)


def _uv() -> Check:
    try:
        return Check("uv", True, f"version {uvrun.uv_version()}")
    except (SdkError, OSError, ImportError) as error:
        return Check("uv", False, str(error), "install it with: pip install uv")


def _port(port: int) -> Check:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            detail = f"127.0.0.1 port {port}: {error.strerror}"
            return Check("port", False, detail, "free it, or set port = 0 unless an endpoint of yours has it")
        return Check("port", True, f"can listen on 127.0.0.1, for instance on port {listener.getsockname()[1]}")


def _runtime() -> Check:
    try:
        return Check("model server", True, str(venv.runtime()))
    except (SdkError, OSError) as error:
        return Check("model server", False, str(error), "install mlport again")


def _endpoints(state_dir: Path) -> Check:
    """Check the endpoints by listing them."""
    try:
        names = list(Endpoints(state_dir).names())
    except OSError as error:
        return Check("endpoints", False, str(error), "make the state folder readable")
    return Check("endpoints", True, f"{len(names)} on this machine")
