"""Checks of what endpoints and jobs need from the engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.adapter.types import Check
from sdk.errors import SdkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._engine import Host
    from .options import DockerOptions

_CALL_S = 10.0
_ENOUGH = 5 * 2**30
_LIMITS = {"MemoryLimit": "memory", "CpuCfsQuota": "cpu", "PidsLimit": "processes"}


def checks(host: Host, options: DockerOptions) -> Iterator[Check]:
    """Run each check with a real call; stop after the first if the engine cannot be reached."""
    try:
        engine = host.engine
        spoken = engine.version
        info: dict[str, Any] = engine.call("GET", "/info", timeout_s=_CALL_S)
        ours = len(host.containers(_CALL_S))
    except SdkError as error:
        yield Check("engine", False, str(error), getattr(error, "hint", None))
        return
    yield Check("engine", True, f"{engine.about.get('Version')}, API {spoken}, {engine.platform}")
    yield Check("containers", True, f"{ours} of ours at {engine.address.host}")
    yield _system(info)
    yield _limits(info)
    if engine.address.is_here:
        yield from _space(Path(str(info.get("DockerRootDir") or "/")))
    way = "through the engine" if options.reach == "tunnel" or not engine.address.is_here else "by a port on 127.0.0.1"
    yield Check("predictions", True, f"reach an endpoint {way}")


def _system(info: Mapping[str, Any]) -> Check:
    kind = str(info.get("OSType"))
    hint = None if kind == "linux" else "switch the engine to Linux containers"
    return Check("system", hint is None, f"{info.get('OperatingSystem')}, {info.get('NCPU')} processors", hint)


def _limits(info: Mapping[str, Any]) -> Check:
    missing = [word for field, word in _LIMITS.items() if not info.get(field)]
    text = f"the engine cannot limit {', '.join(missing)}" if missing else "memory, cpu and processes can be limited"
    return Check("limits", not missing, text, "enable these cgroup controllers in the kernel" if missing else None)


def _space(folder: Path) -> Iterator[Check]:
    while not folder.exists():  # the engine's folder may not be visible to this user
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    hint = None if free > _ENOUGH else "free some with `docker system prune`"
    yield Check("disk", hint is None, f"{free / 2**30:.1f} GiB free for images and containers", hint)
