"""The contract of the `vertex` target, on its mini cloud."""

import pytest

from sdk_contract import suites
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.rig import rig_fixture
from sdk_vertex import VertexAdapter


class VertexRig(VertexMiniRig):
    adapter = VertexAdapter


rig = rig_fixture(VertexRig)


class TestCapabilities(suites.CapabilitiesSuite): ...


class TestOperations(suites.OperationsSuite): ...


@pytest.mark.full
class TestDeploy(suites.DeploySuite): ...


class TestTraffic(suites.TrafficSuite): ...


class TestPredict(suites.PredictSuite): ...


@pytest.mark.full
class TestTrain(suites.TrainSuite): ...


@pytest.mark.full
class TestMonitor(suites.MonitorSuite): ...


@pytest.mark.full
class TestLogs(suites.LogsSuite): ...


class TestErrors(suites.ErrorsSuite): ...


class TestPrices(suites.PricesSuite): ...


@pytest.mark.full
class TestCrash(suites.CrashSuite): ...
