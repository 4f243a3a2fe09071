"""Gateways that stand still, keeper included: the next look replaces them, and `delete` takes them away."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import psutil

from sdk.types import EndpointState

if TYPE_CHECKING:
    from collections.abc import Callable


def stop_all(local: Any, name: str) -> list[int]:
    """Stop every process of an endpoint's gateway by a signal."""
    folder = str(local.adapter._endpoints.folder(name).short)
    found = [one for one in psutil.process_iter(["cmdline"]) if folder in (one.info["cmdline"] or [])]
    for process in sorted(found, key=lambda one: one.create_time()):  # the keeper first
        os.kill(process.pid, signal.SIGSTOP)
    assert 2 == len(found)
    return [process.pid for process in found]


def test_a_look_replaces_what_stands_still(local: Any, name: str, times: Any) -> None:
    local.deploy(times(2), name)
    pids = stop_all(local, name)
    while EndpointState.READY != local.status(name).state:
        pass
    assert [[4.0]] == local.predict(name, [[2.0]])
    assert [] == [pid for pid in pids if psutil.pid_exists(pid)]


def test_what_stands_still_can_be_deleted(
    local: Any, name: str, times: Any, left_over: Callable[[str], list[str]]
) -> None:
    local.deploy(times(2), name)
    stop_all(local, name)
    local.delete(name)
    assert [] == left_over(name)
