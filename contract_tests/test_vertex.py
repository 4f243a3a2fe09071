"""What the contract says of planning, for the `vertex` target on its mini cloud; the other suites are to follow."""

from sdk_contract import suites
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.rig import rig_fixture
from sdk_vertex import VertexAdapter


class VertexRig(VertexMiniRig):
    adapter = VertexAdapter


rig = rig_fixture(VertexRig)


class TestCapabilities(suites.CapabilitiesSuite): ...
