"""The contract of the `vertex` target with real containers behind the mini cloud: a sample, or all of it (`full`)."""

import pytest

from sdk_contract import suites
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.docker_rig import ContainedRig
from sdk_contract.rig import rig_fixture
from sdk_vertex import VertexAdapter

pytestmark = pytest.mark.docker


class Contained(ContainedRig, VertexMiniRig):
    """Models and jobs run as containers of the engine here."""

    adapter = VertexAdapter


rig = rig_fixture(Contained)


class TestSample:
    """One endpoint and one job."""

    test_life_of_an_endpoint = suites.DeploySuite.test_life_of_an_endpoint
    test_a_job = suites.TrainSuite.test_a_job
    names = staticmethod(suites.DeploySuite.names)


globals().update(suites.tests(pytest.mark.full))
