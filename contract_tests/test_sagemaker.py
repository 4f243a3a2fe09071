"""The contract of the `sagemaker` target, on the mini cloud: the real images run behind it, as processes."""

from collections.abc import Mapping
from typing import ClassVar

from sdk.adapter import Kind
from sdk_contract import suites
from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.rig import rig_fixture
from sdk_sagemaker import SagemakerAdapter, _plan


class Quick(SagemakerAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(SagemakerRig):
    """Every test on one account."""

    adapter = Quick


rig = rig_fixture(Mini)


globals().update(suites.tests())
