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


class TestDeploy(suites.DeploySuite): ...


class TestTraffic(suites.TrafficSuite): ...


class TestPredict(suites.PredictSuite): ...


class TestTrain(suites.TrainSuite): ...


class TestMonitor(suites.MonitorSuite): ...


class TestLogs(suites.LogsSuite): ...


class TestErrors(suites.ErrorsSuite): ...


class TestPrices(suites.PricesSuite): ...


class TestCrash(suites.CrashSuite):
    # the lease of a client that is gone lasts two minutes by the cloud's clock, whatever ours says
    test_the_machine_is_gone_as_well = pytest.mark.full(suites.CrashSuite.test_the_machine_is_gone_as_well)
