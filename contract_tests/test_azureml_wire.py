"""The `azureml` target on the wire: clients that die at a request, and a cloud that does wrong at one."""

from collections.abc import Mapping
from typing import ClassVar

from sdk.adapter import Kind
from sdk_azureml import AzureMLAdapter, _plan
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_wire import WireSuite


class Settling(AzureMLAdapter):
    """What is planned to be late is seen well before it is given up."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=1.0)


class Mini(AzureMLRig):
    """Every test on one workspace."""

    adapter = Settling


rig = rig_fixture(Mini)


class TestWire(WireSuite): ...
