"""The role `serve`: listens, loads the model, answers requests, and stops without losing a request.

Liveness succeeds as soon as the socket is bound, readiness once the model is loaded. On SIGTERM the server

1. answers readiness with 503 and `Connection: close`, and still takes requests, for `MLPORT_DRAIN_S` seconds;
2. accepts the connections that the kernel has already set up, then stops listening;
3. finishes running requests for at most `MLPORT_GRACE_S` seconds, answers the rest with 503, and exits with 0.

Exit codes: 0 stopped, 2 wrong settings or address, 3 bundle refused, 4 model not loadable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from . import collector
from .app import App
from .batches import Batches
from .bundle import Bundle, find, verify
from .defaults import DefaultAnswer
from .door import keep_out
from .failures import EXIT_LOAD, StartError
from .flavours import Predictor, load
from .guard import GuardedProtocol
from .logs import Log, LoggingHandler
from .parts import PYTHON
from .privileges import drop
from .scheduler import Scheduler
from .sealed import seal
from .settings import Bind, ServerSettings, from_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BACKLOG = 2048
_TICK_S = 0.5
_SUMMARY_S = 60.0
_POLL_S = 0.02
_HANDSHAKE_S = 0.05  # for connections that are half set up when new ones are blocked
_EXPORT_S = 2.0
_LATE_S = 1.0  # for connections whose request is in transit when listening ends
_leave: Callable[[int], NoReturn] = os._exit  # the original, since `crashes` replaces it later


def main(env: Mapping[str, str] | None = None) -> int:
    """Serve until a signal stops the server; return the exit code."""
    log = Log()
    try:
        settings = from_environment(os.environ if env is None else env)
        log = Log(settings.log_level, {"endpoint": settings.endpoint, "deployment": settings.deployment})
        bundle = find(settings.model_dirs)
        listener = bind(settings.bind)
        drop(settings.run_as, log)  # after what needs root: ports below 1024, reading all model folders
    except StartError as error:
        return _fail(log, error)
    logging.root.handlers = [LoggingHandler(log)]
    logging.root.setLevel(settings.log_level.upper())
    for noisy in ("uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    seal(bundle.folder)
    code = uvloop.run(_Server(settings, bundle, listener, log).run())
    log.flush()
    if settings.bind.path:
        with contextlib.suppress(OSError):  # its folder may belong to root
            Path(settings.bind.path).unlink(missing_ok=True)
    sys.stdout.flush()
    return _leave(code)  # a hung model's thread must not block the interpreter's shutdown


def _fail(log: Log, error: StartError) -> int:
    log.error("start_failed", message=error.message, mend=error.mend, exit_code=error.exit_code)
    log.flush()
    return error.exit_code


def bind(where: Bind) -> socket.socket:
    """Create the listening socket.

    Raises:
        StartError: the address is in use or not permitted.
    """
    try:
        if where.fd is not None:
            return socket.socket(fileno=where.fd)
        if where.path is not None:
            return _bind_path(where.path)
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((where.host, where.port))
    except OSError as error:
        shown = where.path or (f"descriptor {where.fd}" if where.fd is not None else f"{where.host}:{where.port}")
        raise StartError(
            f"cannot listen on {shown}: {os.strerror(error.errno or 0)}",
            mend="stop what listens there, or set MLPORT_BIND to another address",
        ) from error
    return listener


def _bind_path(path: str) -> socket.socket:
    if _is_stale(path):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    Path(path).chmod(0o600)
    return listener


def _is_stale(path: str) -> bool:
    """Return whether `path` is a socket without a listener."""
    if not (Path(path).exists() and stat.S_ISSOCK(Path(path).stat().st_mode)):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) != 0


class _Server:
    def __init__(self, settings: ServerSettings, bundle: Bundle, listener: socket.socket, log: Log) -> None:
        self._settings = settings
        self._bundle = bundle
        self._listener = listener
        self._log = log
        self._stop = asyncio.Event()
        self._force = False
        self._code = 0
        self._state = ServerState()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self._scheduler = self._make_scheduler(loop)
        self._app = App(self._settings, self._bundle, self._scheduler, self._log, self._default())
        self._factory = self._make_factory()
        server = await loop.create_server(self._factory, sock=self._listener, backlog=_BACKLOG)
        self._log.info("listening", address=_address(self._listener), model=self._bundle.manifest.name,
                       digest=self._bundle.digest, folder=str(self._bundle.folder))  # fmt: skip
        self._scheduler.start(self._load, self._on_loaded)
        ticker = loop.create_task(self._tick())
        await self._stop.wait()
        if self._code == 0:
            await self._drain(server)
        ticker.cancel()
        return self._code

    def _make_scheduler(self, loop: asyncio.AbstractEventLoop) -> Scheduler:
        manifest, limits, p95_ms = self._bundle.manifest, self._settings.limits, self._p95_ms()
        library = manifest.flavour not in PYTHON
        signature, most = manifest.signature, limits.max_batch
        batches = Batches(signature, most=most, p95_ms=p95_ms, clock=time.monotonic, library=library)
        return Scheduler(limits, loop, batches, on_loop=library)

    def _p95_ms(self) -> float:
        return self._settings.limits.p95_ms or float(self._bundle.manifest.options.get("p95_ms", 0.0))

    def _default(self) -> DefaultAnswer | None:
        """Return the default answer, which needs a latency objective."""
        manifest, p95_ms = self._bundle.manifest, self._p95_ms()
        if "default" not in manifest.options or not p95_ms:
            return None
        return DefaultAnswer(manifest.options["default"], manifest.signature, manifest.method, p95_ms / 1000)

    def _make_factory(self) -> Callable[[], GuardedProtocol]:
        config = Config(
            self._app,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        config.load()

        def connection() -> GuardedProtocol:
            protocol = GuardedProtocol(config, self._state, {})
            protocol.limits = self._settings.limits
            return protocol

        return connection

    def _load(self) -> Predictor:
        verify(self._bundle, expected_digest=self._settings.model_digest)
        manifest, settings = self._bundle.manifest, self._settings
        about = {"mlport.model": self._bundle.digest, "mlport.deployment": settings.deployment}
        self._app.tracing.start(os.environ, self._log, {"service.name": settings.endpoint or manifest.name, **about})
        return load(self._bundle)

    def _on_loaded(self, error: BaseException | None) -> None:
        if error is None:
            self._app.loaded = True
            collector.resume()
            self._log.info("ready")
            return
        if error.__cause__ is not None:
            self._log.error("load_trace", trace=error.__cause__)
        failure = (
            error
            if isinstance(error, StartError)
            else StartError(f"{type(error).__name__}: {error}", exit_code=EXIT_LOAD)
        )
        self._code = _fail(self._log, failure)
        self._stop.set()

    def _on_signal(self) -> None:
        self._force = self._stop.is_set()  # a second signal stops at once
        self._stop.set()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        summary = loop.time() + _SUMMARY_S
        while True:
            if loop.time() >= summary:
                self._app.summarise()
                summary += _SUMMARY_S
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            now = loop.time()
            for connection in self._connections():
                connection.sweep(now)
            await asyncio.sleep(_TICK_S)

    # Stopping

    async def _drain(self, server: asyncio.Server) -> None:
        self._app.draining = True
        self._log.info("draining", in_flight=self._app.metrics.in_flight)
        await self._wait(self._settings.limits.drain_s, lambda: False)
        await self._stop_listening(server)
        for connection in self._connections():
            connection.stop(force=False)
        await self._wait(_LATE_S, lambda: not any(one.receiving() for one in self._connections()))
        for connection in self._connections():
            if connection.receiving():
                connection.stop(force=True)
        await self._wait(self._settings.limits.grace_s, self._all_answered)
        rejected = self._scheduler.reject_all()
        await self._wait(_LATE_S, self._all_answered)
        self._app.summarise()
        await self._export_spans()
        self._log.info("stopped", rejected=rejected)

    async def _export_spans(self) -> None:
        """Export the spans that wait, but do not wait for a collector that does not answer."""
        exporting = threading.Thread(target=self._app.tracing.stop, daemon=True)
        exporting.start()
        await self._wait(_EXPORT_S, lambda: not exporting.is_alive())

    async def _stop_listening(self, server: asyncio.Server) -> None:
        """Close the listening socket; closing resets connections in its backlog, so those are accepted first."""
        if keep_out(self._listener):
            await asyncio.sleep(_HANDSHAKE_S)
        accepted: list[socket.socket] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted.append(self._listener.accept()[0])
        server.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._factory, connection)

    async def _wait(self, seconds: float, done: Callable[[], bool]) -> None:
        """Wait for `done`, by polling: an event per response would slow down every request."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and not self._force and not done():  # noqa: ASYNC110 - see above
            await asyncio.sleep(_POLL_S)

    def _connections(self) -> list[GuardedProtocol]:
        return [one for one in self._state.connections if isinstance(one, GuardedProtocol)]

    def _all_answered(self) -> bool:
        return not any(one.answering() for one in self._connections())


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"tcp:{name[0]}:{name[1]}"
