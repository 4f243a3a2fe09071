"""Cloud Logging: the output of the containers of endpoints and jobs, as entries that can be filtered.

Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .api import Api, body_of
from .errors import Refusal
from .filters import parse
from .permissions import needed_for_logs
from .values import integer, text, words
from .world import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..app import Request
    from .spots import Spot, Spots
    from .values import Json


class Logs:
    """The logs of all projects; each project has one log for all its regions.

    Attributes:
        empty_pages: How many pages without entries come before the first one with entries, as in a long search.
        fields: Whether lines that are JSON become the fields of their entry, instead of its message.
    """

    def __init__(self, spots: Spots) -> None:
        self.empty_pages, self.fields = 0, False
        self._spots = spots
        self.api = Api(spots, "logging")
        self.api.on("POST", "/v2/entries:list", "ListLogEntries", changing=False)(self.every)

    def every(self, request: Request) -> Json:
        """Return a page of the entries that match the filter."""
        body = body_of(request)
        fits = parse(text(body, "filter"))
        spots = [spot for name in self._projects(body) for spot in self._spots.of(name)]
        found = [entry for spot in spots for entry in _entries(spot, fields=self.fields) if fits(entry)]
        order = text(body, "orderBy") or "timestamp asc"
        found.sort(key=lambda entry: (entry["timestamp"], entry["insertId"]), reverse=order.endswith("desc"))
        start, size = integer(body, "pageToken", -self.empty_pages), integer(body, "pageSize", 50)
        if start < 0:
            return {"nextPageToken": str(start + 1)}
        page: Json = {"entries": found[start : start + size]}
        if start + size < len(found):
            page["nextPageToken"] = str(start + size)
        return page

    def _projects(self, body: Json) -> list[str]:
        """Return the projects whose logs are requested."""
        names = [name.removeprefix("projects/") for name in words(body, "resourceNames")]
        if not names:
            raise Refusal("INVALID_ARGUMENT", "At least one resource name must be specified in resource_names.")
        return list(dict.fromkeys(self._spots.project(name) for name in names))


def _entries(spot: Spot, *, fields: bool) -> Iterable[Json]:
    """Yield the entries of one region of one project."""
    world = spot.world
    if world.common.lacking("writing logs", needed_for_logs(world.project)) is not None:
        return
    for made in spot.fleet.everyone():
        labels = {"resource_container": world.number, "location": world.region, "endpoint_id": made.endpoint}
        resource = {"type": "aiplatform.googleapis.com/Endpoint", "labels": labels}
        for place, replica in enumerate(made.replicas):
            own = {"deployed_model_id": made.number, "replica_id": f"{made.number}-{place}"}
            source = f"{world.key}{made.endpoint}-{made.number}-{place}"
            yield from _of(world.project, replica.logs(), resource, own, source, fields=fields)
    for number, lines in spot.jobs.logs():
        labels = {"job_id": number, "project_id": world.project, "task_name": "workerpool0-0"}
        yield from _of(world.project, lines, {"type": "ml_job", "labels": labels}, {}, f"job-{number}", fields=fields)


def _of(
    project: str,
    lines: Iterable[tuple[float, str]],
    resource: Json,
    labels: dict[str, str],
    source: str,
    *,
    fields: bool,
) -> Iterable[Json]:
    for place, (at, line) in enumerate(lines):
        yield {
            "logName": f"projects/{project}/logs/aiplatform.googleapis.com%2Fprediction_container",
            "resource": resource, "labels": labels, "timestamp": stamp(at), "receiveTimestamp": stamp(at),
            "insertId": f"{source}-{place:09d}", "severity": "INFO", **_payload(line, fields=fields),
        }  # fmt: skip


def _payload(line: str, *, fields: bool) -> Json:
    """Return a line as a payload: as the message of an object, or as the object that it contains."""
    try:
        told: Any = json.loads(line) if fields else None
    except ValueError:
        told = None
    return {"jsonPayload": told if isinstance(told, dict) else {"levelname": "INFO", "message": f"{line}\n"}}
