"""Descriptions of how containers ended, read from the engine's events for those that were restarted since."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from sdk.adapter.types import LogLine
from sdk.serving.crashes import ending
from sdk.util import foreign

from . import _sound
from ._containers import ENDPOINT, KIND, SPEC
from ._plan import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._engine import Host


def how(code: int, *, memory_gib: float | None = None, out_of_memory: bool = False) -> str:
    """Describe how a container ended, from its exit code.

    Example:
        >>> how(139)
        'was killed by SIGSEGV'
        >>> how(137, memory_gib=0.5, out_of_memory=True)
        'was killed for using more than its 0.5 GiB of memory; set resources.memory_gib higher'
    """
    if out_of_memory:
        limit = f"{memory_gib:g} GiB of memory" if memory_gib else "memory"
        return f"was killed for using more than its {limit}; set resources.memory_gib higher"
    if code > 128 and code - 128 in set(signal.Signals):
        return f"was killed by {signal.Signals(code - 128).name}"
    return f"exited with code {code}"


def how_ended(about: Mapping[str, Any]) -> str:
    """Describe how a stopped container ended."""
    state = about["State"]
    gib = about.get("HostConfig", {}).get("Memory", 0) / 2**30
    return how(int(state["ExitCode"]), memory_gib=gib, out_of_memory=bool(state.get("OOMKilled")))


def endings(host: Host, endpoint: str, after: float) -> Iterator[LogLine]:
    """Yield the recorded terminations of an endpoint's replicas as lines of their log, oldest first.

    The engine forgets how a container ended when it restarts it, and keeps only its last few hundred events.
    """
    killed: set[str] = set()
    for event in host.events(f"{ENDPOINT}={endpoint}", "oom", "die", after=after):
        about: dict[str, str] = event["Actor"]["Attributes"]
        if about.get(KIND) != CONTAINER or SPEC not in about:
            continue
        container = str(event["Actor"]["ID"])
        if event["Action"] == "oom":
            killed.add(container)
            continue
        number = about["name"].rpartition("-")[2]
        deployment = _sound.deployment_of(about, about["name"])
        memory: float | None = foreign.parse(_sound.usable(about)[SPEC], f"the label {SPEC}").get("memory_gib")
        said = how(int(about["exitCode"]), memory_gib=memory, out_of_memory=container in killed)
        killed.discard(container)
        replica, at = f"{deployment}-{number}", int(event["timeNano"]) / 1e9
        yield LogLine(time=at, text=ending(replica, said, at), deployment=deployment, replica=replica)
