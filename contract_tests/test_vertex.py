"""The contract of the `vertex` target, on its mini cloud: the real images run behind it, as processes."""

from sdk_contract import suites
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.rig import rig_fixture
from sdk_vertex import VertexAdapter


class VertexRig(VertexMiniRig):
    """Every test on one project."""

    adapter = VertexAdapter


rig = rig_fixture(VertexRig)


globals().update(suites.tests())
