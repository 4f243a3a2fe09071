"""The `sagemaker` target on the wire: clients that die at a request, and a cloud that does wrong at one."""

from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_wire import WireSuite
from test_sagemaker import Quick


class Mini(SagemakerRig):
    """Every test on one account."""

    adapter = Quick


rig = rig_fixture(Mini)


class TestWire(WireSuite): ...
