"""The handle of a training job; it can be made from its name in any process."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from ..adapter.types import JobState
from ..errors import TrainFailed
from ..util import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..adapter.types import JobStatus, LogLine
    from ..packaging.model import Model

METRIC = "mlport_metric"
_LAST_LINES = 30


class _JobVerbs(Protocol):
    """The verbs that the handle of a job calls; :class:`sdk.Client` has them and documents them."""

    def job_status(self, name: str, *, target: str | None) -> JobStatus: ...
    def await_job(self, name: str, *, target: str | None, timeout: str | float | None) -> JobStatus: ...
    def stop_job(self, name: str, *, target: str | None) -> None: ...
    def job_logs(self, name: str, *, follow: bool, tail: int | None, target: str | None) -> Iterator[LogLine]: ...
    def job_output(self, name: str, directory: str | Path, *, target: str | None) -> Path: ...
    def job_result(self, name: str, *, target: str | None, as_name: str | None, **about: Any) -> Model: ...


class Job:
    """A training job on a target; can be pickled like an :class:`~sdk.Endpoint`.

    Args:
        client: The client that does the work.
        name: Name of the job.
        target: The target that the job runs on.
        status: The status as last read.

    Example:
        >>> job = sdk.train("train.py", name="night-1", data={"train": "train.csv"}, params={"C": 1.0}, wait=False)
        >>> job.wait()
        <Job night-1 on local succeeded>
        >>> job = sdk.train(fit, params={"by": 3.0})  # a function that returns what `sdk.model` takes
        >>> sdk.deploy(job.result(name="scaled", example=[[1.0, 2.0]])).predict([[1.0, 2.0]]).values
        [9.0]
    """

    def __init__(self, client: _JobVerbs, name: str, target: str, *, status: JobStatus | None = None) -> None:
        self._client = client
        self._status = status
        self.name = name
        self.target = target

    @property
    def status(self) -> JobStatus:
        """The status as last read; the first access reads it."""
        return self._status or self.refresh()

    @property
    def metrics(self) -> dict[str, Any]:
        """The last value of each metric that the job has reported in a line ``{"mlport_metric": {...}}``."""
        return dict(pair for line in self.logs() for pair in metrics_of(line.text).items())

    def refresh(self) -> JobStatus:
        """Read the current status.

        Raises:
            NotFoundError: The job does not exist.
        """
        self._status = self._client.job_status(self.name, target=self.target)
        return self._status

    def wait(self, *, timeout: str | float | None = None) -> Job:
        """Wait until the job has ended.

        Raises:
            TrainFailed: The job failed or was stopped; with the reason and the last lines.
            TimedOut: The job takes longer than ``timeout`` (seconds, or text such as ``"2h"``); it continues to run.
        """
        self._status = self._client.await_job(self.name, target=self.target, timeout=timeout)
        self._raise_for(self._status)
        return self

    def _raise_for(self, status: JobStatus) -> None:
        if status.state is JobState.SUCCEEDED:
            return
        reason = status.reason or status.raw
        raise TrainFailed(
            f"job {self.name!r} {status.state}: {reason}",
            reason=reason,
            logs=[line.text for line in self.logs(tail=_LAST_LINES)],
            provider=status.provider,
            operation="train",
            resource=self.name,
            hint="the last lines say more" if status.state is JobState.FAILED else None,
        )

    def stop(self) -> None:
        """Ask the job to end; :meth:`refresh` shows when it has ended."""
        self._client.stop_job(self.name, target=self.target)

    def logs(self, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Return the job's log lines so far; with ``follow``, continue with new lines until it ends."""
        return self._client.job_logs(self.name, follow=follow, tail=tail, target=self.target)

    def output(self, directory: str | Path) -> Path:
        """Copy the job's output folder into a directory, which is made if it does not exist.

        Raises:
            ConfigError: The directory is not empty.
        """
        return self._client.job_output(self.name, directory, target=self.target)

    def result(
        self,
        *,
        name: str | None = None,
        trust: Literal["pickle"] | None = None,
        example: Any = None,
        method: str = "predict",
        rowwise: bool | None = None,
        allow_nan: bool = False,
    ) -> Model:
        """Return the trained model with the same lock and code as in training, ready for :func:`sdk.deploy`.

        Args:
            name: Name of the model; the job's name by default.
            trust: ``"pickle"`` if the script wrote a pickle and you trust the packages it imported.
            example: A few rows: they set names, types and shapes of the input, and are used as the smoke test.
            method: Method to call, for estimators.
            rowwise: Whether each row is answered independently of the others; known for estimators.
            allow_nan: Whether missing numbers are accepted.

        Raises:
            TrainFailed: The job has not succeeded.
            PackagingError: The job left no model, or more than one.
            LockMismatchError: The model was made with another lock or other code.
        """
        self.wait()
        return self._client.job_result(
            self.name,
            target=self.target,
            as_name=name,
            trust=trust,
            example=example,
            method=method,
            rowwise=rowwise,
            allow_nan=allow_nan,
        )

    def __reduce__(self) -> tuple[type[Job], tuple[_JobVerbs, str, str]]:
        return type(self), (self._client, self.name, self.target)

    def __repr__(self) -> str:
        state = f" {self._status.state}" if self._status else ""
        return f"<Job {self.name} on {self.target}{state}>"

    def _repr_html_(self) -> str:
        return html.escape(repr(self))


def metrics_of(line: str) -> Mapping[str, Any]:
    """Return the metrics in a log line; empty if the line reports none.

    Example:
        >>> metrics_of('{"mlport_metric": {"loss": 0.5}}')
        {'loss': 0.5}
        >>> metrics_of("epoch 3")
        {}
    """
    if METRIC not in line:
        return {}
    try:
        found: Any = foreign.parse(line)[METRIC]
    except (ValueError, TypeError, KeyError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}
