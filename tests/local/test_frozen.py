"""Gateways that stand still, keeper included: the next look lets them go on, and `delete` takes them away."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import psutil

from sdk.adapter.types import EndpointState
from sdk.client import Client
from sdk.serving.gateway import client as gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def stop_all(local: Any, name: str) -> list[int]:
    """Stop every process of an endpoint's gateway by a signal."""
    return stop(str(local.adapter._endpoints.folder(name).short))


def stop(folder: str) -> list[int]:
    found = [one for one in psutil.process_iter(["cmdline"]) if folder in (one.info["cmdline"] or [])]
    for process in sorted(found, key=lambda one: one.create_time()):  # the keeper first
        os.kill(process.pid, signal.SIGSTOP)
    assert 2 == len(found)
    return [process.pid for process in found]


def test_a_look_starts_what_stands_still(local: Any, name: str, times: Any) -> None:
    local.deploy(times(2), name)
    pids = stop_all(local, name)
    while EndpointState.READY != local.status(name).state:
        pass
    assert [[4.0]] == local.predict(name, [[2.0]])
    assert [] == [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() == "stopped"]


def test_what_stands_still_can_be_deleted(
    local: Any, name: str, times: Any, left_over: Callable[[str], list[str]]
) -> None:
    local.deploy(times(2), name)
    stop_all(local, name)
    local.delete(name)
    assert [] == left_over(name)


def test_a_predict_that_gets_no_answer_looks_and_is_answered_once(
    local: Any, state: Path, name: str, times: Any
) -> None:
    """Blocking and asynchronous."""
    settings = {"default": "local", "state_dir": str(state), "owner": "me"}
    with Client(settings, env={}) as client:
        client.deploy(times(2), name=name)
        folder = local.adapter._endpoints.folder(name).short
        stop(str(folder))
        assert [[4.0]] == client.predict(name, [[2.0]]).values
        stop(str(folder))
        assert [[6.0]] == asyncio.run(client.apredict(name, [[3.0]])).values
        (deployment,) = gateway.status(folder)["deployments"].values()
        assert [3] == [one["served"] for one in deployment["replicas"].values()]  # the first was the smoke test
