"""Starts, measures and ends the processes of replicas.

A replica's processes are known by a lock they inherit, never by a pid alone: the lock is free exactly when the last
of them is gone, whatever became of the gateway that started them.
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

_OUTPUT = ".out"  # beside the lock: the named pipe that the replica prints into
_PR_SET_PDEATHSIG = 1
_LONGEST = 200  # bytes of a lock: a number and a fingerprint
_TRIES, _TRY_S = 10, 0.01  # who only looks whether a lock is free holds it for a moment
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)  # before the gateway raises its own
_LIBC = ctypes.CDLL(None)


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended."""

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
        """Give its exit code, negative for a signal, or None while it runs."""
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
        memory_bytes: What it may use.
        lock: Of a process that an earlier gateway started.

    """

    def __init__(
        self, process: _Process, output: int, *, started: float, memory_bytes: int | None, lock: Path | None = None
    ) -> None:
        self._process = process
        self._lock = lock
        self._limit = memory_bytes
        self._kills = _oom_kills()
        self._over = 0  # bytes in use when the process was ended for it
        self._stuck = ""
        self.output = output
        self.pid = process.pid
        self.started = started

    @classmethod
    def start(cls, replica: Replica, lock: Path, lifeline: Lifeline | None = None) -> Child:
        """Start the program of a replica; with a lifeline it outlives this gateway.

        Raises:
            OSError: It cannot be started.

        """
        spawn = replica.spawn
        assert spawn is not None  # noqa: S101 - for the type checker: the caller has asked
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
            with contextlib.suppress(OSError):  # a full disk: the next gateway cannot take it over, which is all
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
        """Take over the process that an earlier gateway started for this replica; None if there is none to be had.

        The number in the lock is believed only if that process leads a group and has lock and output open.
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
        """Tell how the process ended, or None while it runs; what it left running is killed."""
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
        """Ask the program to end."""
        self._process.terminate()

    def kill(self, reason: str) -> None:
        """End the program and all it started at once."""
        self._stuck = self._stuck or reason
        self.kill_group()

    def kill_group(self) -> None:
        """Kill the whole process group."""
        if self._lock is not None and self._process.poll() is not None and not is_alive(self._lock):
            return  # the keeper may have taken note of its end already, so that the number is free for another
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)

    def check_memory(self) -> None:
        """End the program if it uses more memory than it may."""
        used = usage(self.pid)[0] if self._limit is not None else None
        if used is not None and self._limit is not None and used > self._limit:
            self._over = used
            self.kill_group()


class _Adopted:
    """The first process of a replica that an earlier gateway started; the keeper is its parent now."""

    def __init__(self, pid: int, lifeline: Lifeline) -> None:
        self.pid = pid
        self._lifeline = lifeline
        self._handle = os.pidfd_open(pid)
        self._code: int | None = None
        lifeline.forget(pid)  # of an earlier process with this number

    def poll(self) -> int | None:
        """Give its exit code once it has ended."""
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
    """Open both ends of a named pipe; the writing end is a reading one too, so that writing to it never fails."""
    remove(path)
    os.mkfifo(path, 0o600)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return reading, os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _preparation(limits: ProcessLimits, parent: int, lifeline: Lifeline | None) -> Callable[[], None]:
    """Give what runs in the new process before the program: everything it needs is looked up here, before the fork."""
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
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # the gateway's death is the replica's
            if os.getppid() != parent:
                os._exit(1)
        for kind, value in values.items():
            resource.setrlimit(kind, value)
        if chosen:
            os.sched_setaffinity(0, chosen)

    return prepare


def _hold(path: Path) -> int:
    """Open and lock the file that the process is known by."""
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
    """Open and lock a file that other processes must not have, without changing it.

    Raises:
        OSError: Another process has it.

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
    """Tell whether a process holds the lock."""
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
    """Kill the processes a gateway that died has left behind; True when none holds the lock any more.

    What is killed is what has the lock open, and its process groups. The number that was written into the lock is not
    trusted: it may be damaged, or belong to another program by now.

    Args:
        lock: Of the replica.
        patience_s: Seconds until it is given up.
        waiting: Called again and again meanwhile.
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
    """Kill what earlier gateways of the same keeper started and no lock leads to, as somebody removed or replaced it.

    Args:
        lifeline: All replicas of the keeper have it open.
        kept: Locks of the replicas that were taken over.
        patience_s: Seconds until it is given up.
        waiting: Called again and again meanwhile.
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
    """Remove a file; a folder that has its name is set aside."""
    clear_way(path, lambda mode: not stat.S_ISDIR(mode))
    path.unlink(missing_ok=True)


def _holders(lock: Path) -> list[int]:
    """The other processes that have the lock open; without /proc the one that is written into it."""
    if not Path("/proc/self/fd").exists():
        return written_into(lock)
    return _openers(lock.stat())


def written_into(lock: Path) -> list[int]:
    """Give the number in a lock, if it has one."""
    return [int(one) for one in _content(lock).split()[:1] if one.isdecimal()]


def _content(lock: Path) -> str:
    with lock.open("rb") as file:
        return file.read(_LONGEST).decode("ascii", "replace")


def _openers(wanted: os.stat_result) -> list[int]:
    """The other processes that have a file open."""
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
    """Give resident bytes and CPU seconds of a process, None where the system has no /proc or the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize(), _stat(pid)[1]
    except (OSError, IndexError, ValueError):
        return None, None


def activity(pid: int) -> tuple[str, float]:
    """Give the state of a process, such as `S` for asleep, and its CPU seconds; a disk's wait without /proc."""
    try:
        return _stat(pid)
    except (OSError, IndexError, ValueError):
        return "D", 0.0


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal; not known without /proc."""
    return activity(pid)[0] == "T"


def _stat(pid: int) -> tuple[str, float]:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _oom_kills() -> int:
    """Count the processes the system has killed for want of memory since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
