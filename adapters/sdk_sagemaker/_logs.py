"""Log lines of endpoints and jobs, from CloudWatch Logs."""

from __future__ import annotations

from dataclasses import replace
from heapq import merge
from typing import TYPE_CHECKING, Any

from sdk.plane.lines import read_line, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.types import LogLine

    from ._aws import Aws

_FOLLOW_S = 1.0
_STREAMS = 50


def endpoint_group(name: str) -> str:
    """The log group of an endpoint; its streams are called ``VARIANT/INSTANCE``."""
    return f"/aws/sagemaker/Endpoints/{name}"


JOB_GROUP = "/aws/sagemaker/TrainingJobs"  # streams are called ``JOB/algo-1-NUMBER``


class Reader:
    """Reads the streams of one group that begin with some text.

    Args:
        aws: The way to AWS.
        group: The log group.
        prefix: What the names of the streams begin with; empty for all.
        since: Unix seconds before which nothing is read.
    """

    def __init__(self, aws: Aws, group: str, prefix: str = "", *, since: float = 0.0) -> None:
        self.aws = aws
        self.group = group
        self.prefix = prefix
        self.since = since
        self._seen: set[str] = set()
        self._last = int(since * 1000)

    def exists(self) -> bool:
        """Whether there is anything to read."""
        about = self.aws.call("logs", "describe_log_groups", self.group, logGroupNamePrefix=self.group)
        return any(one["logGroupName"] == self.group for one in about["logGroups"])

    def fresh(self, request_id: str | None = None) -> list[LogLine]:
        """What has come since the last look, oldest first."""
        query: dict[str, Any] = {"logGroupName": self.group, "startTime": self._last}
        if self.prefix:
            query["logStreamNamePrefix"] = self.prefix
        if request_id is not None:
            query["filterPattern"] = f'"{request_id}"'
        try:
            pages = list(self.aws.pages("logs", "filter_log_events", self.group, **query))
        except LookupError:  # nothing was written yet
            return []
        events = [event for page in pages for event in page["events"] if self._is_new(event)]
        self._seen.update(event["eventId"] for event in events)
        self._last = max((event["timestamp"] for event in events), default=self._last)
        return [_line(event["logStreamName"], event) for event in sorted(events, key=lambda one: one["timestamp"])]

    def _is_new(self, event: dict[str, Any]) -> bool:
        return event["eventId"] not in self._seen and event["logStreamName"].startswith(self.prefix)

    def last(self, count: int) -> list[LogLine]:
        """The last lines, oldest first, without reading all the others."""
        ends = [self._end(stream, count) for stream in self._streams()]
        found = list(merge(*ends, key=lambda line: line.time))
        return found[max(0, len(found) - count) :]

    def _streams(self) -> list[str]:
        query: dict[str, Any] = {"logGroupName": self.group, "limit": _STREAMS}
        query |= {"logStreamNamePrefix": self.prefix} if self.prefix else {}
        about = self.aws.find("logs", "describe_log_streams", self.group, **query)
        return [str(one["logStreamName"]) for one in (about["logStreams"] if about else ())]

    def _end(self, stream: str, count: int) -> list[LogLine]:
        about = self.aws.find(
            "logs", "get_log_events", stream, logGroupName=self.group, logStreamName=stream,
            limit=max(1, count), startFromHead=False, startTime=int(self.since * 1000),
        )  # fmt: skip
        return [_line(stream, event) for event in (about["events"] if about else ())]


def lines(
    reader: Reader,
    *,
    tail: int | None,
    follow: bool,
    request_id: str | None = None,
    over: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None],
) -> Iterator[LogLine]:
    """The lines so far, or the last ``tail`` of them; with ``follow`` also those to come, until it is ``over``."""
    if tail is not None and request_id is None and not follow:
        yield from reader.last(tail)
        return
    first = True
    while True:
        ended = not follow or over()
        found = select(reader.fresh(request_id), tail if first else None, request_id)
        yield from found
        if ended:
            return
        first = False
        sleep(_FOLLOW_S)


def _line(stream: str, event: dict[str, Any]) -> LogLine:
    """A line of a stream; CloudWatch knows when it came, the server itself knows better."""
    line = read_line(stream, str(event["message"]).rstrip("\n"), event["timestamp"] / 1000)
    variant, _, instance = stream.partition("/")
    return replace(line, deployment=variant, replica=instance)
