"""Every suite of the contract, in the order in which failures are easiest to understand."""

from .suite_capabilities import CapabilitiesSuite
from .suite_crash import CrashSuite
from .suite_deploy import DeploySuite
from .suite_errors import ErrorsSuite
from .suite_logs import LogsSuite
from .suite_monitor import MonitorSuite
from .suite_operations import OperationsSuite
from .suite_predict import PredictSuite
from .suite_prices import PricesSuite
from .suite_traffic import TrafficSuite
from .suite_train import TrainSuite

ALL = (
    CapabilitiesSuite,
    OperationsSuite,
    DeploySuite,
    TrafficSuite,
    PredictSuite,
    TrainSuite,
    MonitorSuite,
    LogsSuite,
    ErrorsSuite,
    PricesSuite,
    CrashSuite,
)

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
    "TrafficSuite",
    "TrainSuite",
]
