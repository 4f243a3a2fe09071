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


class TestSample:
    """One endpoint and one job."""

    test_life_of_an_endpoint = suites.DeploySuite.test_life_of_an_endpoint
    test_a_job = suites.TrainSuite.test_a_job
    names = staticmethod(suites.DeploySuite.names)


globals().update(suites.tests(pytest.mark.full))
