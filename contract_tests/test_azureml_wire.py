"""The `azureml` target on the wire: clients that die at a request, and a cloud that does wrong at one."""

from collections.abc import Mapping
from typing import ClassVar

from sdk.adapter import Kind
from sdk_azureml import AzureMLAdapter, _plan
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_wire import WireSuite


class Quick(AzureMLAdapter):
    """The mini cloud shows at once what it made, unless it is told to be late."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(AzureMLRig):
    """Every test on one workspace."""

    adapter = Quick


rig = rig_fixture(Mini)


class TestWire(WireSuite): ...
