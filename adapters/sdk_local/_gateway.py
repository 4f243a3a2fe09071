"""The gateway of an endpoint: each look first applies the records to the gateway, then returns its state.

Every read or change of an endpoint starts with a look. A look restarts a gateway that died, sends the new table to a
gateway that has an old one, and advances the removal of an endpoint marked for deletion. If a client is killed between
writing a record and notifying the gateway, the next look finishes the change.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from sdk.adapter.shared import gateway_table
from sdk.adapter.shared.log_lines import start_failure
from sdk.packaging import venv
from sdk.serving.gateway import client

from ._errors import translate
from ._processes import MARK, environment, go_on, kill_marked, kill_stopped, marks_in
from ._records import DELETING, Record, replace_file, write_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.types import Json

    from ._folder import EndpointFolder
    from .options import LocalOptions

State = Literal["creating", "ready", "updating", "failed", "deleting"]

FAILURE = "failure"
"""Key of a deployment's record: why the deployment never became ready."""

_READY_S = 5.0  # a look that changed the table waits this long until it is in force; often enough
_GONE_S = 3.0
_CALL_S = 10.0
_SOON_S = 1.0  # a gateway that takes longer for an answer may have been suspended by a signal
_ANSWER_S = 4.0  # the keeper replaces a suspended gateway sooner than this


