"""Training jobs: each has a folder, and a runner process of its own that holds the folder's lock until it ends.

::

        STATE/jobs/NAME/           0700; completed under another name, then renamed
      job.json                 labels and spec
            runner.lock              held by the runner; free means that the job is over
            state.json               state of the job, replaced by the runner
            stop                     exists once the job was asked to stop
      log log.1                what the program wrote, each line with its time
      metrics.json             the last value of each metric
            work/                    the job's code, and its working folder
            output/                  the job's output
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sdk.adapter import Labels, Live, Ref, Resource
from sdk.adapter.shared.gateway_plan import JOB
from sdk.adapter.types import JobState, JobStatus, LogLine
from sdk.errors import ConflictError, NotFoundError
from sdk.packaging import bundle, disk, training, venv
from sdk.util import kept, scratch

from . import _runner
from ._errors import PROVIDER, translate
from ._folder import named_folders, publish, staging
from ._plan import PROGRAM
from ._processes import MARK, OUTPUT, environment, is_free, kill_marked, marks_for, runner_of
from ._rebuild import REBUILT
from ._records import DAMAGE, JobForm, OutcomeForm, Record, asides, damage_of, new_record, read_record, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


_LOST = "its runner was killed before it could say how the job went"
_NEVER = "it was never started: whoever submitted it died"
_RUNNER = Path(_runner.__file__)
_FOLLOW_S = 0.2
_LONGEST = 1 << 20  # bytes of a line
_STAMP = re.compile(r"\d{1,12}\.\d{3}", re.ASCII)


class Jobs:
    """The jobs of one state folder."""

    def __init__(self, state_dir: Path, owner: str) -> None:
        self.root = state_dir.resolve() / "jobs"
        self._owner = owner

    def names(self) -> Iterator[str]:
        """Yield the names of the existing jobs; remove what a crash left of deleted ones."""
        yield from named_folders(self.root)

    def submit(self, resource: Resource, launch: Callable[[Path], Mapping[str, Any]], now: float) -> None:
        """Create the folder and start the runner.

        The lock is taken before the folder gets its name, and is passed on to the runner, so no process ever sees a job
        that is neither running nor over.

        Args:
            resource: The desired job.
            launch: Returns what the runner needs to know, given the folder that the job will have.
            now: Unix seconds.

        Raises:
            ConflictError: A job of this name exists.
        """
        job = self.root / resource.id
        run = secrets.token_hex(16)
        record = new_record(resource, now, {"run": run})
        with translate("CreateJob", resource.id), staging(self.root) as staged:
            lock = os.open(staged / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                (staged / "output").mkdir(mode=0o700)
                (staged / "log").touch()
                disk.write_file(staged / "job.json", record.encode())
                publish(staged, job)
                _start_runner(job, lock, launch(job), run)
            except FileExistsError as error:
                facts: dict[str, Any] = {"provider": PROVIDER, "operation": "CreateJob", "resource": resource.id}
                raise ConflictError(f"there is a job {resource.id!r} already", **facts) from error
            finally:
                os.close(lock)

    def read(self, name: str, usd_per_hour: float | None = 0.0) -> Live | None:
        """Return the job as a resource: ready from the moment it is accepted, at no cost once it is over."""
        with translate("ReadJob", name):
            record = self._record(name)
        if record is None:
            return None
        status = self._outcome(name, record)
        over = JobState(status["state"]).finished
        return Live(
            JOB,
            name,
            "ready",
            raw=status["state"],
            spec=record.spec,
            labels=record.labels,
            etag=record.etag,
            created_at=record.created_at,
            parents=(Ref(PROGRAM, record.labels.model),),
            usd_per_hour=0.0 if over else usd_per_hour,
            reason=status["reason"],
        )

    def status(self, name: str, target: str, usd_per_hour: float | None, now: float) -> JobStatus | None:
        """Return the job's neutral status."""
        with translate("ReadJob", name):
            record = self._record(name)
        if record is None:
            return None
        outcome = self._outcome(name, record)
        started, ended = outcome["started_at"], outcome["ended_at"]
        hours = 0.0 if started is None else ((ended or now) - started) / 3600
        return JobStatus(
            name=name,
            target=target,
            provider=PROVIDER,
            state=JobState(outcome["state"]),
            raw=outcome["state"],
            reason=outcome["reason"],
            created_at=record.created_at,
            started_at=started,
            ended_at=ended,
            exit_code=outcome["exit_code"],
            usd=None if usd_per_hour is None else hours * usd_per_hour,
        )

    def _outcome(self, name: str, record: Record) -> dict[str, Any]:
        """Return the last outcome that the runner wrote; if it died without a final one, end the job's processes."""
        folder = self.root / name
        free = is_free(folder / "runner.lock")  # checked first: the outcome is written before the lock is released
        outcome: dict[str, Any] = {"state": "queued", "reason": None, "exit_code": None}
        outcome |= {"started_at": None, "ended_at": None}
        with translate("ReadJob", name):
            told = read_values(folder / "state.json", OutcomeForm)
            damaged = told is None and damage_of(folder / "state.json") if asides(folder / "state.json") else ""
        outcome |= {"state": "running"} if damaged else told or {}
        if free and not JobState(outcome["state"]).finished and self._is_over(folder):
            self._end_left_over(folder, record)
            reason = damaged or (_NEVER if outcome["state"] == "queued" else _LOST)
            outcome |= {"state": "failed", "reason": reason, "ended_at": _changed(folder)}
        if record.damage:
            outcome["reason"] = outcome["reason"] or record.damage
        return outcome

    def _record(self, name: str) -> Record | None:
        """Return the job's record, rebuilt if it is damaged; ``None`` if the job does not exist."""
        folder = self.root / name
        record = read_record(folder / "job.json", JobForm, name)
        if record is not None or not folder.is_dir():
            return record
        made = folder.stat().st_mtime
        path = folder / "job.json"
        return Record(Labels(name, self._owner, ""), {REBUILT: True}, made, {DAMAGE: damage_of(path)})

    @staticmethod
    def _is_over(folder: Path) -> bool:
        """Check whether the job has no runner; one without its lock file is found among the processes."""
        return is_free(folder / "runner.lock") and runner_of(folder, _RUNNER.name) is None

    @staticmethod
    def _end_left_over(folder: Path, record: Record) -> None:
        """End the processes that a dead runner left; without the record, their mark is taken from themselves."""
        run = record.extra.get("run")
        for mark in {str(run)} if run else marks_for(folder / "output"):
            kill_marked(mark)

    def stop(self, name: str) -> None:
        """Ask the runner to end the job; nothing happens if it is over.

        Raises:
            NotFoundError: The job does not exist.
        """
        self._existing(name, "StopJob")
        folder = self.root / name
        with translate("StopJob", name):
            try:
                (folder / "stop").touch(mode=0o600)
            except OSError as error:
                runner = runner_of(folder, _RUNNER.name)
                if error.errno != errno.ENOSPC or runner is None:
                    raise
                runner.terminate()  # a signal asks for the same, and needs no space

    def delete(self, name: str) -> None:
        """Remove a job that is over; one that runs is asked to stop, and the removal is refused for now.

        Raises:
            NotFoundError: The job does not exist.
            ConflictError: The job still runs; retryable.
        """
        self._existing(name, "DeleteJob")
        folder = self.root / name
        if not self._is_over(folder):
            self.stop(name)
            raise ConflictError(
                f"job {name!r} is being stopped",
                provider=PROVIDER,
                operation="DeleteJob",
                resource=name,
                retryable=True,
            )
        with translate("DeleteJob", name):
            record = self._record(name)
            if record is not None:
                self._end_left_over(folder, record)
            scratch.bury(folder)

    def output(self, name: str, directory: Path) -> None:
        """Copy the job's output."""
        self._existing(name, "ReadOutput")
        with translate("ReadOutput", name):
            shutil.copytree(self.root / name / "output", directory, dirs_exist_ok=True)

    def logs(self, name: str, *, follow: bool, tail: int | None, sleep: Callable[[float], None]) -> Iterator[LogLine]:
        """Yield the lines so far; with ``follow`` also later ones until the job is over."""
        self._existing(name, "ReadLogs")
        folder = self.root / name
        with _opened(folder / "log.1") as older, _opened(folder / "log") as file:
            lines = [*_read(older), *_read(file)]
            yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]
            while follow:
                over = self._is_over(folder)  # checked before the last read, so that no line is missed
                yield from _read(file)
                if over:
                    return
                sleep(_FOLLOW_S)

    def _existing(self, name: str, operation: str) -> None:
        if self._record(name) is None:
            raise NotFoundError(f"there is no job {name!r}", provider=PROVIDER, operation=operation, resource=name)


