"""The contract of the `azureml` target, on a mini cloud that runs the real image behind each endpoint and job."""

from collections.abc import Mapping
from typing import ClassVar

from sdk.adapter import Kind
from sdk_azureml import AzureMLAdapter, _plan
from sdk_contract import suites
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.rig import rig_fixture


class Quick(AzureMLAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(AzureMLRig):
    """Every test on one workspace."""

    adapter = Quick


rig = rig_fixture(Mini)

globals().update(suites.tests())
