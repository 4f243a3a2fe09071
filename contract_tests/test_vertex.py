"""The contract of the `vertex` target, on its mini cloud: the real images run behind it, as processes."""

from collections.abc import Mapping
from typing import ClassVar

from sdk.adapter import Kind
from sdk_contract import suites
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.rig import rig_fixture
from sdk_vertex import VertexAdapter, _plan


class Quick(VertexAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class VertexRig(VertexMiniRig):
    """Every test on one project."""

    adapter = Quick


rig = rig_fixture(VertexRig)


globals().update(suites.tests())