@dataclass(frozen=True, slots=True)
class Run:
    """The inputs and resources of a job's run.

    Args:
        data: The path of each data channel.
        given: Variables and secrets of the user.
        gpus: The devices reserved for the job.
        locks: The descriptors of the devices' locks, which the job holds until it ends.
        stop_s: Seconds between asking the job to end and killing it.
    """

    data: Mapping[str, Path]
    given: Mapping[str, str]
    gpus: Sequence[str]
    locks: Sequence[int]
    stop_s: float


def launch_spec(folder: Path, material: Record, resource: Resource, run: Run) -> dict[str, Any]:
    """Return what the runner needs to know about a job, following the contract of ``mlport_serving train``.

    The code is copied into the job's folder: scripts may write next to themselves, and the program must not change.
    """
    program = Path(str(material.extra["folder"]))
    manifest = bundle.verify(program)
    shutil.copytree(program / training.CODE, folder / "work", copy_function=shutil.copyfile)
    spec: Mapping[str, Any] = resource.spec or {}
    is_script = manifest.format == training.SCRIPT
    entry = folder / "work" / Path(manifest.entry).name if is_script else program / manifest.entry
    own = {
        "PYTHONPATH": str(venv.runtime()),
        "MLPORT_TRAIN_SCRIPT" if is_script else "MLPORT_TRAIN_FUNCTION": str(entry),
        "MLPORT_CODE_DIR": str(folder / "work"),
        OUTPUT: str(folder / "output"),
        "MLPORT_METRICS_FILE": str(folder / "metrics.json"),
        "MLPORT_PARAMS": json.dumps(spec["params"]),
        **{f"MLPORT_DATA_{channel.upper()}": str(path) for channel, path in run.data.items()},
    }
    memory = spec["memory_gib"]
    return {
        "argv": [str(material.extra["python"]), "-m", "mlport_serving", "train"],
        "env": environment(run.given, own, spec["cpu"], run.gpus),
        "cwd": str(folder / "work"),
        "timeout_s": spec["timeout_s"],
        "memory_bytes": int(memory * 2**30) if memory else None,
        "stop_s": run.stop_s,
        "locks": list(run.locks),
    }


