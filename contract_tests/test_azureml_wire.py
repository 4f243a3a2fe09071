"""The `azureml` target on the wire: clients that die at a request, and a cloud that does wrong at one."""

from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_wire import WireSuite
from test_azureml import Quick


class Mini(AzureMLRig):
    """Every test on one workspace."""

    adapter = Quick


rig = rig_fixture(Mini)


class TestWire(WireSuite): ...
