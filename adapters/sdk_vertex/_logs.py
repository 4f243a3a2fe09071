"""Log lines of endpoints and jobs: entries of Cloud Logging, read over REST."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sdk.adapter.types import LogLine
from sdk.errors import ThrottledError, UnavailableError, UnreadableError
from sdk.util import bounded, foreign
from sdk.util.waiting import pause_after

from ._access import unix
from ._names import deployment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._access import Access

_PAGE = 1000
_CALL_S = 30.0
# A project may read its entries 60 times a minute, all readers together. Source (certain):
# https://cloud.google.com/logging/quotas#api-limits
_FOLLOW_S, _IDLE_S, _GROWTH = 5.0, 20.0, 1.5
_BUSY_S = (5.0, 10.0, 20.0, 40.0)  # pauses after that quota is exceeded, or after a missing answer
_OVERLAP_S = 30.0  # entries may arrive out of order by this much
# Fields that the platform adds to a line of text; a JSON line may become the fields of the entry instead.
_WRAPPING = frozenset({"message", "levelname", "severity", "attrs", "created", "pathname", "lineno", "thread"})


class Logs:
    """The log of one project.

    Args:
        access: The access to Google's services.
        sleep: Waits between two reads.
    """

    def __init__(self, access: Access, sleep: Callable[[float], None]) -> None:
        self.access, self._sleep = access, sleep

    def lines(
        self, filter_: str, *, since: float, tail: int | None, follow: Callable[[], bool] | None
    ) -> Iterator[LogLine]:
        """Yield the matching lines, oldest first.

        Args:
            filter_: The filter, in the language of Cloud Logging.
            since: Unix seconds; earlier lines are left out.
            tail: The number of newest lines to begin with; ``None`` for all.
            follow: Called before each read: whether more lines may come; ``None`` to read only once.
        """
        seen: set[str] = set()
        entries: Iterable[dict[str, Any]]
        entries = self._newest(filter_, since, tail) if tail is not None else self._page(filter_, since)
        last, pause = since, _FOLLOW_S
        while True:
            going = follow is not None and follow()  # called before the read, so that the last lines are not missed
            before = len(seen)
            for entry in entries:
                if str(entry.get("insertId")) not in seen:
                    seen.add(str(entry.get("insertId")))
                    line = read(entry)
                    last = max(last, line.time)
                    yield line
            if follow is None:
                return
            entries = self._page(filter_, max(since, last - _OVERLAP_S))
            if not going:
                yield from (read(one) for one in entries if str(one.get("insertId")) not in seen)
                return
            pause = _FOLLOW_S if len(seen) > before else min(pause * _GROWTH, _IDLE_S)
            self._sleep(pause)

    def _newest(self, filter_: str, since: float, count: int) -> list[dict[str, Any]]:
        if count <= 0:
            return []
        body = self._question(filter_, since, "timestamp desc", min(count, _PAGE))
        found: list[dict[str, Any]] = []
        for entry in self._pages(body):
            found.append(entry)
            if len(found) == count:
                break
        return found[::-1]

    def _page(self, filter_: str, since: float) -> Iterator[dict[str, Any]]:
        return self._pages(self._question(filter_, since, "timestamp asc", _PAGE))

    def _pages(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the entries of all pages, any of which may be empty."""
        for fetching in bounded.turns("the list of log lines"):
            with fetching:
                told = self._send(body)
            yield from told.get("entries") or ()
            if not told.get("nextPageToken"):
                return
            body["pageToken"] = told["nextPageToken"]

    def _question(self, filter_: str, since: float, order: str, size: int) -> dict[str, Any]:
        moment = datetime.fromtimestamp(max(since, 0.0), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "resourceNames": [f"projects/{self.access.options.project}"],
            "filter": f'{filter_} AND timestamp>="{moment}"',
            "orderBy": order,
            "pageSize": size,
        }

    def _send(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make one read; repeat it after a pause if the quota of reads is used up or the platform does not answer."""
        for pause in _BUSY_S:
            try:
                return self._ask(body)
            except (ThrottledError, UnavailableError) as error:
                self._sleep(pause_after(error, pause))
        return self._ask(body)

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.access.url('logging')}/v2/entries:list"
        told: dict[str, Any] = self.access.send("POST", url, "ListLogEntries", timeout=_CALL_S, json=body).json()
        return told


def endpoint_filter(region: str, endpoint: str, number: str | None, request_id: str | None) -> str:
    """Return the filter for lines of an endpoint, optionally of one deployed model or one request.

    A project has one log for all its regions, and each region may have an endpoint with this ID.

    Example:
        >>> endpoint_filter("europe-west4", "churn", "16", None).rpartition(" AND ")[2]
        'labels.deployed_model_id="16"'
    """
    parts = [
        'resource.type="aiplatform.googleapis.com/Endpoint"',
        f'resource.labels.location="{region}"',
        f'resource.labels.endpoint_id="{endpoint}"',
    ]
    if number is not None:
        parts.append(f'labels.deployed_model_id="{number}"')
    if request_id is not None:
        wanted = request_id.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'(jsonPayload.request_id="{wanted}" OR jsonPayload.message:"{wanted}" OR textPayload:"{wanted}")')
    return " AND ".join(parts)


def job_filter(number: str) -> str:
    """Return the filter for lines of a job."""
    return f'resource.type="ml_job" AND resource.labels.job_id="{number}"'


def read(entry: dict[str, Any]) -> LogLine:
    """Convert an entry to the line that the container wrote.

    The platform keeps a line in ``jsonPayload.message`` (certain), in ``textPayload``, or, if it is JSON, as the fields
    of ``jsonPayload``.
    """
    payload: dict[str, Any] | None = entry.get("jsonPayload")
    text = _line(payload) if payload is not None else str(entry.get("textPayload", ""))
    labels: dict[str, str] = entry.get("labels") or {}
    number = labels.get("deployed_model_id", "")
    return LogLine(
        time=unix(entry.get("timestamp")) or 0.0,
        text=text.rstrip("\n"),
        deployment=deployment_of(number) or number or None,
        replica=labels.get("replica_id"),
        request_id=_request_id(text),
    )


def _line(payload: dict[str, Any]) -> str:
    message: Any = payload.get("message")
    if isinstance(message, str) and _WRAPPING.issuperset(payload):
        return message
    return json.dumps(payload)


def _request_id(text: str) -> str | None:
    """Return the ID of the request that a line of the model server is about."""
    if not text.startswith("{"):
        return None
    try:
        told: Any = foreign.table(text)
    except UnreadableError:
        return None
    found: Any = told.get("request_id")
    return found if isinstance(found, str) else None
