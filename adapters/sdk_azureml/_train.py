"""Training jobs: command jobs of the workspace, submitted by Azure's own client, monitored with plain calls."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx

from sdk.adapter import Ack, Labels, Live, Ref
from sdk.adapter.shared.uploads import of_addresses
from sdk.adapter.types import JobState, JobStatus, LogLine
from sdk.errors import NotFoundError

from . import _bodies, _submission
from ._deploy import variables
from ._errors import PROVIDER, exists, from_answer, from_transport, gone
from ._json import moment, table
from ._names import image_of_environment
from ._plan import ENVIRONMENT, JOB
from ._storage import DATASTORE, FOLDER
from ._where import HISTORY, OLD_HISTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sdk.adapter import Materials, Resource

    from ._arm import Arm
    from ._storage import Storage
    from .options import AzureMLOptions

_STATES = {
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "Canceled": JobState.STOPPED,
    "NotResponding": JobState.RUNNING,
    "Running": JobState.RUNNING,
    "Finalizing": JobState.RUNNING,
    "CancelRequested": JobState.RUNNING,
}  # every other word means that the job is queued
_LOG = re.compile(r"user_logs/std_log\D*0*\.txt")
_EXIT = re.compile(r"exited with (?:status )?code (\d+)")
_FOLLOW_S = 1.0


class Jobs:
    """The jobs of one workspace.

    Args:
        arm: The client of the resource manager.
        storage: The storage for the outputs of jobs.
        options: The target's settings.
        price: Returns the price of an instance type per hour.
    """

    def __init__(
        self, arm: Arm, storage: Storage, options: AzureMLOptions, price: Callable[[str | None], float | None]
    ) -> None:
        self.arm = arm
        self.storage = storage
        self.options = options
        self._price = price
        self._history: str | None = None

    def path(self, name: str) -> str:
        """Return the path of a job."""
        return f"{self.arm.workspace_path}/jobs/{name}"

    # --- as a resource

    def submit(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Submit the job.

        Raises:
            ConflictError: A job of that name exists; Azure keeps the records of jobs forever.
        """
        if self._find(resource.id, timeout) is not None:
            raise exists(JOB, resource.id)
        spec: Any = table(resource.spec)
        given = {**spec["env"], **variables(spec["secrets"], materials), "MLPORT_PARAMS": json.dumps(spec["params"])}
        self.storage.verify(timeout)
        _submission.send(self.arm, self.options, _submission.order(resource, given), timeout)
        return Ack()

    def read(self, name: str, timeout: float) -> Live | None:
        """Return the job as a resource: ready from the moment it is accepted, at no cost once it is over."""
        raw = self._find(name, timeout)
        return self._live(raw) if raw else None

    def all(self, timeout: float) -> Iterator[Live]:
        """Yield all jobs of this SDK, running or over."""
        params = {"listViewType": "ActiveOnly", "tag": "mlport"}
        for raw in self.arm.values(f"{self.arm.workspace_path}/jobs", "list jobs", timeout=timeout, params=params):
            if Labels.from_tags(table(table(raw.get("properties")).get("tags"))) is not None:
                yield self._live(raw)

    def _find(self, name: str, timeout: float) -> dict[str, Any] | None:
        return self.arm.find(self.path(name), "read job", timeout=timeout, resource=name)

    def _live(self, raw: Mapping[str, Any]) -> Live:
        told = table(raw.get("properties"))
        environment = str(told.get("environmentId", "")).lower()
        image = image_of_environment(environment.partition("/environments/")[2].partition("/")[0])
        over = state_of(_word(raw)).finished
        return Live(
            JOB,
            raw["name"],
            "ready",
            raw=_word(raw),
            labels=Labels.from_tags(table(told.get("tags"))),
            created_at=_bodies.created_at(raw),
            parents=(*((Ref(ENVIRONMENT, image),) if image else ()), *(() if over else _inputs(told))),
            usd_per_hour=0.0 if over else self._price(_instance(told)),
        )

    def cancel(self, name: str, timeout: float) -> Ack:
        """Ask a job to end; nothing happens if it is over.

        Raises:
            NotFoundError: The job does not exist.
        """
        raw = self._find(name, timeout)
        if raw is None:
            raise gone(JOB, name)
        if not state_of(_word(raw)).finished:
            self.arm.call("POST", f"{self.path(name)}/cancel", "cancel job", timeout=timeout, resource=name)
        return Ack()

    # --- as a job

    def status(self, name: str, target: str, timeout: float) -> JobStatus | None:
        """Return the job's neutral status."""
        raw = self._find(name, timeout)
        if raw is None:
            return None
        word, state = _word(raw), state_of(_word(raw))
        run = self._run(name, timeout)
        started, ended = moment(run.get("startTimeUtc")), moment(run.get("endTimeUtc"))
        reason = str(table(table(run.get("error")).get("error")).get("message") or "") or None
        price = self._price(_instance(table(raw.get("properties"))))
        hours = 0.0 if started is None else ((ended or self.arm.server_time()) - started) / 3600
        return JobStatus(
            name=name,
            target=target,
            provider=PROVIDER,
            state=state,
            raw=word,
            reason=reason,
            created_at=_bodies.created_at(raw),
            started_at=started,
            ended_at=ended if state.finished else None,
            exit_code=_exit_code(state, reason),
            instance=_instance(table(raw.get("properties"))),
            usd=None if price is None else hours * price,
        )

    def logs(self, name: str, *, follow: bool, tail: int | None, sleep: Callable[[float], None]) -> Iterator[LogLine]:
        """Yield the lines so far; with ``follow`` also later ones until the job is over.

        Raises:
            NotFoundError: The job does not exist.
        """
        shown = 0
        while True:
            raw = self._find(name, 30.0)
            if raw is None:
                raise gone(JOB, name)
            over = state_of(_word(raw)).finished
            lines = self._lines(name)
            start = max(0, len(lines) - tail) if tail is not None and not shown else shown
            for text in lines[start:]:
                yield LogLine(0.0, text)
            shown = len(lines)
            if over or not follow:
                return
            sleep(_FOLLOW_S)

    def output(self, name: str, directory: Path, timeout: float) -> None:
        """Copy the contents of the job's output folder.

        Raises:
            NotFoundError: The job does not exist.
        """
        raw = self._find(name, timeout)
        if raw is None:
            raise gone(JOB, name)
        self.storage.download(_submission.output_prefix(name), directory, timeout)

    # --- run history

    def _run(self, name: str, timeout: float) -> dict[str, Any]:
        """Return the details in the run history: times, reason, log files; empty while it has none."""
        if self._history is None:
            url = self.arm.workspace["properties"]["discoveryUrl"]
            self._history = str(self.arm.send("GET", url, "read discovery", timeout=timeout).json()["api"])
        url = f"{self._history}/history/v1.0{self.path(name).replace('/jobs/', '/runs/')}/details"
        try:
            found: dict[str, Any] = self.arm.send("GET", url, "read run", timeout=timeout, resource=name).json()
        except NotFoundError:  # a job appears in the history shortly after it was accepted
            return {}
        return found

    def _lines(self, name: str) -> list[str]:
        files: dict[str, str] = table(self._run(name, 30.0).get("logFiles"))
        return [line for file in sorted(files) if _LOG.fullmatch(file) for line in self._text(files[file]).splitlines()]

    def _text(self, url: str) -> str:
        """Return the text of a log file; its URL carries its own signature, so no token is sent."""
        try:
            self.arm.place.check("the job's log", url, self.arm.place.storage, HISTORY, OLD_HISTORY)
            response = self.arm.http.get(url, timeout=30.0)
        except httpx.TransportError as error:
            raise from_transport(error, "read job log") from error
        if response.status_code == 404:  # nothing has been written yet
            return ""
        if not response.is_success:
            raise from_answer(response, "read job log")
        return response.text


def state_of(word: str) -> JobState:
    """Return the neutral state for Azure's word.

    Example:
        >>> state_of("Preparing").value
        'queued'
    """
    return _STATES.get(word, JobState.QUEUED)


def _word(raw: Mapping[str, Any]) -> str:
    """Return Azure's word for the state of a job."""
    return str(table(raw.get("properties")).get("status") or "Unknown")


def _inputs(told: Mapping[str, Any]) -> list[Ref]:
    """Return the uploaded inputs that a job reads; Azure may include the workspace in their addresses."""
    uris = (str(table(one).get("uri") or "") for one in table(told.get("inputs")).values())
    return of_addresses(f"/datastores/{DATASTORE}/paths/{FOLDER}", uris)


def _instance(told: Mapping[str, Any]) -> str | None:
    return table(told.get("resources")).get("instanceType")


def _exit_code(state: JobState, reason: str | None) -> int | None:
    if state is JobState.SUCCEEDED:
        return 0
    found = _EXIT.search(reason or "")
    return int(found[1]) if found else None
