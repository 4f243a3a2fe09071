"""The handle of a training job, found by name from any process."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Literal, cast

from . import foreign
from .errors import TrainFailed
from .types import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .client import Client
    from .model import Model
    from .types import JobStatus, LogLine

METRIC = "mlport_metric"
_LAST_LINES = 30


class Job:
    """A training job on a target; may be pickled, as an :class:`~sdk.Endpoint`.

    Args:
        client: Does the work.
        name: Name of the job.
        target: Target it runs on.
        status: How it was when it was last looked at.

    Example:
        >>> job = sdk.train("train.py", name="night-1", data={"train": "train.csv"}, params={"C": 1.0}, wait=False)
        >>> job.wait()
        <Job night-1 on local succeeded>
        >>> job = sdk.train(fit, params={"by": 3.0})  # a function that returns what `sdk.model` takes
        >>> sdk.deploy(job.result(name="scaled", example=[[1.0, 2.0]])).predict([[1.0, 2.0]]).values
        [9.0]
    """

    def __init__(self, client: Client, name: str, target: str, *, status: JobStatus | None = None) -> None:
        self._client = client
        self._status = status
        self.name = name
        self.target = target

    @property
    def status(self) -> JobStatus:
        """How it was when it was last looked at; the first time it looks."""
        return self._status or self.refresh()

    @property
    def metrics(self) -> dict[str, Any]:
        """The last value of each metric that the job has reported with a line ``{"mlport_metric": {...}}``."""
        return dict(pair for line in self.logs() for pair in metrics_of(line.text).items())

    def refresh(self) -> JobStatus:
        """How it is now.

        Raises:
            NotFoundError: There is no such job.
        """
        self._status = self._client.job_status(self.name, target=self.target)
        return self._status

    def wait(self, *, timeout: str | float | None = None) -> Job:
        """Waits until it has ended.

        Raises:
            TrainFailed: It failed or was stopped: with the reason and the last lines.
            TimedOut: It takes longer than ``timeout`` (seconds, or text such as ``"2h"``); it runs on.
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
        """Asks it to end; :meth:`refresh` tells when it has."""
        self._client.stop_job(self.name, target=self.target)

    def logs(self, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """What it has written so far; with ``follow`` also what it is going to, until it ends."""
        return self._client.job_logs(self.name, follow=follow, tail=tail, target=self.target)

    def output(self, directory: str | Path) -> Path:
        """Copies what it left in its output folder into a directory, which is made if need be.

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
        """The trained model, with the very lock and code that trained it, ready for :func:`sdk.deploy`.

        Args:
            name: Name of the model; the job's by default.
            trust: ``"pickle"`` if the script left a pickle and you trust what it imported.
            example: A few rows: sets names, types and shapes of the input, and is the smoke test.
            method: Method to call, for estimators.
            rowwise: Whether each row is answered without a look at the others; known for estimators.
            allow_nan: Whether missing numbers are accepted.

        Raises:
            TrainFailed: The job has not succeeded.
            PackagingError: It left no model, or more than one.
            LockMismatchError: What it left was made with another lock or other code.
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

    def __reduce__(self) -> tuple[type[Job], tuple[Client, str, str]]:
        return type(self), (self._client, self.name, self.target)

    def __repr__(self) -> str:
        state = f" {self._status.state}" if self._status else ""
        return f"<Job {self.name} on {self.target}{state}>"

    def _repr_html_(self) -> str:
        return html.escape(repr(self))


def metrics_of(line: str) -> Mapping[str, Any]:
    """The metrics in a log line, if it is one that reports some.

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
