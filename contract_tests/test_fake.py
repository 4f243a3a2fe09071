"""The contract of the hostile fake, in both of its shapes."""

from sdk_contract import suites
from sdk_contract.fake_rig import ConfigRig, TrafficRig
from sdk_contract.rig import rig_fixture

rig = rig_fixture(ConfigRig, TrafficRig)


class TestCapabilities(suites.CapabilitiesSuite): ...


class TestOperations(suites.OperationsSuite): ...


class TestDeploy(suites.DeploySuite): ...


class TestTraffic(suites.TrafficSuite): ...


class TestErrors(suites.ErrorsSuite): ...


class TestPrices(suites.PricesSuite): ...


class TestCrash(suites.CrashSuite): ...
