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


class TestSample(suites.SampleSuite): ...


globals().update(suites.tests(pytest.mark.full))
