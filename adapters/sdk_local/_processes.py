"""Identification of this SDK's processes by a lock they hold or a mark in their environment, never by a stored pid."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import psutil

from sdk.serving.gateway.client import NO_LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MARK = "MLPORT_RUN"
"""Variable in the environment of every process of a replica or job, and of their child processes."""

OUTPUT = "MLPORT_OUTPUT_DIR"
"""Variable with the output folder of a job."""

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
"""Variable that restricts CUDA's libraries to the listed devices."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "HOME", "USER", "LOGNAME", "SSL_CERT_FILE")
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def is_free(lock: Path) -> bool:
    """Check whether a lock file is free; the system releases the lock when its holder dies, however it dies."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in NO_LOCK:
            raise
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def marked(mark: str) -> Iterator[psutil.Process]:
    """Yield the processes of this user that carry the mark."""
    for process in _own():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                yield process


def runner_of(folder: Path, runner: str) -> psutil.Process | None:
    """Return the runner of the job in this folder, found by what it runs, independently of its lock.

    Args:
        folder: The job's folder.
        runner: The file name of the runner's program.
    """
    for process in _own():
        with contextlib.suppress(psutil.Error, OSError):
            *_, program, argument = ["", "", *process.cmdline()]
            if argument == str(folder) and os.path.basename(program) == runner:  # noqa: PTH119  text, no path object
                return process
    return None


def marks_for(output: Path) -> set[str]:
    """Return the marks of the processes of a job with this output folder, independently of its record."""
    found: set[str] = set()
    for process in _own():
        with contextlib.suppress(psutil.Error, OSError):
            env = process.environ()
            if env.get(OUTPUT) == str(output):
                found.add(env.get(MARK, ""))
    return found - {""}


def _own() -> Iterator[psutil.Process]:
    """Yield the processes of this user."""
    own = os.getuid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == own:
                yield process


def marks_in(folder: Path) -> set[str]:
    """Return the marks of the servers that hold a lock in this folder, independently of the records."""
    found: set[str] = set()
    for process in _own():
        with contextlib.suppress(psutil.Error, OSError):
            if "mlport_serving" in process.cmdline():
                locks = (file.path for file in process.open_files() if file.path.endswith(".lock"))
                if any(os.path.dirname(lock) == str(folder) for lock in locks):  # noqa: PTH120  text, no path object
                    found.add(process.environ().get(MARK, ""))
    return found - {""}


def kill_marked(mark: str) -> int:
    """Kill every process that carries the mark, and return how many there were."""
    found = list(marked(mark))
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()  # psutil checks the start time first, so a reused pid is not killed
    psutil.wait_procs(found, timeout=5)
    return len(found)


def go_on(mark: str) -> None:
    """Resume suspended gateways that carry the mark, so that they answer the requests that wait for them."""
    for process in _stopped(mark):
        with contextlib.suppress(psutil.Error):
            process.resume()


def _stopped(mark: str) -> list[psutil.Process]:
    """Return the suspended gateways that carry the mark, keepers first."""
    found: list[psutil.Process] = []
    for process in marked(mark):
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_STOPPED and "gateway" in process.cmdline():
                found.append(process)
    return sorted(found, key=lambda one: one.create_time())


def kill_stopped(mark: str) -> None:
    """Kill suspended gateways that carry the mark, keepers first; leave running ones alone."""
    found = _stopped(mark)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)


def environment(
    given: Mapping[str, str], own: Mapping[str, str], cpu: float | None, gpus: Sequence[str] = ()
) -> dict[str, str]:
    """Return the whole environment of a model's process.

    It has, in this order: a short list of harmless variables of this process, so that no cloud key or agent socket is
    passed on; the variables of the deployment or job; mlport's own variables. Only reserved GPUs are visible; a process
    without reserved GPUs sees none, unless the variable was set for it.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    threads = {name: str(max(1, round(cpu))) for name in (*_THREADS, "MLPORT_THREADS")} if cpu else {}
    shown = {VISIBLE_GPUS: ",".join(gpus)}
    values = {"PATH": os.defpath, **passed, "PYTHONUNBUFFERED": "1", **threads, **shown, **given, **own}
    return {**values, **shown} if gpus else values
