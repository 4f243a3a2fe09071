"""Starts the gateway: takes its lock, binds its sockets, goes to the background if asked to."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import socket
import stat
import sys
from pathlib import Path

import uvloop

from .addresses import ADDRESS, read_address
from .app import Gateway
from .control import Control
from .keeper import Heart, keep
from .table import TableError, clear_way, restore, save

_MIN_TOKEN = 16  # characters
_UNSENT = 128 * 1024  # bytes the kernel may hold of an answer beyond what is on its way to a client
_MAX_SOCKET = 100  # bytes of a socket path that fit everywhere


class StartError(Exception):
    """The gateway cannot start; the message says why and what to do."""

    exit_code = 2


class AlreadyRunning(StartError):
    """Another gateway holds the folder."""

    exit_code = 3


def run(argv: list[str]) -> int:
    """Run the gateway until it is told to stop, and return its exit code."""
    options = _parse(argv)
    try:
        lock = _take_lock(options.dir)
        token = _read_token(options)
        restore(options.dir / "table.json")
        clear_way(options.dir / "logs", stat.S_ISDIR)
        (options.dir / "logs").mkdir(mode=0o700, exist_ok=True)
        listener = _bind(options)
        control = _bind_control(options.dir)
    except (StartError, TableError, OSError) as error:
        sys.stderr.write(f"mlport gateway: {error}\n")
        return error.exit_code if isinstance(error, StartError) else 2
    if options.detach and not _detach(options.dir):
        return 0

    def serve(restarts: int, heart: Heart) -> None:
        gateway = Gateway(options.dir, listener, token=token, hosts=tuple(options.allow_host))
        gateway.beat = heart.beat
        gateway.restarts = restarts
        uvloop.run(_serve(gateway, control))

    try:
        keep(serve) if options.detach or os.environ.get("MLPORT_GATEWAY_KEEPER") == "1" else serve(0, Heart())
    finally:
        (options.dir / "control.sock").unlink(missing_ok=True)
        os.close(lock)
    return 0


async def _serve(gateway: Gateway, control: socket.socket) -> None:
    server = await asyncio.start_unix_server(Control(gateway).serve, sock=control)
    await gateway.run()
    server.close()


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mlport_serving gateway", description="Serve one endpoint.")
    parser.add_argument("--dir", type=Path, required=True, help="the endpoint's own folder, mode 0700")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes the one used before, or a free one")
    parser.add_argument("--auth", choices=["bearer", "none"], default="bearer", help="default: %(default)s")
    parser.add_argument("--token-file", type=Path, help="default: DIR/token")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME:PORT", help="accept this Host too")
    parser.add_argument("--detach", action="store_true", help="return once the sockets are bound, run on")
    return parser.parse_args(argv)


def _take_lock(folder: Path) -> int:
    try:
        mode = folder.stat()
    except FileNotFoundError:
        raise StartError(f"{folder} does not exist; make it with mode 0700") from None
    if mode.st_uid != os.geteuid() or stat.S_IMODE(mode.st_mode) & 0o077:
        raise StartError(f"{folder} must be yours alone; run chmod 700 on it")
    clear_way(folder / "gateway.lock", stat.S_ISREG)
    lock = os.open(folder / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise AlreadyRunning(f"a gateway already runs in {folder}") from None
    return lock


def _read_token(options: argparse.Namespace) -> str | None:
    if options.auth == "none":
        return None
    path = options.token_file or options.dir / "token"
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise StartError(f"{path} does not exist; write a random token there, or pass --auth none") from None
    if len(token) < _MIN_TOKEN or not token.isprintable() or " " in token:
        raise StartError(f"{path} must hold one token of at least {_MIN_TOKEN} characters")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StartError(f"{path} can be read by others; run chmod 600 on it")
    return str(token)


def _bind(options: argparse.Namespace) -> socket.socket:
    """Listen on the port asked for, else on the one this endpoint had before, else on a free one."""
    stored = options.dir / ADDRESS
    before = read_address(options.dir)
    port = options.port or (before["port"] if before.get("host") == options.host else 0)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # what is accepted inherits it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        listener.bind((options.host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {options.host} port {port}: {error.strerror}; "
        raise StartError(message + f"free the port, choose another one (setting `port`), or delete {stored}") from None
    clear_way(stored, stat.S_ISREG)
    address = {"host": options.host, "port": listener.getsockname()[1]}
    save(stored, json.dumps(address).encode())
    return listener


def _bind_control(folder: Path) -> socket.socket:
    path = folder / "control.sock"
    if len(os.fsencode(path)) > _MAX_SOCKET:
        raise StartError(f"{path} is longer than the {_MAX_SOCKET} bytes a socket path may have; use a shorter folder")
    clear_way(path, stat.S_ISSOCK)
    path.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        control.bind(str(path))
    finally:
        os.umask(before)
    control.listen(128)
    return control


def _detach(folder: Path) -> bool:
    """Go on in a process of its own session that outlives the caller's; False in the one the caller waits for."""
    if os.fork():
        return False
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(folder / "logs" / "gateway.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    return True
