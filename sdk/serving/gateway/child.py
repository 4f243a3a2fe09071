"""Starts, measures and kills the processes of replicas.

A replica's processes are identified by a lock that they inherit, never by a pid alone: the lock is free exactly when
the last of them is gone, whatever happened to the gateway that started them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from .client import NO_LOCK
from .table import clear_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .lifeline import Lifeline
    from .table import ProcessLimits, Replica

UNKNOWN = 256
"""An exit code that no process can have."""

_OUTPUT = ".out"  # next to the lock: the named pipe for the replica's output
_PR_SET_PDEATHSIG = 1
_LONGEST = 200  # bytes of a lock file: a pid and a fingerprint
_TRIES, _TRY_S = 10, 0.01  # a check whether a lock is free holds it for a moment
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)  # before the gateway raises its own
_LIBC = ctypes.CDLL(None)


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """The way a process ended."""

    code: int | None
    signal: str | None
    out_of_memory: bool
    at: float
    reason: str


class _Process(Protocol):
    """The first process of a replica."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        ...

    def terminate(self) -> None:
        """Send it SIGTERM."""
        ...


class Child:
    """One running replica process and its group.

    Args:
        process: Its first process.
        output: The reading end of the program's standard output and error; the caller closes it.
        started: When it was started.
        memory_bytes: Its memory limit.
        lock: The lock of a process that an earlier gateway started.

    """

    def __init__(
        self, process: _Process, output: int, *, started: float, memory_bytes: int | None, lock: Path | None = None
    ) -> None:
        self._process = process
        self._lock = lock
        self._limit = memory_bytes
        self._kills = _oom_kills()
        self._over = 0  # bytes in use when the process was killed for exceeding its limit
        self._stuck = ""
        self.output = output
        self.pid = process.pid
        self.started = started

    @classmethod
    def start(cls, replica: Replica, lock: Path, lifeline: Lifeline | None = None) -> Child:
        """Start the program of a replica; with a lifeline it can outlive this gateway.

        Raises:
            OSError: The program cannot be started.

        """
        spawn = replica.spawn
        assert spawn is not None  # noqa: S101 - for the type checker: the caller has checked
        held = [_hold(lock)]
        output: int | None = None
        try:
            output, theirs = os.pipe() if lifeline is None else _lasting_pipe(lock.with_suffix(_OUTPUT))
            held += [theirs]
            held += (_taken(Path(one)) for one in spawn.locks)
            process = subprocess.Popen(  # noqa: S603 - the program is the owner's own model server
                spawn.argv,
                env=spawn.env,
                cwd=spawn.cwd,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                pass_fds=[one for one in held if one != theirs] + ([] if lifeline is None else [lifeline.end]),
                start_new_session=True,
                preexec_fn=_preparation(spawn.limits, os.getpid(), lifeline),  # noqa: PLW1509 - one thread here
            )
            with contextlib.suppress(OSError):  # a full disk: then the next gateway cannot take it over
                os.pwrite(held[0], f"{process.pid} {_fingerprint(replica)}\n".encode(), 0)
        except BaseException as error:
            if output is not None:
                os.close(output)
            if isinstance(error, subprocess.SubprocessError):
                raise OSError(errno.EINVAL, "its limits could not be set; the system may not allow so much") from error
            raise
        finally:
            for descriptor in held:
                os.close(descriptor)
        return cls(process, output, started=time.time(), memory_bytes=spawn.limits.memory_bytes)

    @classmethod
    def adopt(cls, replica: Replica, lock: Path, lifeline: Lifeline) -> Child | None:
        """Take over the process that an earlier gateway started for this replica; return None if that is impossible.

        The pid in the lock is trusted only if that process leads a group and has lock and output open.
        """
        try:
            number, fingerprint = _content(lock).split()
            pid = int(number)
            if fingerprint != _fingerprint(replica) or os.getpgid(pid) != pid or not is_alive(lock):
                return None
            output = os.open(lock.with_suffix(_OUTPUT), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, ValueError):
            return None
        try:
            if not _has_open(pid, lock.stat()) or not _has_open(pid, os.fstat(output)):
                raise ProcessLookupError(pid)
            process = _Adopted(pid, lifeline)
        except OSError:
            os.close(output)
            return None
        memory = replica.spawn.limits.memory_bytes if replica.spawn is not None else None
        return cls(process, output, started=lock.stat().st_mtime, memory_bytes=memory, lock=lock)

    def poll(self) -> Exit | None:
        """Return how the process ended, or None while it runs; after its end, kill the rest of its group."""
        code = self._process.poll()
        if code is None:
            return None
        self.kill_group()
        name = signal.Signals(-code).name if code < 0 else None
        oom = bool(self._over) or (name == "SIGKILL" and _oom_kills() > self._kills)
        return Exit(
            code=None if name or code == UNKNOWN else code,
            signal=name,
            out_of_memory=oom,
            at=time.time(),
            reason=self._reason(code, name, oom=oom),
        )

    def _reason(self, code: int, name: str | None, *, oom: bool) -> str:
        if self._over:
            return f"used {self._over} bytes of memory, more than its limit of {self._limit}"
        if self._stuck:
            return self._stuck
        if oom:
            return "killed by the system, which ran out of memory"
        if code == UNKNOWN:
            return "ended while the gateway was started again, and its exit code was lost"
        return f"killed by {name}" if name else f"exited with code {code}"

    def terminate(self) -> None:
        """Send the program SIGTERM."""
        self._process.terminate()

    def kill(self, reason: str) -> None:
        """Kill the program and all processes that it started."""
        self._stuck = self._stuck or reason
        self.kill_group()

    def kill_group(self) -> None:
        """Kill the whole process group."""
        if self._lock is not None and self._process.poll() is not None and not is_alive(self._lock):
            return  # the keeper may have reaped it already, so that the pid can belong to another process
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS reports EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)

    def check_memory(self) -> None:
        """Kill the program if it uses more memory than its limit."""
        used = usage(self.pid)[0] if self._limit is not None else None
        if used is not None and self._limit is not None and used > self._limit:
            self._over = used
            self.kill_group()


