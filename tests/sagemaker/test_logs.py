"""Reading CloudWatch Logs as it is: many streams, empty pages, late lines, few reads a second."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sdk.errors import ThrottledError
from sdk_contract.clouds.sagemaker.keys import Spot
from sdk_sagemaker._logs import Reader, endpoint_group, lines

SPOT = Spot("123456789012", "us-east-1")


@pytest.fixture
def written(place: Any) -> Any:
    """Writes lines into a stream of an endpoint's log group."""
    moto = place.cloud._need().moto

    def write(name: str, stream: str, *texts: str, ago: float = 0.0) -> None:
        at = time.time() - ago
        moto.log(SPOT, endpoint_group(name), stream, [(at + 0.001 * n, text) for n, text in enumerate(texts)])

    yield write
    place.cloud.faults.clear()


def reader(place: Any, name: str, prefix: str = "", pauses: list[float] | None = None) -> Reader:
    sleep = (lambda _: None) if pauses is None else pauses.append
    return Reader(place.client(instance="ml.m5.large").session().adapter.aws, endpoint_group(name), prefix, sleep=sleep)


def texts(found: Any) -> list[str]:
    return [line.text for line in found]


@pytest.mark.parametrize("prefix", ["", "d1/"])
def test_the_tail_of_more_streams_than_a_page_has(place: Any, written: Any, prefix: str) -> None:
    """Instances come and go: the last lines are those of the last ones, whatever they are called."""
    name = f"many-{len(prefix)}"
    for number in range(60):
        written(name, f"d1/i-{number:03d}", f"old {number}", ago=9000 - number)
    written(name, "d1/i-zzz", "first", "second", ago=5)
    written(name, "d1/i-055", "third")
    with place.cloud.calls.since() as calls:
        assert ["first", "second", "third"] == texts(lines(reader(place, name, prefix), tail=3, follow=False))
    reads = sum(call.operation == "GetLogEvents" for call in calls)
    assert reads <= 4, "two streams, each until its token comes again: old streams are not read"
    assert 63 == len(list(lines(reader(place, name, prefix), tail=200, follow=False)))


def test_a_busy_platform_does_not_end_a_follow(place: Any, written: Any) -> None:
    """Reads that are refused are repeated with growing pauses, and nothing is lost or told twice."""
    written("busy", "d1/i-1", "one")
    pauses: list[float] = []
    found = lines(reader(place, "busy", pauses=pauses), tail=None, follow=True)
    assert "one" == next(found).text
    place.cloud.faults.add("FilterLogEvents", "throttle", times=4)
    written("busy", "d1/i-1", "two")
    assert "two" == next(found).text
    assert [1.0, 1.0, 2.0, 4.0, 8.0] == pauses, "the usual pause, then one for each refusal"


def test_a_platform_that_stays_busy_is_an_error(place: Any, written: Any) -> None:
    """Whoever does not follow is told so after some attempts."""
    written("stuck", "d1/i-1", "one")
    place.cloud.faults.add("FilterLogEvents", "throttle", times=99)
    with pytest.raises(ThrottledError):
        list(lines(reader(place, "stuck"), tail=None, follow=False))


def test_late_lines_of_other_streams_are_told(place: Any, written: Any) -> None:
    """A line that is older than what was read already comes with the next look, once."""
    one = reader(place, "late")
    written("late", "d1/i-1", "young")
    assert ["young"] == texts(one.fresh())
    written("late", "d1/i-2", "late", ago=90)
    written("late", "d1/i-1", "younger")
    assert ["late", "younger"] == texts(one.fresh())
    assert [] == one.fresh()


class Pages:
    """CloudWatch that answers from prepared pages; keeps the tokens that it was asked for."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = list(pages)
        self.tokens: list[Any] = []

    def find(self, _service: str, _operation: str, _about: str, **query: Any) -> Any:
        self.tokens.append(query.get("nextToken"))
        return self.pages.pop(0)


def event(text: str, at: int) -> dict[str, Any]:
    return {"message": text, "timestamp": at, "eventId": text, "logStreamName": "d1/i-1"}


def test_an_empty_page_is_not_the_last_one() -> None:
    """CloudWatch sends pages without events as long as it searches: forwards and backwards."""
    forwards: Any = Pages(
        {"events": [], "nextToken": "a"}, {"events": [event("x", 5)], "nextToken": "b"}, {"events": []}
    )
    assert ["x"] == texts(Reader(forwards, "g", sleep=lambda _: None).fresh())
    assert [None, "a", "b"] == forwards.tokens
    backwards: Any = Pages(
        {"logStreams": [{"logStreamName": "d1/i-1", "lastEventTimestamp": 9}]},
        {"events": [], "nextBackwardToken": "a"},
        {"events": [event("y", 7), event("z", 8)], "nextBackwardToken": "b"},
        {"events": [event("x", 5)], "nextBackwardToken": "c"},
        {"events": [], "nextBackwardToken": "c"},
    )
    assert ["x", "y", "z"] == texts(Reader(backwards, "g", sleep=lambda _: None).last(5))
    assert [None, None, "a", "b", "c"] == backwards.tokens
