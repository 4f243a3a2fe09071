"""A window that the generator spoiled is known as one."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import pytest

from sdk.compare.load import Limits, Volley, spoiled


def _volley(**changed: Any) -> Volley:
    count = 1_000
    series = array("d", [0.010] * count).tobytes()
    good = Volley(
        due=series,
        lag=array("d", [0.0002] * count).tobytes(),
        took=series,
        status=array("H", [200] * count).tobytes(),
        planned=count,
        wall_s=10.0,
        cpu_s=3.0,
        loop_s=2.0,
        opened=0,
        backlog=3,
        grew=0.0,
    )
    return msgspec.structs.replace(good, **changed)


def _late(seconds: float, many: int) -> bytes:
    return array("d", [seconds] * many + [0.0] * (1_000 - many)).tobytes()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"lag": _late(0.0011, 11)}, "lag p99 1.1 ms, 1.0 ms allowed"),
        ({"lag": _late(0.0011, 10)}, ""),
        ({"lag": _late(0.004, 50), "took": array("d", [0.050] * 1_000).tobytes()}, ""),  # a tenth of the median
        ({"loop_s": 8.1}, "81% of a core"),
        ({"opened": 11}, "11 connections"),
        ({"opened": 10}, ""),
        ({"took": b"", "lag": b"", "due": b"", "status": b""}, "nothing was sent"),
    ],
)
def test_spoiled(changed: dict[str, Any], reason: str) -> None:
    """Each limit, on both sides of it."""
    found = spoiled(_volley(**changed), Limits())
    assert ([] if not reason else [True]) == [reason in one for one in found]