class _Adopted:
    """The first process of a replica that an earlier gateway started; its parent is now the keeper."""

    def __init__(self, pid: int, lifeline: Lifeline) -> None:
        self.pid = pid
        self._lifeline = lifeline
        self._handle = os.pidfd_open(pid)
        self._code: int | None = None
        lifeline.forget(pid)  # drop the status of an earlier process with this pid

    def poll(self) -> int | None:
        """Return its exit code once it has ended."""
        if self._handle >= 0 and select.select([self._handle], [], [], 0)[0]:
            code = self._lifeline.exit_code(self.pid)
            self._code = UNKNOWN if code is None else code
            os.close(self._handle)
            self._handle = -1
        return self._code

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._handle >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGTERM)


def _fingerprint(replica: Replica) -> str:
    return hashlib.sha256(msgspec.json.encode(replica, order="sorted")).hexdigest()


def _lasting_pipe(path: Path) -> tuple[int, int]:
    """Open both ends of a named pipe; the writing end can also read, so that writing never fails."""
    remove(path)
    os.mkfifo(path, 0o600)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return reading, os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _preparation(limits: ProcessLimits, parent: int, lifeline: Lifeline | None) -> Callable[[], None]:
    """Return the function that runs in the new process before the program; its data is computed before the fork."""
    cpus = sorted(os.sched_getaffinity(0)) if limits.cpus and sys.platform == "linux" else []
    first = time.monotonic_ns() % len(cpus) if cpus else 0
    chosen = {cpus[(first + step) % len(cpus)] for step in range(min(limits.cpus or 0, len(cpus)))}
    kinds = {resource.RLIMIT_DATA: limits.memory_bytes, resource.RLIMIT_FSIZE: limits.file_bytes}
    kinds[resource.RLIMIT_NOFILE] = limits.open_files
    values = {kind: (value, value) for kind, value in kinds.items() if value is not None}
    values.setdefault(resource.RLIMIT_NOFILE, _FILES)

    def prepare() -> None:
        if lifeline is not None:
            lifeline.tie()
        elif sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # the replica dies with the gateway
            if os.getppid() != parent:
                os._exit(1)
        for kind, value in values.items():
            resource.setrlimit(kind, value)
        if chosen:
            os.sched_setaffinity(0, chosen)

    return prepare


