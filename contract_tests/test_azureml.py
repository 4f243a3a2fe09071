"""The contract of the `azureml` target, on a mini cloud that runs the real image behind each endpoint and job."""

import pytest

from sdk_azureml import AzureMLAdapter
from sdk_contract import suites
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.rig import rig_fixture


class Mini(AzureMLRig):
    """Every test on one workspace."""

    adapter = AzureMLAdapter


rig = rig_fixture(Mini)


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


@pytest.mark.full
class TestCrash(suites.CrashSuite): ...
