"""The contract of the `sagemaker` target with real containers behind the mini cloud: sampled, or whole (`full`)."""

import pytest

from sdk_contract import suites
from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.docker_rig import ContainedRig
from sdk_contract.rig import rig_fixture
from test_sagemaker import Quick

pytestmark = pytest.mark.docker


class Contained(ContainedRig, SagemakerRig):
    """Models and jobs run as containers of the engine here."""

    adapter = Quick


rig = rig_fixture(Contained)


class TestSample(suites.SampleSuite): ...


globals().update(suites.tests(pytest.mark.full))
