"""Starts the gateway: takes its lock, binds its sockets, and detaches if requested.

While the gateway runs, it checks its lock and its control socket; a `Claim` restores them if they are removed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from .addresses import ADDRESS, read_address
from .app import Gateway
from .claim import CONTROL, MAX_SOCKET, Claim, Taken
from .control import Control
from .keeper import Heart, keep
from .table import TableError, clear_way, restore, save

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .lifeline import Lifeline

    Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_MIN_TOKEN = 16  # characters
_UNSENT = 128 * 1024  # maximum unsent bytes of a response in the kernel's buffer
_LOOK_S = 0.5
_GIVE_UP = 10  # consecutive checks without the folder, or with another gateway in it, which ends if it cannot serve


class GatewayStartError(Exception):
    """Raised when the gateway cannot start; the message states the reason and the remedy."""

    exit_code = 2


class AlreadyRunning(GatewayStartError):
    """Raised when another gateway holds the folder."""

    exit_code = 3


def run(argv: list[str]) -> int:
    """Run the gateway until it is stopped, and return its exit code."""
    options = _parse(argv)
    try:
        claim = _claim(options.dir)
        token = _read_token(options)
        restore(options.dir / "table.json")
        clear_way(options.dir / "logs", stat.S_ISDIR)
        (options.dir / "logs").mkdir(mode=0o700, exist_ok=True)
        listener = _bind(options)
        claim.bind()
    except (GatewayStartError, TableError, OSError) as error:
        sys.stderr.write(f"mlport gateway: {error}\n")
        return error.exit_code if isinstance(error, GatewayStartError) else 2
    if options.detach and not _detach(options.dir):
        return 0

    def serve(restarts: int, heart: Heart, lifeline: Lifeline | None) -> None:
        gateway = Gateway(options.dir, listener, token=token, hosts=tuple(options.allow_host))
        gateway.beat = heart.beat
        gateway.restarts = restarts
        gateway.lifeline = lifeline
        uvloop.run(_serve(gateway, claim))

    try:
        keep(serve) if options.detach or os.environ.get("MLPORT_GATEWAY_KEEPER") == "1" else serve(0, Heart(), None)
    finally:
        claim.release()
    return 0


async def _serve(gateway: Gateway, claim: Claim) -> None:
    serve = Control(gateway).serve
    server = await asyncio.start_unix_server(serve, sock=claim.control)
    watch = asyncio.get_running_loop().create_task(_watch(gateway, claim, serve))
    await gateway.run()
    watch.cancel()
    server.close()
    claim.unlink()


async def _watch(gateway: Gateway, claim: Claim, serve: Answers) -> None:
    """Restore lock and control socket if they are removed; stop if the folder is gone, or another gateway holds it."""
    missed, servers = 0, list[asyncio.Server]()
    while missed < _GIVE_UP:
        try:
            missed = 0 if claim.holds() else missed + 1
            if missed == 0 and not claim.is_reachable():
                servers.append(await asyncio.start_unix_server(serve, sock=claim.bind()))
        except FileNotFoundError:
            missed += 1  # without its folder no client finds the gateway, and so none could stop it
        except OSError:
            missed = 0  # a full disk, for instance: nothing can be restored now
        await asyncio.sleep(_LOOK_S)
    gateway.stop()


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


def _claim(folder: Path) -> Claim:
    try:
        mode = folder.stat()
    except FileNotFoundError:
        raise GatewayStartError(f"{folder} does not exist; make it with mode 0700") from None
    if mode.st_uid != os.geteuid() or stat.S_IMODE(mode.st_mode) & 0o077:
        raise GatewayStartError(f"{folder} must be yours alone; run chmod 700 on it")
    control = folder / CONTROL
    if len(os.fsencode(control)) > MAX_SOCKET:
        raise GatewayStartError(
            f"{control} is longer than the {MAX_SOCKET} bytes a socket path may have; use a shorter folder"
        )
    try:
        return Claim(folder)
    except Taken:
        raise AlreadyRunning(f"a gateway already runs in {folder}") from None


def _read_token(options: argparse.Namespace) -> str | None:
    if options.auth == "none":
        return None
    path = options.token_file or options.dir / "token"
    if options.token_file is None:
        clear_way(path, stat.S_ISREG)
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise GatewayStartError(f"{path} does not exist; write a random token there, or pass --auth none") from None
    if len(token) < _MIN_TOKEN or not token.isprintable() or " " in token:
        raise GatewayStartError(f"{path} must hold one token of at least {_MIN_TOKEN} characters")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise GatewayStartError(f"{path} can be read by others; run chmod 600 on it")
    return str(token)


def _bind(options: argparse.Namespace) -> socket.socket:
    """Listen on the requested port, else on the one that this endpoint had before, else on a free one."""
    stored = options.dir / ADDRESS
    clear_way(stored, stat.S_ISREG)
    before = read_address(options.dir)
    port = options.port or (before["port"] if before.get("host") == options.host else 0)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # accepted sockets inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        listener.bind((options.host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {options.host} port {port}: {error.strerror}; "
        raise GatewayStartError(
            message + f"free the port, choose another one (setting `port`), or delete {stored}"
        ) from None
    address = {"host": options.host, "port": listener.getsockname()[1]}
    save(stored, json.dumps(address).encode())
    return listener


def _detach(folder: Path) -> bool:
    """Continue in a child process with its own session; return False in the parent, which the caller waits for."""
    if os.fork():
        return False
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    clear_way(folder / "logs" / "gateway.log", stat.S_ISREG)
    log = os.open(folder / "logs" / "gateway.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    return True
