"""What one window shows of its rate, and where the delay of the load generator itself decides."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import pytest

from sdk.compare.load import Volley
from sdk.compare.windows import judged
from tests.compare.virtual import late


def _window(**changed: Any) -> Volley:
    count = 100
    good = Volley(
        due=array("d", [n / 10 for n in range(count)]).tobytes(),
        lag=array("d", [0.0] * count).tobytes(),
        took=array("d", [0.090] * count).tobytes(),
        status=array("H", [200] * count).tobytes(),
        planned=count, wall_s=10.0, cpu_s=3.0, loop_s=2.0, opened=0, backlog=3, grew=0.0,
    )  # fmt: skip
    return msgspec.structs.replace(good, **changed)


@pytest.mark.parametrize(
    ("volley", "outcome", "reason"),
    [
        (_window(), "passed", ""),
        (late(_window(), 0.009), "passed", ""),
        (late(_window(), 0.011), "spoiled", "p95 90.0 to 101.0 ms"),
        (late(_window(took=array("d", [0.101] * 100).tobytes()), 0.011), "missed", "p95 101.0 ms is over 100 ms"),
        (_window(took=array("d", [0.090] * 90 + [0.2] * 10).tobytes()), "missed", "p95 200.0 ms"),
        (_window(took=array("d", [0.090] * 90 + [0.2] * 10).tobytes(), opened=6), "spoiled", "p95 90.0 to 200.0 ms"),
        (_window(planned=101), "missed", "were waiting"),
        (_window(backlog=8, grew=0.3), "passed", ""),  # ten seconds are long enough for the queue to reach 100 ms
        (_window(planned=101, outcome="passed"), "passed", ""),  # the trial was certain earlier
        (_window(status=array("H", [200] * 99 + [503]).tobytes()), "missed", "1.00% of the requests failed"),
    ],
)
def test_what_a_window_shows_of_its_rate(volley: Volley, outcome: str, reason: str) -> None:
    """Borne from when requests were due, missed from when they were sent; in between the generator's delay decides."""
    probe = judged(volley, 10.0, 100.0, 0.001)
    assert outcome == probe.outcome
    assert reason in probe.reason


def test_a_backlog_that_cannot_have_reached_the_objective_yet() -> None:
    """Ten seconds are too short to see a slow queue come to five seconds, and say nothing without an objective."""
    assert "the backlog grew" in judged(_window(backlog=8, grew=0.3), 10.0, 5_000.0, 0.001).reason
    assert "the backlog grew" in judged(_window(backlog=8, grew=0.3), 10.0, None, 0.001).reason
    assert "passed" == judged(_window(backlog=7, grew=0.3), 10.0, None, 0.001).outcome


def test_a_rate_that_was_not_sent_is_not_borne() -> None:
    """Without an objective too: who sends the last requests two seconds late has sent at another rate."""
    assert "spoiled" == judged(late(_window(), 2.0), 10.0, None, 0.001).outcome
    assert "passed" == judged(late(_window(), 0.2), 10.0, None, 0.001).outcome
