"""Every suite of the contract, in the order in which failures are easiest to understand."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .suite_capabilities import CapabilitiesSuite
from .suite_crash import CrashSuite
from .suite_deploy import DeploySuite
from .suite_errors import ErrorsSuite
from .suite_logs import LogsSuite
from .suite_monitor import MonitorSuite
from .suite_operations import OperationsSuite
from .suite_predict import PredictSuite
from .suite_prices import PricesSuite
from .suite_stream import StreamSuite
from .suite_traffic import TrafficSuite
from .suite_train import TrainSuite

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = (
    CapabilitiesSuite,
    OperationsSuite,
    DeploySuite,
    TrafficSuite,
    PredictSuite,
    StreamSuite,
    TrainSuite,
    MonitorSuite,
    LogsSuite,
    ErrorsSuite,
    PricesSuite,
    CrashSuite,
)


class SampleSuite:
    """One endpoint and one job, for rigs on which all suites together take too long."""

    test_life_of_an_endpoint = DeploySuite.test_life_of_an_endpoint
    test_a_job = TrainSuite.test_a_job
    names = staticmethod(DeploySuite.names)
    processes = staticmethod(TrainSuite.processes)


def tests(*marks: Callable[[type], type]) -> dict[str, type]:
    """Return a test class for each suite, with these marks, for the ``globals()`` of a test file."""
    made: dict[str, type] = {}
    for suite in ALL:
        name = f"Test{suite.__name__.removesuffix('Suite')}"
        made[name] = functools.reduce(lambda kind, mark: mark(kind), marks, type(name, (suite,), {}))
    return made


__all__ = [
    "ALL",
    "CapabilitiesSuite",
    "CrashSuite",
    "DeploySuite",
    "ErrorsSuite",
    "LogsSuite",
    "MonitorSuite",
    "OperationsSuite",
    "PredictSuite",
    "PricesSuite",
    "SampleSuite",
    "StreamSuite",
    "TrafficSuite",
    "TrainSuite",
    "tests",
]