def _start_runner(folder: Path, lock: int, launch: Mapping[str, Any], run: str) -> None:
    """Start the runner in a session of its own; it inherits the lock and holds it until it ends."""
    env = {**launch["env"], MARK: run}
    command = [sys.executable, "-I", str(_RUNNER), str(folder)]
    with (folder / "runner.err").open("wb") as errors:
        runner = subprocess.Popen(  # noqa: S603  our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            pass_fds=(lock, *launch["locks"]),
            start_new_session=True,
        )
    runner.communicate(json.dumps({**launch, "env": env}).encode())  # returns when the runner is in the background


def _changed(folder: Path) -> float:
    """Return when the job last wrote to its log, or when its folder last changed."""
    log = folder / "log"
    return (log if log.exists() else folder).stat().st_mtime


def _opened(path: Path) -> IO[bytes]:
    """Open a log, near its end if it is larger than any that a runner writes; empty if it is not a file."""
    try:
        file = kept.open_regular(path)
    except ValueError:
        file = None
    if file is None:
        return io.BytesIO()
    file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * _runner.LOG_BYTES))
    return file


def _read(file: IO[bytes]) -> Iterator[LogLine]:
    """Yield the complete lines from the file's current position; one longer than any that is written is cut."""
    while line := file.readline(_LONGEST):
        if not line.endswith(b"\n") and len(line) < _LONGEST:
            file.seek(-len(line), os.SEEK_CUR)
            return
        whole = line.decode("utf-8", "replace").rstrip("\n")
        stamp, _, text = whole.partition(" ")
        yield LogLine(float(stamp), text) if _STAMP.fullmatch(stamp) else LogLine(0.0, whole)
