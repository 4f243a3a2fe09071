"""The verbs for training jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from ..adapter import Capability, JobSpec, Labels, Materials
from ..adapter.types import JobStatus
from ..errors import ConfigError, NotFoundError, PackagingError
from ..executor import TRANSFER_S, Event
from ..executor.change import Change
from ..packaging.model import Model
from ..util.names import check_name, suggest_name
from ..util.paths import expand
from ..util.waiting import Poll
from .apply_change import change_deadline, redacted_lines, redacting_errors
from .base import ClientBase, deadline_of, seconds_of
from .comparison_inputs import Listed
from .job import Job
from .resolve import RequestedSettings, check_secrets, resolve
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Unpack

    from ..adapter.types import Json, LogLine, Resources
    from ..executor import Plan
    from ..packaging.packing import Packing
    from .resolve import ResolvedSettings
    from .session import Session

_JOB_S = 86_400.0
_LONGEST_PAUSE_S = 30.0


class TrainArguments(TypedDict, total=False):
    """The arguments of a training job; see :meth:`TrainVerbs.train`."""

    name: str | None
    data: Mapping[str, str | Path] | str | Path | None
    params: Mapping[str, Json] | None
    requirements: str | Path | Iterable[str] | None
    build_from_source: Iterable[str]
    resources: Resources | Mapping[str, float] | None
    instance: str | None
    env: Mapping[str, str] | None
    secrets: Mapping[str, str] | Iterable[str] | None
    tags: Mapping[str, str] | None
    target: str | None
    wait: bool
    timeout: str | float | None


class TrainVerbs(ClientBase):
    """The verb ``train``, and the operations behind the handle of a job."""

    @overload
    def train(
        self, script: str | Path | Callable[..., Any], *, dry_run: Literal[True], **how: Unpack[TrainArguments]
    ) -> Plan: ...
    @overload
    def train(
        self, script: str | Path | Callable[..., Any], *, dry_run: Literal[False] = False, **how: Unpack[TrainArguments]
    ) -> Job: ...
    def train(
        self,
        script: str | Path | Callable[..., Any],
        *,
        name: str | None = None,
        data: Mapping[str, str | Path] | str | Path | None = None,
        params: Mapping[str, Json] | None = None,
        requirements: str | Path | Iterable[str] | None = None,
        build_from_source: Iterable[str] = (),
        resources: Resources | Mapping[str, float] | None = None,
        instance: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | Iterable[str] | None = None,
        tags: Mapping[str, str] | None = None,
        target: str | None = None,
        wait: bool = True,
        timeout: str | float | None = None,
        dry_run: bool = False,
    ) -> Job | Plan:
        """Run a training script or function on a target, in the same kind of environment that will serve its model.

        Args:
            script: Path of a ``.py`` file, or a function. It gets its inputs, parameters and output folder as arguments
                and environment variables; see the training contract in the documentation.
            name: The name of the job; by default that of the script, with a suffix that makes it unique.
            data: Inputs by name: a path, or a URI that the target can read. A single input is called ``train``.
            params: Parameters: plain values by name.
            requirements: Packages (a list, or a requirements file) in addition to those that the code imports.
            build_from_source: Packages without a wheel whose authors you trust to run code on this machine.
            resources: As in :meth:`deploy`, like the following.
            instance: The instance type, as the platform names it.
            env: Plain environment variables of the job.
            secrets: Secret variables of the job.
            tags: Your own tags, put on the job in addition to those of the target.
            target: The target in the configuration.
            wait: ``False`` returns as soon as the job is submitted.
            timeout: Seconds, or text such as ``"2h"``, after which the job is stopped; one day by default.
            dry_run: Return the plan and submit nothing.

        Raises:
            TrainFailed: The job failed (non-zero exit, out of memory, timeout, no output); the error has the reason and
                the last log lines.
            UnsupportedError: The target does not support the request; raised before any call.

        Example:
            >>> job = sdk.train("train.py", data={"train": "train.csv"}, params={"C": 0.5})
            >>> job.metrics
            {'rows': 2, 'C': 0.5}
        """
        session = self.session(target)
        with redacting_errors(session):
            session.trains()
            txn = session.new_txn()
            name = check_name(_job_name(script, txn) if name is None else name, what="job")
            order = resolve(
                session, RequestedSettings(env, secrets, None, resources, instance, tags, None), usage="training"
            )
            check_secrets(session, order, self._secrets, "training")
            job = _job(
                script,
                name=name,
                labels=Labels(endpoint=name, owner=session.owner, txn=txn),
                order=order,
                packing=_packing(requirements, build_from_source),
                timeout_s=seconds_of(timeout, _JOB_S),
                data=_data(data),
                params=_params(params or {}),
            )

            plan = session.executor.plan(Change("train", name, txn, job=job, new=name, notes=order.notes))
            if dry_run:
                return plan
            if not plan.changes:
                note = f"job {name!r} ran before with the same content and is not run again; another name would run it"
                session.tell(Event("note", note))
            materials = Materials(job=job, secret=self._secrets, progress=session.uploading)
            applied = session.executor.apply(plan, materials, deadline=change_deadline(session, None))
        status = applied.status if isinstance(applied.status, JobStatus) else None
        handle = Job(self, name, session.target, status=status)
        return _awaited(handle) if wait else handle

    def job(self, name: str, *, target: str | None = None) -> Job:
        """Return the handle of a training job, without checking whether the job exists."""
        return Job(self, check_name(name, what="job"), self.session(target).target)

    def job_status(self, name: str, *, target: str | None = None) -> JobStatus:
        """Return the current status of a job.

        Raises:
            NotFoundError: The job does not exist.
        """
        session = self.session(target)
        with redacting_errors(session):
            trains, deadline = session.trains(), session.deadline(READ_S)
            status = session.call(lambda left: trains.job_status(name, timeout=left), deadline)
            if status is None:
                raise NotFoundError(
                    f"there is no job {name!r} on target {session.target!r}", operation="status", resource=name
                )
            return status

    def await_job(self, name: str, *, target: str | None = None, timeout: str | float | None = None) -> JobStatus:
        """Wait until a job has ended, successfully or not, and return its status.

        Raises:
            TimedOut: The job takes longer; it continues to run.
        """
        session = self.session(target)
        with redacting_errors(session):
            deadline = deadline_of(session, timeout, _JOB_S)
            first = float(getattr(session.adapter, "poll_s", 1.0))
            poll = Poll(session.clock, deadline, first_s=first, random=session.random, longest_s=_LONGEST_PAUSE_S)
            while not (status := self.job_status(name, target=target)).state.finished:
                poll.pause(f"job {name!r}", state=status.state)
            return status

    def stop_job(self, name: str, *, target: str | None = None) -> None:
        """Request the stop of a job.

        Raises:
            NotFoundError: The job does not exist.
        """
        session = self.session(target)
        with redacting_errors(session):
            session.require(Capability.STOP_JOB, "stopping a job")
            self.job_status(name, target=target)
            session.trains().stop_job(name, timeout=READ_S)

    def hourly_usd(self, job: Job) -> float | None:
        """Return the list price of a job in US dollars per hour; 0 if nothing is billed, ``None`` if unknown."""
        session = self.session(job.target)
        row = Listed(session, job.status.instance).row("training")
        return 0.0 if not session.adapter.service_host().billed else row.usd_per_hour if row else None

    def job_logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, target: str | None = None
    ) -> Iterator[LogLine]:
        """Return the log lines of a job; with ``follow``, also wait for new ones."""
        session = self.session(target)
        with redacting_errors(session):
            return redacted_lines(session, session.trains().job_logs(name, follow=follow, tail=tail))

    def job_output(self, name: str, directory: str | Path, *, target: str | None = None) -> Path:
        """Copy the output of a job into an empty directory.

        Raises:
            ConfigError: The directory is not empty.
            NotFoundError: The job left no files; an empty directory would look like a copy of them.
        """
        session = self.session(target)
        folder = expand(directory, field="directory")
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", hint="name a new directory")
        folder.mkdir(parents=True, exist_ok=True)
        with redacting_errors(session):
            session.trains().job_output(name, folder, timeout=TRANSFER_S)
            if not any(folder.iterdir()):
                raise NotFoundError(
                    f"job {name!r} left no files",
                    provider=session.provider,
                    operation="output",
                    resource=name,
                    hint="wait until it has ended; it has to write its files to MLPORT_OUTPUT_DIR",
                )
        return folder

    def ran_script(self, name: str, *, target: str | None = None) -> bool:
        """Check whether a job ran a script, whose model may be a pickle; true if this machine does not know it."""
        from ..packaging import training

        session = self.session(target)
        with redacting_errors(session):
            try:
                return training.load(_program_of(session, name)).manifest.format != training.FUNCTION
            except PackagingError:
                return True

    def job_result(self, name: str, *, target: str | None = None, as_name: str | None = None, **about: Any) -> Model:
        """Return the model that a job wrote, packed with the lock and code of the job; see :meth:`sdk.Job.result`."""
        from ..packaging import disk, training

        session = self.session(target)
        with redacting_errors(session), disk.staging(session.state_dir) as work:
            program = training.load(_program_of(session, name))
            output = self.job_output(name, work / "output", target=target)
            model_name = check_name(as_name or name, what="model")
            manifest, folder = training.result(program, output, name=model_name, **about)
            return Model(manifest.name, manifest.digest, folder, manifest)


def _awaited(job: Job) -> Job:
    """Wait for a job and return it; Ctrl-C ends only the waiting, and its traceback says how to stop the job."""
    try:
        return job.wait()
    except KeyboardInterrupt as stop:
        stop.add_note(f"job {job.name!r} runs on; stop it with sdk.job({job.name!r}, target={job.target!r}).stop()")
        raise


def _program_of(session: Session, name: str) -> str:
    """Return the digest of the program that a job ran, from the labels of the job."""
    lives = session.call(lambda left: list(session.adapter.list(timeout=left)), session.deadline(READ_S))
    kinds = session.adapter.kinds
    for live in lives:
        if live.labels and live.labels.endpoint == name and live.labels.model and kinds[live.kind].root:
            return live.labels.model
    raise NotFoundError(f"there is no job {name!r} on target {session.target!r}", resource=name, operation="result")


def _params(params: Mapping[str, Json]) -> Mapping[str, Json]:
    """Refuse parameters that cannot be written as JSON, and names that not every platform takes.

    Raises:
        ConfigError: Names the parameter.
    """
    for name, value in params.items():
        if not name or not name.isprintable():
            raise ConfigError(f"params: {name!r} is not a name", hint="use printable characters")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"params: {name} = {value!r} cannot be written as JSON: {error}",
                hint="use text, finite numbers, true, false, null, lists and tables",
            ) from error
    return params


def _job(
    script: str | Path | Callable[..., Any],
    *,
    name: str,
    labels: Labels,
    order: ResolvedSettings,
    packing: Packing,
    timeout_s: float,
    data: Mapping[str, str],
    params: Mapping[str, Json],
) -> JobSpec:
    from ..packaging.training import job_bundle

    program = job_bundle(script, packing)
    return JobSpec(
        name=name,
        labels=labels,
        bundle=program.path,
        digest=program.digest,
        data=data,
        params=params,
        instance=order.instance,
        resources=order.resources,
        env=order.env,
        secrets=order.secrets,
        timeout_s=timeout_s,
        tags=order.tags,
        options=order.options,
        usd_per_hour=order.usd_per_hour,
    )


def _packing(requirements: str | Path | Iterable[str] | None, build_from_source: Iterable[str]) -> Packing:
    packing: Packing = {}
    if requirements is not None:
        packing["requirements"] = requirements if isinstance(requirements, str | Path) else list(requirements)
    if build_from_source:
        packing["build_from_source"] = build_from_source if isinstance(build_from_source, str) else [*build_from_source]
    return packing


def _data(given: Mapping[str, str | Path] | str | Path | None) -> dict[str, str]:
    """Return the inputs by name, with absolute paths, so that they do not depend on the working directory."""
    if given is None:
        return {}
    named = {"train": given} if isinstance(given, str | Path) else given
    return {name: _located(name, value) for name, value in named.items()}


def _located(name: str, value: str | Path) -> str:
    text = str(value)
    if "://" in text:
        return text
    path = expand(text, field="data").resolve()
    if not path.exists():
        raise ConfigError(f"data[{name!r}]: {path} does not exist", hint="give a file, a folder or a URI")
    return str(path)


def _job_name(script: str | Path | Callable[..., Any], txn: str) -> str:
    stem = Path(script).stem if isinstance(script, str | Path) else getattr(script, "__name__", "train")
    return f"{suggest_name(str(stem))[:12].rstrip('-')}-{txn}"
