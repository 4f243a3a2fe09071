"""Which processes are ours: known by a lock they hold or a mark in their environment, never by a remembered pid."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MARK = "MLPORT_RUN"
"""Variable in the environment of every process of a replica or job, and of whatever those start."""

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
"""Variable that tells CUDA's libraries which devices there are."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "HOME", "USER", "LOGNAME", "SSL_CERT_FILE")
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def is_free(lock: Path) -> bool:
    """Whether nobody holds this lock file; the system lets go of it when its holder dies, however it dies."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
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
    """The processes of this user that carry the mark."""
    own = os.getuid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == own and process.environ().get(MARK) == mark:
                yield process


def marks_in(folder: Path) -> set[str]:
    """The marks of the servers that hold a lock of this folder, whatever is written down about them."""
    found: set[str] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and "mlport_serving" in process.cmdline():
                locks = (file.path for file in process.open_files() if file.path.endswith(".lock"))
                if any(os.path.dirname(lock) == str(folder) for lock in locks):  # noqa: PTH120  text, no path object
                    found.add(process.environ().get(MARK, ""))
    return found - {""}


def kill_marked(mark: str) -> int:
    """Kill every process that carries the mark, and say how many there were."""
    found = list(marked(mark))
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()  # looks at the start time first, so that a reused pid is left alone
    psutil.wait_procs(found, timeout=5)
    return len(found)


def go_on(mark: str) -> None:
    """Let the gateways that carry the mark and were stopped by a signal go on: what waits for them is answered."""
    for process in _stopped(mark):
        with contextlib.suppress(psutil.Error):
            process.resume()


def _stopped(mark: str) -> list[psutil.Process]:
    """The stopped gateways that carry the mark, keepers first."""
    found: list[psutil.Process] = []
    for process in marked(mark):
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_STOPPED and "gateway" in process.cmdline():
                found.append(process)
    return sorted(found, key=lambda one: one.create_time())


def kill_stopped(mark: str) -> None:
    """Kill the gateways that carry the mark and were stopped by a signal, keepers first; others go on as they are."""
    found = _stopped(mark)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)


def environment(
    given: Mapping[str, str], own: Mapping[str, str], cpu: float | None, gpus: Sequence[str] = ()
) -> dict[str, str]:
    """The whole environment of a model's process.

    A short list of harmless variables is passed on from ours, so that no cloud key or agent socket gets in; then
    what the deployment or job was given, and last what mlport itself says. It shows the GPUs that were reserved and no
    others; what has reserved none sees none, unless it was given the variable.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    threads = {name: str(max(1, round(cpu))) for name in (*_THREADS, "MLPORT_THREADS")} if cpu else {}
    shown = {VISIBLE_GPUS: ",".join(gpus)}
    values = {"PATH": os.defpath, **passed, "PYTHONUNBUFFERED": "1", **threads, **shown, **given, **own}
    return {**values, **shown} if gpus else values
