"""Cloud Logging: what containers of endpoints and jobs wrote, as entries that can be filtered.

Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .api import Api, body_of
from .filters import parse
from .world import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..app import Request
    from .jobs import Jobs
    from .serving import Fleet
    from .world import Json, World


class Logs:
    """The log of one cloud."""

    def __init__(self, world: World, fleet: Fleet, jobs: Jobs) -> None:
        self.world, self._fleet, self._jobs = world, fleet, jobs
        self.api = Api(world, "logging")
        self.api.on("POST", "/v2/entries:list", "ListLogEntries", changing=False)(self.every)

    def every(self, request: Request) -> Json:
        """The entries that fit, in pages."""
        body = body_of(request)
        fits = parse(body.get("filter", ""))
        found = [entry for entry in self._entries() if fits(entry)]
        order = str(body.get("orderBy", "timestamp asc"))
        found.sort(key=lambda entry: (entry["timestamp"], entry["insertId"]), reverse=order.endswith("desc"))
        start, size = int(body.get("pageToken") or 0), int(body.get("pageSize") or 50)
        page: Json = {"entries": found[start : start + size]}
        if start + size < len(found):
            page["nextPageToken"] = str(start + size)
        return page

    def _entries(self) -> Iterable[Json]:
        for made in self._fleet.everyone():
            labels = {
                "resource_container": self.world.number,
                "location": self.world.region,
                "endpoint_id": made.endpoint,
            }
            resource = {"type": "aiplatform.googleapis.com/Endpoint", "labels": labels}
            for place, replica in enumerate(made.replicas):
                own = {"deployed_model_id": made.number, "replica_id": f"{made.number}-{place}"}
                yield from self._of(replica.logs(), resource, own, f"{made.endpoint}-{made.number}-{place}")
        for number, lines in self._jobs.logs():
            labels = {"job_id": number, "project_id": self.world.project, "task_name": "workerpool0-0"}
            yield from self._of(lines, {"type": "ml_job", "labels": labels}, {}, f"job-{number}")

    def _of(
        self, lines: Iterable[tuple[float, str]], resource: Json, labels: dict[str, str], source: str
    ) -> Iterable[Json]:
        for place, (at, text) in enumerate(lines):
            yield {
                "logName": f"projects/{self.world.project}/logs/aiplatform.googleapis.com%2Fprediction_container",
                "resource": resource, "labels": labels, "timestamp": stamp(at), "receiveTimestamp": stamp(at),
                "insertId": f"{source}-{place:09d}", "severity": "INFO", **_payload(text),
            }  # fmt: skip


def _payload(text: str) -> Json:
    """A line as its payload: JSON objects become fields, everything else is text."""
    try:
        told: Any = json.loads(text)
    except ValueError:
        told = None
    return {"jsonPayload": told} if isinstance(told, dict) else {"textPayload": text}
