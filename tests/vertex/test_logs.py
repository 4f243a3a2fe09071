"""Lines of Cloud Logging: their forms, complete tails, and reads within the quota."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.errors import ThrottledError
from sdk_vertex._access import Access
from sdk_vertex._logs import Logs, endpoint_filter, read
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.adapter.types import LogLine

    Answer = Callable[[int, dict[str, Any]], httpx.Response]

SERVER = json.dumps({"event": "request", "request_id": "r1", "message": "x", "level": "info"})


@pytest.mark.parametrize(
    ("payload", "text", "request_id"),
    [
        ({"textPayload": "hello\n"}, "hello", None),
        ({"jsonPayload": {"levelname": "ERROR", "message": "hello\n"}}, "hello", None),
        ({"jsonPayload": {"message": "hello\n", "levelname": "INFO", "attrs": {"tag": "w"}}}, "hello", None),
        ({"jsonPayload": {"levelname": "INFO", "message": f"{SERVER}\n"}}, SERVER, "r1"),
        ({"jsonPayload": json.loads(SERVER)}, SERVER, "r1"),
        ({"jsonPayload": {"message": {"not": "text"}}}, '{"message": {"not": "text"}}', None),
        ({"jsonPayload": {"levelname": "INFO", "message": "{no json"}}, "{no json", None),
        ({}, "", None),
    ],
)
def test_a_line_is_what_the_container_wrote(payload: dict[str, Any], text: str, request_id: str | None) -> None:
    line = read({"timestamp": "2026-11-30T00:00:00Z", **payload})
    assert (text, request_id) == (line.text, line.request_id)


def test_a_request_is_looked_for_in_messages_too() -> None:
    assert 'jsonPayload.message:"r1"' in endpoint_filter("europe-west4", "churn", None, "r1")


class World:
    """A log, a clock that only sleeping moves, and how often it was read."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[int, dict[str, Any]], httpx.Response]
    ) -> None:
        monkeypatch.setenv("MLPORT_MOCK_VERTEX_URL", "http://127.0.0.1:1")
        self.now, self.reads, self._answer = 0.0, list[float](), answer
        options = VertexOptions(project="acme-ml", region="europe-west4")
        access = Access(options, lambda: self.now, httpx.MockTransport(self._read))
        self.logs = Logs(access, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _read(self, request: httpx.Request) -> httpx.Response:
        self.reads.append(self.now)
        return self._answer(len(self.reads), json.loads(request.content))

    def lines(self, **given: Any) -> list[LogLine]:
        asked: dict[str, Any] = {"since": 0.0, "tail": None, "follow": None, **given}
        return list(self.logs.lines("x=1", **asked))


def entry(number: int) -> dict[str, Any]:
    """One entry of a log."""
    return {"insertId": str(number), "timestamp": "2026-11-30T00:00:00Z", "textPayload": f"line {number}"}


def refused(seconds: str = "") -> httpx.Response:
    """The answer to a read above the quota."""
    words = "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'"
    body = {"error": {"code": 429, "message": words, "status": "RESOURCE_EXHAUSTED"}}
    return httpx.Response(429, json=body, headers={"retry-after": seconds} if seconds else {})


def test_a_tail_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages may be empty, or shorter than was asked for, and there is more behind them."""

    def answer(number: int, _body: dict[str, Any]) -> httpx.Response:
        pages: list[Any] = [{}, {"entries": [entry(9), entry(8)]}, {"entries": []}, {"entries": [entry(7), entry(6)]}]
        return httpx.Response(200, json={**pages[number - 1], "nextPageToken": "more"})

    world = World(monkeypatch, answer)
    assert ["line 7", "line 8", "line 9"] == [line.text for line in world.lines(tail=3)]
    assert 4 == len(world.reads)


def test_following_stays_within_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most every five seconds, less often while nothing is written; what comes is shown once."""

    def answer(number: int, _body: dict[str, Any]) -> httpx.Response:
        return httpx.Response(200, json={"entries": [entry(one) for one in range(min(4, number))]})

    world = World(monkeypatch, answer)
    lines = world.lines(follow=lambda: world.now < 120)
    assert ["line 0", "line 1", "line 2", "line 3"] == [line.text for line in lines]
    assert 5.0 <= min(
        later - sooner for sooner, later in zip(world.reads, world.reads[1:], strict=False) if later > sooner
    )
    assert len(world.reads) <= 14


def test_following_goes_on_after_a_refusal_for_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits as long as it is told to, or for some seconds."""

    def answer(number: int, _body: dict[str, Any]) -> httpx.Response:
        if number in {2, 3}:
            return refused("30" if number == 2 else "")
        return httpx.Response(200, json={"entries": [entry(one) for one in range(number)]})

    world = World(monkeypatch, answer)
    lines = world.lines(follow=lambda: len(world.reads) < 5)
    assert [f"line {one}" for one in range(len(lines))] == [line.text for line in lines]
    assert len(lines) >= 5
    assert world.now >= 40.0


def test_a_quota_that_stays_used_up_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda _number, _body: refused())
    with pytest.raises(ThrottledError):
        world.lines(tail=3)
    assert 5 == len(world.reads)


def test_lines_of_the_mini_cloud(place: Any, adapter: Any) -> None:
    """The mini cloud wraps lines as the platform does, and has empty pages."""
    place.cloud.logs.empty_pages = 2
    assert [] == list(adapter._logs.lines("x=1", since=0.0, tail=5, follow=None))
    with place.cloud.calls.since() as calls:
        assert [] == list(adapter._logs.lines("x=1", since=0.0, tail=None, follow=None))
    place.cloud.logs.empty_pages = 0
    assert 3 == len([call for call in calls if call.operation == "ListLogEntries"])
