"""Log lines of endpoints and jobs, from CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from heapq import merge
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared.log_lines import read_line, select
from sdk.errors import ThrottledError, UnavailableError
from sdk.util import bounded
from sdk.util.waiting import pause_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.adapter.types import LogLine

    from ._aws import Aws

_FOLLOW_S = 1.0
_PATIENCE = 6  # attempts for one read; CloudWatch limits the reads of the whole account
_FOLLOWING = 60  # attempts for one read while following: most of an hour
_EVENTS = 10_000  # per GetLogEvents call
_LONGEST_S = 60.0  # maximum pause between two attempts
_LATE_MS = 120_000  # how much later a line of one stream may arrive than newer lines of other streams
_STALE_MS = 3_600_000  # how far CloudWatch's record of a stream's last event may lag behind
_Answer = Mapping[str, Any]


def endpoint_group(name: str) -> str:
    """Return the name of an endpoint's log group; its streams are named ``VARIANT/INSTANCE``."""
    return f"/aws/sagemaker/Endpoints/{name}"


JOB_GROUP = "/aws/sagemaker/TrainingJobs"  # streams are named ``JOB/algo-1-NUMBER``


class Reader:
    """A reader of those streams of a log group whose names begin with a prefix.

    Args:
        aws: The connection to AWS.
        group: The log group.
        prefix: The prefix of the stream names; empty for all streams.
        since: Unix seconds; earlier lines are not read.
        sleep: Pauses between attempts.
    """

    def __init__(
        self, aws: Aws, group: str, prefix: str = "", *, since: float = 0.0, sleep: Callable[[float], None]
    ) -> None:
        self.aws = aws
        self.group = group
        self.prefix = prefix
        self.since = since
        self.sleep = sleep
        self._seen: dict[str, int] = {}
        self._last = int(since * 1000)

    def exists(self) -> bool:
        """Check whether the log group exists."""
        about = self.aws.call("logs", "describe_log_groups", self.group, logGroupNamePrefix=self.group)
        return any(one["logGroupName"] == self.group for one in about["logGroups"])

    def fresh(self, request_id: str | None = None, *, patience: int = _PATIENCE) -> list[LogLine]:
        """Return the lines since the last call, oldest first, including late lines of slower streams."""
        start = max(int(self.since * 1000), self._last - _LATE_MS)
        query: dict[str, Any] = {"logGroupName": self.group, "startTime": start}
        if self.prefix:
            query["logStreamNamePrefix"] = self.prefix
        if request_id is not None:
            query["filterPattern"] = f'"{request_id}"'
        found = [event for page in self._pages("filter_log_events", query, patience) for event in page["events"]]
        events = [event for event in found if self._is_new(event)]
        self._last = max((int(event["timestamp"]) for event in events), default=self._last)
        self._seen.update((event["eventId"], int(event["timestamp"])) for event in events)
        self._seen = {name: at for name, at in self._seen.items() if at >= self._last - _LATE_MS}
        return [_line(event["logStreamName"], event) for event in sorted(events, key=lambda one: one["timestamp"])]

    def _is_new(self, event: _Answer) -> bool:
        return event["eventId"] not in self._seen and event["logStreamName"].startswith(self.prefix)

    def _pages(self, operation: str, query: dict[str, Any], patience: int = _PATIENCE) -> Iterator[_Answer]:
        """Yield all pages of a list; an empty page that has a next token is not the last one."""
        token: dict[str, str] = {}
        for fetching in bounded.turns(f"the list of {operation}"):
            with fetching:
                page = self._patient(operation, {**query, **token}, patience)
            if page is None:  # nothing was written yet
                return
            yield page
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}

    def _patient(self, operation: str, query: dict[str, Any], patience: int = _PATIENCE) -> _Answer | None:
        """Make one read call; repeat it with growing pauses while CloudWatch is busy."""
        for attempt in range(patience):
            try:
                return self.aws.find("logs", operation, self.group, **query)
            except (ThrottledError, UnavailableError) as error:
                if attempt + 1 >= patience:
                    raise
                self.sleep(pause_after(error, min(_LONGEST_S, _FOLLOW_S * 2**attempt)))
        return None

    def last(self, count: int) -> list[LogLine]:
        """Return the last lines, oldest first.

        The streams with the latest events are read first, until no other stream can have a later line.
        """
        found: list[LogLine] = []
        for stream in sorted(self._streams(), key=_latest, reverse=True):
            if len(found) >= count and (_latest(stream) + _STALE_MS) / 1000 < found[0].time:
                break
            found = list(merge(found, self._end(str(stream["logStreamName"]), count), key=lambda line: line.time))
            found = found[max(0, len(found) - count) :]
        return found

    def _streams(self) -> list[_Answer]:
        query: dict[str, Any] = {"logGroupName": self.group}
        query |= {"logStreamNamePrefix": self.prefix} if self.prefix else {}
        return [stream for page in self._pages("describe_log_streams", query) for stream in page["logStreams"]]

    def _end(self, stream: str, count: int) -> list[LogLine]:
        """Return the last lines of a stream; its end may be split into several pages, some of them empty."""
        query: dict[str, Any] = {
            "logGroupName": self.group, "logStreamName": stream, "startTime": int(self.since * 1000),
            "startFromHead": False, "limit": min(_EVENTS, max(1, count)),
        }  # fmt: skip
        found: list[LogLine] = []
        token: str | None = None
        for fetching in bounded.turns(f"the events of {stream}"):
            with fetching:
                page = self._patient("get_log_events", query | ({"nextToken": token} if token else {}))
            if page is None:
                break
            found = [*(_line(stream, event) for event in page["events"]), *found]
            if len(found) >= count or page.get("nextBackwardToken") in {None, token}:
                break
            token = str(page["nextBackwardToken"])
        return found[max(0, len(found) - count) :]


def _latest(stream: _Answer) -> int:
    """Return the time in milliseconds of a stream's last event as CloudWatch records it.

    A stream without that record may be new, so its creation time is used.
    """
    return int(stream.get("lastEventTimestamp") or stream.get("creationTime") or 0)


def lines(
    reader: Reader,
    *,
    tail: int | None,
    follow: bool,
    request_id: str | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Iterator[LogLine]:
    """Yield the lines so far, or the last ``tail``; with ``follow`` also new lines, until ``over()`` is true."""
    if tail is not None and request_id is None and not follow:
        yield from reader.last(tail)
        return
    first = True
    while True:
        ended = not follow or _is_over(over)
        patience = _FOLLOWING if follow and not first else _PATIENCE
        found = select(reader.fresh(request_id, patience=patience), tail if first else None, request_id)
        yield from found
        if ended:
            return
        first = False
        reader.sleep(_FOLLOW_S)


def _is_over(over: Callable[[], bool]) -> bool:
    try:
        return over()
    except (ThrottledError, UnavailableError):
        return False  # the next turn asks again


def _line(stream: str, event: dict[str, Any]) -> LogLine:
    """Parse a line of a stream; a time in the line itself takes precedence over the time of the CloudWatch event."""
    line = read_line(stream, str(event["message"]).rstrip("\n"), event["timestamp"] / 1000)
    variant, _, instance = stream.partition("/")
    return replace(line, deployment=variant, replica=instance)
