"""Keeps one replica running and tracks whether it can answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..crashes import ending
from .child import Child, Exit, forget, is_stopped, remove, usage
from .logs import LogPipe, ReplicaLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from .backend import Backend
    from .lifeline import Lifeline
    from .table import GatewayLimits, Replica

_FIRST_PROBE_S = 0.02
_STARTING_S = 0.05  # until a replica is first ready; a pause delays its first response by half of it on average
_STEADY_S = 60.0  # a replica that ran this long has its failure count reset
_LOOPING = 3  # failures in a row
_STOPPED_S = 2.0  # a stopped process may be about to continue
_MISSES = 2  # consecutive health checks without an answer that make a replica unready


class ReplicaFailed(Exception):
    """Raised when a new replica ended or did not become ready in time."""

    def __init__(self, runner: Runner, reason: str) -> None:
        super().__init__(f"Replica {runner.replica.id} {reason}.")
        self.runner = runner


class Runner:
    """The supervisor of one replica: its process, if the gateway starts it, and its health.

    Args:
        replica: The replica in the table.
        health: Path that answers 200 if the replica is ready.
        backend: Receives the readiness for the data plane.
        limits: The limits of the table that added the replica; a later table in force replaces `limits`.
        folder: The gateway's own folder.
        changed: Called when readiness has changed.
        lifeline: The keeper's: with it, replica processes outlive this gateway, and those of earlier gateways are
            taken over.

    """

    def __init__(
        self,
        replica: Replica,
        health: str,
        backend: Backend,
        *,
        limits: GatewayLimits,
        folder: Path,
        changed: Callable[[], None],
        lifeline: Lifeline | None,
    ) -> None:
        self.replica = replica
        self.health = health
        self.backend = backend
        self.state = "starting"
        self.restarts = 0
        self.last_exit: Exit | None = None
        self.ready_at: float | None = None
        self.log = ReplicaLog(folder / "logs" / f"{replica.id}.log")
        self.child: Child | None = None
        self.lock = folder / f"b-{replica.id}.lock"
        self.limits = limits
        self._changed = changed
        self._lifeline = lifeline
        self._failures = 0
        self._misses = 0
        self._moved = asyncio.Event()  # set once ready or after the process ended, for `wait_ready`
        self._task: asyncio.Task[None] | None = None

    def adopt(self) -> bool:
        """Take over the process that an earlier gateway left; return whether there is one."""
        if self._lifeline is not None and self.replica.spawn is not None:
            self.child = Child.adopt(self.replica, self.lock, self._lifeline)
        return self.child is not None

    def start(self) -> None:
        """Start to run and watch the replica."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def wait_ready(self) -> None:
        """Wait until a new replica is ready.

        Raises:
            ReplicaFailed: The replica's process ended first.

        """
        await self._moved.wait()
        if not self.backend.ready and self.last_exit is not None:
            raise ReplicaFailed(self, self.last_exit.reason)

    async def stop(self) -> None:
        """End the replica with SIGTERM, and with SIGKILL once its time is over."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._note(ready=False)
        self.state = "stopping"
        child = self.child
        if child is not None:
            child.terminate()
            deadline = time.monotonic() + self.limits.stop_s
            while (exit_ := child.poll()) is None:
                if time.monotonic() > deadline:
                    child.kill("did not end when asked to")
                await asyncio.sleep(0.02)
            self.last_exit = exit_
            self.child = None
        self.state = "stopped"
        if self.replica.spawn is not None:
            self._unlink_socket()
            forget(self.lock)

    def status(self) -> dict[str, Any]:
        """Return the state of the replica as JSON-able values."""
        child = self.child
        rss, cpu = usage(child.pid) if child is not None else (None, None)
        return {
            "state": self.state,
            "ready": self.backend.ready,
            "address": self.replica.address,
            "pid": child.pid if child is not None else None,
            "started_at": child.started if child is not None else None,
            "ready_at": self.ready_at,
            "restarts": self.restarts,
            "last_exit": msgspec.to_builtins(self.last_exit),
            "inflight": self.backend.inflight,
            "served": self.backend.served,
            "rss_bytes": rss,
            "cpu_s": cpu,
            "log_bytes_lost": self.log.lost,
        }

    async def _run(self) -> None:
        if self.replica.spawn is None:
            await self._watch()
        while True:
            self.last_exit = await self._live()
            self._note(ready=False)
            self.ready_at = None
            self._moved.set()
            self._failures += 1
            self.restarts += 1
            self.state = "crash-loop" if self._failures >= _LOOPING else "backoff"
            await asyncio.sleep(self.limits.backoff_s * 2 ** min(self._failures - 1, 6))

    async def _live(self) -> Exit:
        """Run the program once, from its start to its end."""
        self.state = "starting"
        try:
            child = self.child or self._spawn()
        except (OSError, ValueError, MemoryError) as error:
            reason = f"could not be started: {error}"
            self._print(f"mlport: {reason}\n".encode())
            return Exit(code=None, signal=None, out_of_memory=False, at=time.time(), reason=reason)
        self.child = child
        pipe = os.fdopen(child.output, "rb", buffering=0)  # the transport owns it from now on
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: LogPipe(self._print, self.backend.suspect.set), pipe
        )
        try:
            await self._watch()
            exit_ = child.poll()
            assert exit_ is not None  # noqa: S101 - for the type checker: `_watch` ends with the process
            await asyncio.sleep(0)  # let the last lines come through the pipe
            self._print(f"{ending(self.replica.id, exit_.reason, exit_.at)}\n".encode())
            self.child = None
            return exit_
        finally:
            transport.close()

    def _spawn(self) -> Child:
        self._unlink_socket()
        return Child.start(self.replica, self.lock, self._lifeline)

    def _print(self, data: bytes) -> None:
        self.log.write(data, limit=self.limits.log_bytes)

    async def _watch(self) -> None:
        """Check health until the process has ended; forever if the gateway does not run the process."""
        started, pause = time.monotonic(), _FIRST_PROBE_S
        healthy = running = started
        while True:
            self.backend.suspect.clear()
            if self._ended():
                return
            answer = await self._probe()
            now = time.monotonic()
            self._misses = 0 if answer is not None else self._misses + 1
            healthy = now if answer else healthy
            self._note(ready=answer if answer is not None else self.backend.ready and self._misses < _MISSES)
            if self.ready_at is not None and now - started > _STEADY_S:
                self._failures = 0
            limits = self.limits
            running = running if self.child is not None and is_stopped(self.child.pid) else now
            if self.child is not None and now - running > _STOPPED_S:
                self.child.kill("was stopped and did not go on")
            if self.child is not None and now - healthy > (limits.start_s if self.ready_at is None else limits.stuck_s):
                self.child.kill("did not become ready in time" if self.ready_at is None else "stopped answering")
            pause = min(pause * 1.5, _STARTING_S) if self.ready_at is None else limits.probe_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.backend.suspect.wait(), pause)

    def _ended(self) -> bool:
        if self.child is None:
            return False
        self.child.check_memory()
        return self.child.poll() is not None

    def _note(self, *, ready: bool) -> None:
        backend = self.backend
        if ready and self.ready_at is None:
            self.ready_at = time.time()
        if self.state != "draining":
            self.state = "ready" if ready else ("starting" if self.ready_at is None else "unready")
        if ready != backend.ready:
            backend.ready = ready
            self._changed()
        if ready:
            self._moved.set()

    async def _probe(self) -> bool | None:
        """Check the replica's health: True or False by its response, None without a response in time."""
        try:
            async with asyncio.timeout(2 * self.limits.probe_s):
                return await self._ask()
        except TimeoutError:
            return None
        except (OSError, EOFError):
            return False

    async def _ask(self) -> bool:
        target = self.backend.target
        if isinstance(target, str):
            reader, writer = await asyncio.open_unix_connection(target)
        else:
            reader, writer = await asyncio.open_connection(*target)
        try:
            writer.write(f"GET {self.health} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            line = await reader.readline()
        finally:
            writer.close()
        return line.split(b" ", 2)[1:2] == [b"200"]

    def _unlink_socket(self) -> None:
        if isinstance(self.backend.target, str):
            remove(Path(self.backend.target))
