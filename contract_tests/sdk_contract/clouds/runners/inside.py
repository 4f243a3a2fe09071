"""The first process of what a mini cloud runs: prepares its view of the files, starts it, and ends with it.

Run as a script by any Python, without anything installed: ``python inside.py SPEC.json``. Its standard input is a pipe
that the mini cloud holds: when a byte arrives or the pipe closes, for example because the mini cloud died, everything
here is killed. The container is process 1 of a process namespace, so that none of its processes can survive.

How the view is made (``isolation`` of the spec):

* ``root``: mount and process namespaces, made by root;
* ``user``: the same inside a user namespace, for systems that allow that to all users;
* ``prefix``: no namespace; the container sees its folders under ``MLPORT_ROOT``, and the author of the spec has
  rewritten the paths in its arguments and environment.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 8, 32, 4096, 16384, 1 << 18
_PDEATHSIG = 1
_OWN = ("/proc",)  # mounted anew instead of bound from the host

_libc = ctypes.CDLL(None, use_errno=True)


def main(path: str, run: Callable[[dict[str, Any]], None] | None = None) -> int:
    """Run what the spec describes and return its exit code. ``run`` replaces ``exec``."""
    with open(path, encoding="utf-8") as file:
        spec: dict[str, Any] = json.load(file)
    isolation = spec["isolation"]
    if isolation != "prefix":
        _unshare(_NEWNS | _NEWPID | (_NEWUSER if isolation == "user" else 0), user=isolation == "user")
    child = os.fork()
    if child == 0:
        _child(spec, run)
    code = _watch(child)
    if isolation == "prefix":
        _end_group()
    return code


def _child(spec: dict[str, Any], run: Callable[[dict[str, Any]], None] | None) -> None:
    """Turn this process into the container."""
    try:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        if spec["isolation"] != "prefix":
            _enter(spec["root"], spec["binds"])
        os.chdir(spec["cwd"])
        if spec["user"] is not None and spec["isolation"] == "root":
            os.setgroups([])
            os.setgid(spec["user"])
            os.setuid(spec["user"])
        if run is not None:
            run(spec)
            os._exit(0)
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # running the image is the purpose
    except BaseException as error:  # noqa: BLE001  # no other process can report it
        sys.stderr.write(f"cannot start {' '.join(spec['argv'])}: {error}\n")
        sys.stderr.flush()
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _watch(child: int) -> int:
    """Forward SIGTERM, and wait until the container or the mini cloud ends."""

    def forward(number: int, _: object) -> None:
        _kill(child, number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, 0], [], [])
    if ended not in ready:
        _kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _end_group() -> None:
    """End the process group: without a process namespace, only the group connects the children."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGTERM)


# --- the view of the files --------------------------------------------------------------------------------------------


def _unshare(flags: int, *, user: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(flags), "unshare")
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _enter(root: str, binds: dict[str, str]) -> None:
    """Compose the host's files and the binds under ``root``, and make that the root folder."""
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID, "mode=755")
    _compose(root, "/", {path.strip("/"): source for path, source in binds.items()})
    os.makedirs(f"{root}/proc", exist_ok=True)
    _mount("proc", f"{root}/proc", "proc", _NOSUID | _NOEXEC)
    os.chroot(root)
    os.chdir("/")


def _compose(new: str, host: str, binds: dict[str, str]) -> None:
    """Bind everything of a host folder, with the given binds in it or over it."""
    inner: dict[str, dict[str, str]] = {}
    for path, source in binds.items():
        first, _, rest = path.partition("/")
        inner.setdefault(first, {})[rest] = source
    names = set(os.listdir(host)) if os.path.isdir(host) else set[str]()
    for name in sorted(names | set(inner)):
        here, there = os.path.join(host, name), os.path.join(new, name)
        below = inner.get(name, {})
        if here in _OWN:
            continue
        if "" in below:
            _bind(below.pop(""), there)
            if below:
                _inside(there, below)
        elif below:
            os.makedirs(there, exist_ok=True)
            _compose(there, here, below)
        elif os.path.islink(here):
            os.symlink(os.readlink(here), there)
        else:
            _bind(here, there)


def _inside(folder: str, binds: dict[str, str]) -> None:
    """Mount binds inside a bound folder, creating their folders if needed."""
    for path, source in binds.items():
        place = os.path.join(folder, path)
        if not os.path.isdir(place):
            os.makedirs(place)
        _mount(source, place, None, _BIND | _REC)


def _bind(source: str, place: str) -> None:
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
    try:
        _mount(source, place, None, _BIND | _REC)
    except OSError:
        if os.path.isdir(source):
            raise  # a socket or device of the host that cannot be shown is not needed


def _mount(source: str, place: str, kind: str | None, flags: int, data: str = "") -> None:
    given = (source.encode(), place.encode(), kind.encode() if kind else None, flags, data.encode())
    _check(_libc.mount(*given[:3], ctypes.c_ulong(flags), given[4]), f"mount {place}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
