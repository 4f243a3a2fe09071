"""The contract of the `azureml` target with real containers behind the mini cloud: a sample, or all of it (`full`)."""

import pytest

from sdk_contract import suites
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.docker_rig import ContainedRig
from sdk_contract.rig import rig_fixture
from test_azureml import Quick

pytestmark = pytest.mark.docker


class Contained(ContainedRig, AzureMLRig):
    """Models and jobs run as containers of the engine here."""

    adapter = Quick


rig = rig_fixture(Contained)


class TestSample(suites.SampleSuite): ...


globals().update(suites.tests(pytest.mark.full))
