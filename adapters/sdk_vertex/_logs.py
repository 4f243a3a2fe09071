"""What containers of endpoints and jobs wrote: entries of Cloud Logging, over REST."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sdk import bounded
from sdk.types import LogLine

from ._access import unix
from ._names import deployment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._access import Access

_PAGE = 1000
_CALL_S = 30.0
_FOLLOW_S = 2.0
_OVERLAP_S = 5.0  # entries may arrive out of order by that much


class Logs:
    """The log of one project.

    Args:
        access: Where it is, and as whom it is asked.
        sleep: Waits between two looks.
    """

    def __init__(self, access: Access, sleep: Callable[[float], None]) -> None:
        self.access, self._sleep = access, sleep

    def lines(
        self, filter_: str, *, since: float, tail: int | None, follow: Callable[[], bool] | None
    ) -> Iterator[LogLine]:
        """The lines that fit, oldest first.

        Args:
            filter_: In the language of Cloud Logging.
            since: Unix seconds before which nothing is of interest.
            tail: How many of the newest.
            follow: Asked after each look whether there may be more; ``None`` for one look only.
        """
        seen: set[str] = set()
        entries: Iterable[dict[str, Any]]
        entries = self._newest(filter_, since, tail) if tail is not None else self._page(filter_, since)
        last = since
        while True:
            going = follow is not None and follow()  # asked first: what was written before the end is not missed
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
            self._sleep(_FOLLOW_S)

    def _newest(self, filter_: str, since: float, count: int) -> list[dict[str, Any]]:
        if count <= 0:
            return []
        body = self._question(filter_, since, "timestamp desc", min(count, _PAGE))
        found: list[dict[str, Any]] = self._send(body).get("entries") or []
        return list(reversed(found[:count]))

    def _page(self, filter_: str, since: float) -> Iterator[dict[str, Any]]:
        body = self._question(filter_, since, "timestamp asc", _PAGE)
        for _ in bounded.turns("the list of log lines"):
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
        url = f"{self.access.url('logging')}/v2/entries:list"
        told: dict[str, Any] = self.access.send("POST", url, "ListLogEntries", timeout=_CALL_S, json=body).json()
        return told


def endpoint_filter(region: str, endpoint: str, number: str | None, request_id: str | None) -> str:
    """Lines of an endpoint, of one deployed model if a number is given, of one request if an id is.

    A project has one log for all its regions, and each of them may have an endpoint of this id.

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
        parts.append(f'(jsonPayload.request_id="{wanted}" OR textPayload:"{wanted}")')
    return " AND ".join(parts)


def job_filter(number: str) -> str:
    """Lines of a job."""
    return f'resource.type="ml_job" AND resource.labels.job_id="{number}"'


def read(entry: dict[str, Any]) -> LogLine:
    """An entry as a line; the platform has made fields of lines that are JSON."""
    payload: dict[str, Any] | None = entry.get("jsonPayload")
    text = json.dumps(payload) if payload is not None else str(entry.get("textPayload", ""))
    labels: dict[str, str] = entry.get("labels") or {}
    number = labels.get("deployed_model_id", "")
    return LogLine(
        time=unix(entry.get("timestamp")) or 0.0,
        text=text.rstrip("\n"),
        deployment=deployment_of(number) or number or None,
        replica=labels.get("replica_id"),
        request_id=payload.get("request_id") if payload else None,
    )