def _hold(path: Path) -> int:
    """Open and lock the file that identifies the process."""
    clear_way(path, stat.S_ISREG)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    os.truncate(fd, 0)
    return fd


def _taken(path: Path) -> int:
    """Open and lock a file for exclusive use, without changing its content.

    Raises:
        OSError: Another process holds the lock.

    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_S)
        else:
            return fd
    os.close(fd)
    raise OSError(errno.EBUSY, f"{path.stem} is in use by another process", str(path))


def is_alive(lock: Path) -> bool:
    """Return whether a process holds the lock."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in NO_LOCK:
            raise
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def kill_left_over(lock: Path, *, patience_s: float = 5.0, waiting: Callable[[], None] = lambda: None) -> bool:
    """Kill the processes that a dead gateway left; return True once none holds the lock.

    It kills the processes that have the lock open, and their process groups. The pid in the lock is not trusted: it
    may be damaged, or belong to another program by now.

    Args:
        lock: The lock of the replica.
        patience_s: Seconds after which to give up.
        waiting: Called repeatedly while waiting.
    """
    deadline = time.monotonic() + patience_s
    clear_way(lock, stat.S_ISREG)
    while is_alive(lock):
        for pid in _holders(lock):
            _kill_group_of(pid)
        if time.monotonic() > deadline:
            return False
        waiting()
        time.sleep(0.01)
    forget(lock)
    return True


def kill_strays(
    lifeline: Lifeline, kept: Iterable[Path], *, patience_s: float = 5.0, waiting: Callable[[], None] = lambda: None
) -> None:
    """Kill processes of earlier gateways of the same keeper whose lock file was removed or replaced.

    Args:
        lifeline: The lifeline of the keeper, which all its replicas have open.
        kept: Locks of the replicas that were taken over.
        patience_s: Seconds after which to give up.
        waiting: Called repeatedly while waiting.
    """
    deadline = time.monotonic() + patience_s
    known = {lifeline.keeper}.union(*(_holders(lock) for lock in kept))
    while (strays := set(_openers(os.fstat(lifeline.end))) - known) and time.monotonic() < deadline:
        for pid in strays:
            _kill_group_of(pid)
        waiting()
        time.sleep(0.01)


def forget(lock: Path) -> None:
    """Remove the files of a replica that has ended."""
    for name in (lock, lock.with_suffix(_OUTPUT), lock.with_suffix(".sock")):
        remove(name)


def remove(path: Path) -> None:
    """Remove a file; set aside a folder of its name."""
    clear_way(path, lambda mode: not stat.S_ISDIR(mode))
    path.unlink(missing_ok=True)


def _holders(lock: Path) -> list[int]:
    """Return the other processes that have the lock open; without /proc, the pid written into it."""
    if not Path("/proc/self/fd").exists():
        return written_into(lock)
    return _openers(lock.stat())


def written_into(lock: Path) -> list[int]:
    """Return the pid in a lock as a list, empty if there is none."""
    return [int(one) for one in _content(lock).split()[:1] if one.isdecimal()]


def _content(lock: Path) -> str:
    with lock.open("rb") as file:
        return file.read(_LONGEST).decode("ascii", "replace")


def _openers(wanted: os.stat_result) -> list[int]:
    """Return the other processes that have a file open."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if pid != os.getpid() and _has_open(pid, wanted)]


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                about = entry.stat()
                if (about.st_dev, about.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


def _kill_group_of(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group in {os.getpgrp(), 0}:
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(group, signal.SIGKILL)


def usage(pid: int) -> tuple[int | None, float | None]:
    """Return resident bytes and CPU seconds of a process; None without /proc or if the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize(), _stat(pid)[1]
    except (OSError, IndexError, ValueError):
        return None, None


def activity(pid: int) -> tuple[str, float]:
    """Return the state of a process, such as `S` for asleep, and its CPU seconds; `D` and 0 without /proc."""
    try:
        return _stat(pid)
    except (OSError, IndexError, ValueError):
        return "D", 0.0


def is_stopped(pid: int) -> bool:
    """Return whether a process was stopped by a signal; False without /proc."""
    return activity(pid)[0] == "T"


def _stat(pid: int) -> tuple[str, float]:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _oom_kills() -> int:
    """Count the processes that the system has killed for lack of memory since boot."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
