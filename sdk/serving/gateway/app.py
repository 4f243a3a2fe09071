"""The gateway as a whole: accepts tables, supervises replicas, and serves until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import signal
import stat
import time
from typing import TYPE_CHECKING, Any

import msgspec

from .backend import Backend, Route
from .child import kill_left_over, kill_strays, usage
from .downstream import Connection, Door
from .exchange import Plane
from .gate import Gate
from .records import Records
from .router import Router
from .runner import ReplicaFailed, Runner
from .stats import Stats
from .table import GatewayLimits, Table, clear_way, encode, restore, save

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from .lifeline import Lifeline

_BACKLOG = 2048
_FILES = 16 * 1024  # file descriptors to request: two per request, and those below
_OWN_FILES = 64  # for listeners, logs and the control socket
_LAST_CALL_S = 0.05  # connections being set up when the gateway is stopped are still answered
_KEPT_STATS = 64  # number of deployments, live or removed, whose counts are kept
_FAILURE_LINES = 50  # log lines kept with the failure of a table
_KEPT_LOGS = 32  # number of replicas, running or ended, whose logs are kept


class Conflict(Exception):
    """Raised for a table that may not replace the present one."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Gateway:
    """The gateway of one endpoint.

    Args:
        folder: The gateway's own folder, mode 0700.
        listener: The bound public socket.
        token: The bearer token that clients must send; None for an open endpoint.
        hosts: Additional values of the Host header to accept.

    """

    def __init__(self, folder: Path, listener: socket.socket, *, token: str | None, hosts: tuple[str, ...]) -> None:
        self.folder = folder
        self.since = time.time()
        self.table: Table | None = None
        self.stats: dict[str, Stats] = {}
        self.runners: dict[str, Runner] = {}
        self.retiring: dict[str, asyncio.Task[None]] = {}
        self.records = Records(folder / "records")
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self.has_token = token is not None
        self.restarts = 0
        self.lifeline: Lifeline | None = None  # the keeper's, if the gateway has a keeper
        self.beat: Callable[[], None] = lambda: None  # signals the keeper that the loop runs
        limits = GatewayLimits()
        self.router = Router()
        self.plane = Plane(self.router, limits)
        gate = Gate(token=token, port=self.address[1], hosts=hosts, limits=limits)
        self.door = Door(self.plane, gate, most=max(1, (_raise_file_limit() - _OWN_FILES) // 2))
        self._listener = listener
        self._stop = asyncio.Event()
        self._applying: tuple[Table, asyncio.Task[None]] | None = None
        self._failure: dict[str, Any] | None = None
        """Why the last table was not put in force, for callers that did not wait; None once a table is in force."""

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`, then end all replicas and close the listener."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self._restore()
        server = await loop.create_server(lambda: Connection(self.door), sock=self._listener, backlog=_BACKLOG)
        ticker = loop.create_task(self._tick())
        gc.collect()
        gc.freeze()  # the present objects stay: collections can skip them
        await self._stop.wait()
        self.plane.draining = True
        await asyncio.sleep(_LAST_CALL_S)
        server.close()
        self.door.close_idle()
        await self._drain()
        ticker.cancel()
        if self._applying is not None:
            self._applying[1].cancel()
        await asyncio.gather(*(runner.stop() for runner in self.runners.values()), *self.retiring.values())

    def stop(self) -> None:
        """Request the gateway to stop."""
        self._stop.set()

    async def _drain(self) -> None:
        deadline = time.monotonic() + self.plane.limits.drain_s
        while any(connection.exchange is not None for connection in self.door.connections):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        for connection in list(self.door.connections):
            connection.end()

    async def _tick(self) -> None:
        while True:
            limits = self.plane.limits
            shortest = min(limits.header_s, limits.body_s, limits.idle_s, limits.write_s, limits.response_s)
            await asyncio.sleep(max(0.02, min(0.25, shortest / 4)))
            self.beat()
            self.door.sweep()
            for stats in self.stats.values():
                stats.tick()

    # -- table

    def _restore(self) -> None:
        """Serve the last acknowledged table again, and take over replicas of an earlier gateway that still match it."""
        table = restore(self.folder / "table.json")
        runners = list(self._add(table).values()) if table is not None else []
        for lock in self.folder.glob("b-*.lock"):
            clear_way(lock, stat.S_ISREG)
        adopted = {runner.lock for runner in runners if runner.adopt()}
        for lock in set(self.folder.glob("b-*.lock")) - adopted:
            kill_left_over(lock, waiting=self.beat)
        if self.lifeline is not None:
            kill_strays(self.lifeline, adopted, waiting=self.beat)
        if table is not None:
            for runner in runners:
                runner.start()
            self._swap(table)
            self.plane.waiting.hope()

    def _readiness(self) -> None:
        """Apply a change in a replica's readiness to the routing and the waiting requests."""
        before = self.router.ready
        self.router.refresh()
        if self.router.ready < before:
            self.plane.waiting.hope()
        self.plane.waiting.retry()

    def renumber(self, table: Table) -> Table:
        """Return the table with the next generation; with the newest one if that has the same content."""
        newest = self._applying[0] if self._applying is not None else self.table
        if newest is None:
            return msgspec.structs.replace(table, generation=1)
        same = msgspec.structs.replace(table, generation=newest.generation)
        return same if same == newest else msgspec.structs.replace(table, generation=newest.generation + 1)

    async def apply(self, table: Table, *, timeout_s: float | None = None) -> None:
        """Put a table in force once its new replicas are ready; until then, and if they fail, the present one holds.

        Raises:
            Conflict: The generation is not newer, was overtaken, or a replica id is taken.
            ReplicaFailed: A new replica did not become ready.
            OSError: The table could not be written to disk.

        """
        while self._applying is not None:
            coming, task = self._applying
            if table.generation <= coming.generation and table != coming:
                raise Conflict("stale_generation", f"Generation {coming.generation} is being put in force.")
            if table == coming:
                break
            task.cancel()
            await asyncio.wait([task])
        if self._applying is None:
            if self._is_in_force(table):
                return
            task = asyncio.get_running_loop().create_task(self._apply(table, timeout_s))
            task.add_done_callback(self._applied)
            self._applying = table, task
        task = self._applying[1]
        await asyncio.wait([task])
        if task.cancelled():
            raise Conflict("overtaken", f"Generation {table.generation} was overtaken by a newer one.")
        task.result()

    def _is_in_force(self, table: Table) -> bool:
        present = self.table
        if present is None or table.generation > present.generation:
            return False
        if table == present:
            return True
        if table.generation == present.generation:
            raise Conflict("other_content", f"Generation {table.generation} is in force with other content.")
        message = f"Generation {table.generation} is older than {present.generation}, which is in force."
        raise Conflict("stale_generation", message)

    def _applied(self, task: asyncio.Task[None]) -> None:
        self._applying = None
        if not task.cancelled():
            task.exception()  # retrieved here; the waiting caller raises it

    async def _apply(self, table: Table, timeout_s: float | None) -> None:
        added = self._add(table)
        try:
            for runner in added.values():
                runner.start()
            await _all_ready(list(added.values()), timeout_s or table.limits.start_s)
            self._store(table, only_removes=not added)
        except BaseException as error:
            for name in added:
                self._retire(name)
            if isinstance(error, ReplicaFailed):
                failed = {**error.runner.status(), "log": error.runner.log.tail(_FAILURE_LINES)}
                about = {"replica": error.runner.replica.id, "deployment": error.runner.backend.route.name}
                self._failure = {"generation": table.generation, "message": str(error), **about, **failed}
            raise
        self._failure = None
        self._swap(table)

    def _store(self, table: Table, *, only_removes: bool) -> None:
        """Store the table; without disk space, accept one that only removes replicas all the same."""
        try:
            save(self.folder / "table.json", encode(table))
        except OSError as error:
            if not only_removes or error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise

    def _add(self, table: Table) -> dict[str, Runner]:
        """Create runners for the new replicas of a table and return them."""
        added: dict[str, Runner] = {}
        for name, deployment in table.deployments.items():
            route = self._route(name)
            for replica in deployment.replicas:
                runner = self.runners.get(replica.id)
                if replica.id in self.retiring:
                    raise Conflict("replica_draining", f"Replica {replica.id} is still ending; use a new id.")
                if runner is None:
                    backend = Backend(replica.id, replica.address, route)
                    added[replica.id] = Runner(
                        replica,
                        deployment.health,
                        backend,
                        limits=table.limits,
                        folder=self.folder,
                        changed=self._readiness,
                        lifeline=self.lifeline,
                    )
                elif (runner.replica, runner.health, runner.backend.route) != (replica, deployment.health, route):
                    raise Conflict("replica_changed", f"Replica {replica.id} runs with other content; use a new id.")
        self.runners.update(added)
        return added

    def _route(self, name: str) -> Route:
        present = self.router.routes.get(name)
        if present is not None:
            return present
        if name not in self.stats:
            self.stats[name] = Stats()
        while len(self.stats) > _KEPT_STATS:
            del self.stats[next(other for other in self.stats if other not in self.router.routes and other != name)]
        return Route(name, self.stats[name])

    def _swap(self, table: Table) -> None:
        """Route by the table from the next request on, and retire the replicas that it does not name."""
        self.table = table
        self.plane.limits = table.limits
        self.door.gate.use(table.limits)
        wanted = {replica.id for deployment in table.deployments.values() for replica in deployment.replicas}
        self.router.use(table.deployments, {name: runner.backend for name, runner in self.runners.items()})
        self.plane.waiting.retry()
        for name, runner in list(self.runners.items()):
            runner.limits = table.limits
            if name not in wanted:
                self._retire(name)

    def _retire(self, name: str) -> None:
        runner = self.runners.pop(name)
        task = asyncio.get_running_loop().create_task(self._end(name, runner))
        self.retiring[name] = task

    async def _end(self, name: str, runner: Runner) -> None:
        runner.state = "draining"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runner.backend.empty(), self.plane.limits.drain_s)
        await runner.stop()
        del self.retiring[name]
        self._prune_logs()

    def _prune_logs(self) -> None:
        logs = sorted((self.folder / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        kept = {"gateway", *self.runners, *self.retiring}
        gone = [path for path in logs if path.stem not in kept]
        for path in gone[: max(0, len(logs) - _KEPT_LOGS)]:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".1").unlink(missing_ok=True)

    async def drained(self) -> None:
        """Wait until every removed replica has ended."""
        while self.retiring:
            await asyncio.wait(list(self.retiring.values()))

    # -- inspection

    def status(self) -> dict[str, Any]:
        """Return the state of the endpoint as JSON-able values."""
        table = self.table
        rss, cpu = usage(os.getpid())
        deployments = table.deployments if table is not None else {}
        return {
            "schema": 1,
            "generation": table.generation if table is not None else 0,
            "applying": self._applying[0].generation if self._applying is not None else None,
            "failure": self._failure,
            "since": self.since,
            "now": time.time(),
            "last_request_at": max((stats.last_active() or 0.0 for stats in self.stats.values()), default=0.0) or None,
            "address": {"host": self.address[0], "port": self.address[1]},
            "auth": "bearer" if self.has_token else "none",
            "ready": self.router.able,
            "draining": self.plane.draining,
            "deployments": {
                name: {
                    "weight": deployment.weight,
                    "inflight": sum(self.runners[replica.id].backend.inflight for replica in deployment.replicas),
                    "replicas": {replica.id: self.runners[replica.id].status() for replica in deployment.replicas},
                    "since": self.stats[name].since,
                    **self.stats[name].total().report(),
                }
                for name, deployment in deployments.items()
            },
            "retiring": sorted(self.retiring),
            "gateway": {
                "pid": os.getpid(),
                "restarts": self.restarts,
                "connections": len(self.door.connections),
                "requests": self.plane.requests,
                "retries": self.plane.retries,
                "refusals": dict(sorted(self.door.refusals.items())),
                "rss_bytes": rss,
                "cpu_s": cpu,
            },
        }

    def metrics(self, window_s: float) -> dict[str, Any]:
        """Return the counts of the last `window_s` seconds for every known deployment, live or removed."""
        live = self.router.routes
        return {
            "window_s": window_s,
            "now": time.time(),
            "since": self.since,
            "deployments": {
                name: {"live": name in live, **stats.window(window_s).report()} for name, stats in self.stats.items()
            },
        }


def _raise_file_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _FILES if soft == resource.RLIM_INFINITY else soft


async def _all_ready(runners: list[Runner], timeout_s: float) -> None:
    """Wait until all replicas are ready; raise :class:`ReplicaFailed` if one fails or the time is over."""
    if not runners:
        return
    tasks = [asyncio.create_task(runner.wait_ready()) for runner in runners]
    try:
        done, late = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
    if late:
        runner = runners[tasks.index(late.pop())]
        raise ReplicaFailed(runner, f"was not ready after {timeout_s:g} s")