@dataclass(frozen=True, slots=True)
class Running:
    """A deployment as the gateway reports it."""

    weight: int
    replicas: Mapping[str, Mapping[str, Any]]

    def verdict(self) -> tuple[State, str, str | None]:
        """Return state, the gateway's own state words, and the reason if the deployment failed."""
        words = sorted({str(replica["state"]) for replica in self.replicas.values()})
        raw = ", ".join(words)
        for name, replica in self.replicas.items():
            if replica["state"] == "crash-loop":
                exit_: dict[str, Any] = replica["last_exit"] or {}
                return "failed", raw, f"replica {name} {exit_.get('reason', 'keeps failing')}"
        return ("ready" if words == ["ready"] else "updating"), raw, None

    def details(self) -> dict[str, Json]:
        """Return pids and restarts, for display."""
        return {name: {"pid": one["pid"], "restarts": one["restarts"]} for name, one in self.replicas.items()}


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look; ``deployments`` are in force, ``ending`` are replicas that are shutting down."""

    record: Record
    state: State
    raw: str
    reason: str | None = None
    port: int | None = None
    last_request_at: float | None = None
    deployments: Mapping[str, Running] = field(default_factory=dict[str, Running])
    ending: frozenset[str] = frozenset()

    @property
    def url(self) -> str | None:
        """The URL for predictions."""
        return None if self.port is None else f"http://127.0.0.1:{self.port}/invocations"

    def is_ending(self, deployment: str) -> bool:
        """Check whether processes of a deployment that no longer has a record still run."""
        return deployment in self.deployments or any(one.rpartition("-")[0] == deployment for one in self.ending)


class Gateway:
    """The gateway of one endpoint, running or not."""

    def __init__(self, folder: EndpointFolder, options: LocalOptions) -> None:
        self.folder = folder
        self.options = options

    def look(self, timeout: float) -> Seen | None:
        """Apply the records and return the endpoint's state; ``None`` if the endpoint does not exist."""
        with translate("ReadEndpoint", self.folder.name):
            try:
                record = self.folder.read()
                return None if record is None else self._look(record, timeout)
            except FileNotFoundError:  # another process removed it during the look
                return None

    def _look(self, record: Record, timeout: float) -> Seen | None:
        if self.folder.deleting.exists():
            return self._take_down(record)
        if not self.folder.token():
            self._renew_token()
        try:
            seen = _seen(record, self._agree(self._running(record, timeout), timeout))
        except client.GatewayError as error:
            seen = Seen(record, "failed", error.code, reason=str(error))
        self._bury(seen)
        return seen

    def _renew_token(self) -> None:
        """Replace a damaged token, and stop the gateway: it has to restart to read the new token."""
        self.folder.new_token()
        with contextlib.suppress(client.GatewayError):
            client.stop(self.folder.short, timeout_s=_GONE_S)

    def peek(self, timeout: float = _CALL_S) -> dict[str, Any] | None:
        """Return the gateway's own status, ``None`` if it does not run; change nothing."""
        if not client.is_running(self.folder.short):
            return None
        with contextlib.suppress(client.GatewayError):
            return client.call(self.folder.short, "GET", "/status", timeout=timeout)
        return None

    def drain(self) -> None:
        """Wait briefly for removed replicas to end, which is often enough."""
        with contextlib.suppress(client.GatewayError):
            client.drain(self.folder.short, timeout_s=_GONE_S)

    def _running(self, record: Record, timeout: float) -> dict[str, Any]:
        if client.is_running(self.folder.short):
            with contextlib.suppress(client.GatewayError):
                return client.call(self.folder.short, "GET", "/status", timeout=_SOON_S)
            runs = {str(record.extra["run"]), *marks_in(self.folder.path)}
            for run in runs:
                go_on(run)
            with contextlib.suppress(client.GatewayError):
                return client.call(self.folder.short, "GET", "/status", timeout=_ANSWER_S)
            for run in runs:
                kill_stopped(run)
        argv = [sys.executable, "-m", "mlport_serving", "gateway", "--port", str(record.spec["port"])]
        env = environment({}, {"PYTHONPATH": str(venv.runtime()), MARK: str(record.extra["run"])}, None)
        return client.ensure_gateway(self.folder.short, argv, env=env, timeout_s=timeout)

    def _agree(self, status: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send the gateway the table built from the records, unless it has that table or is applying it."""
        with self.folder.locked():
            self._note_failure(status)
            wanted = self._table()
            generation = gateway_table.due(wanted, self.folder.read_pushed(), status)
            if generation is None:
                return status
            note = {"generation": generation, "content": gateway_table.content_hash(wanted)}
            try:
                replace_file(self.folder.pushed, json.dumps(note).encode())
            except OSError as error:  # without the note the table is sent again, which is harmless
                if error.errno != errno.ENOSPC or wanted["deployments"].keys() - status["deployments"].keys():
                    raise
        self._push({"generation": generation, **wanted}, timeout)
        status = client.status(self.folder.short)
        self._note_failure(status)
        return status

    def _push(self, wanted: dict[str, Any], timeout: float) -> None:
        query, timeout = {"timeout_s": self.options.start_s}, min(timeout, _READY_S)
        try:
            client.call(self.folder.short, "PUT", "/table", query=query, body=wanted, timeout=timeout)
        except client.GatewayError as error:  # not in force yet, or failed: the status shows which
            if error.code == "not_stored":  # the disk is full, so waiting would not help
                raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {error}") from error

    def _table(self) -> dict[str, Any]:
        """Build the table from the records, without deployments that are being deleted or never became ready."""
        traffic = self.folder.read_traffic()
        weights: Any = traffic.spec["weights"] if traffic else {}
        everything = self.folder.deployments()
        records = {name: one for name, one in everything.items() if not {FAILURE, DELETING} & one.extra.keys()}
        replicas = {name: one.extra["replicas"] for name, one in records.items() if one.extra["replicas"]}
        return gateway_table.table(replicas, weights, self.options)

    def _note_failure(self, status: dict[str, Any]) -> None:
        """Record why a deployment never became ready, so that it is not retried forever."""
        failure = status["failure"]
        if failure is None or failure["generation"] != self.folder.read_pushed()["generation"]:
            return
        path = self.folder.deployment(str(failure["deployment"]))
        record = self.folder.read_deployment(str(failure["deployment"]))
        if record is None or FAILURE in record.extra:
            return
        noted = {"reason": why(failure, record.spec.get("memory_gib")), "log": failure["log"]}
        write_record(path, replace(record, extra={**record.extra, FAILURE: noted}))

    def _bury(self, seen: Seen) -> None:
        """Remove the records of deleted deployments whose last process has ended."""
        deleted = [name for name, record in self.folder.deployments().items() if DELETING in record.extra]
        if deleted and seen.state == "failed":
            if client.is_running(self.folder.short):
                return
            kill_marked(str(seen.record.extra["run"]))  # without a gateway no other process ends them
        for name in deleted:
            if not seen.is_ending(name):
                self.folder.forget(name)

    def _take_down(self, record: Record) -> Seen | None:
        """Advance the removal of the endpoint: ask the gateway to stop; once it has stopped, remove the folder."""
        try:
            client.stop(self.folder.short, timeout_s=_GONE_S)
        except client.GatewayError as error:
            if error.code != "unreachable":  # a gateway that does not answer is killed below
                return Seen(record, "deleting", "stopping")
        with self.folder.locked():
            for run in {str(record.extra["run"]), *marks_in(self.folder.path)}:
                kill_marked(run)
            self.folder.remove()
        return None


def why(failure: Mapping[str, Any], memory_gib: Json) -> str:
    """Return why a replica never became ready: the server's own words if it logged any, else how its process ended.

    Example:
        >>> why({"replica": "d1-0", "last_exit": {"reason": "exited with code 7"}, "message": "", "log": []}, None)
        'replica d1-0 exited with code 7'
    """
    exit_: Mapping[str, Any] = failure["last_exit"] or {}
    said = next(filter(None, (start_failure(line) for line in reversed(failure["log"]))), None)
    reason = f": {said}" if said else f" {exit_.get('reason') or failure['message']}"
    if memory_gib and "MemoryError" in reason:
        reason += f"; it may use {memory_gib} GiB of memory"
    return f"replica {failure['replica']}{reason}"


def _seen(record: Record, status: Mapping[str, Any]) -> Seen:
    found = {name: Running(one["weight"], one["replicas"]) for name, one in status["deployments"].items()}
    return Seen(
        record=record,
        state="ready",
        raw="serving" if status["ready"] else "idle",
        port=status["address"]["port"],
        last_request_at=status["last_request_at"],
        deployments=found,
        ending=frozenset(status["retiring"]),
    )
