"""Shelf under the same contract as the built-in adapters."""

from sdk_contract import suites
from sdk_contract.rig import rig_fixture
from shelf_rig import ShelfRig

rig = rig_fixture(ShelfRig)


class TestCapabilities(suites.CapabilitiesSuite): ...


class TestOperations(suites.OperationsSuite): ...


class TestDeploy(suites.DeploySuite): ...


class TestTraffic(suites.TrafficSuite): ...


class TestPredict(suites.PredictSuite): ...


class TestTrain(suites.TrainSuite): ...


class TestMonitor(suites.MonitorSuite): ...


class TestLogs(suites.LogsSuite): ...


class TestErrors(suites.ErrorsSuite): ...


class TestPrices(suites.PricesSuite): ...


class TestCrash(suites.CrashSuite): ...
