"""The `vertex` target on the wire: clients that die at a request, and a cloud that does wrong at one."""

from sdk.client import Client
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_wire import WireSuite
from sdk_vertex import VertexAdapter


class Mini(VertexMiniRig):
    """Every test on one project; any client may be one that dies, so leases are short."""

    adapter = VertexAdapter

    def client(self, *, owner: str | None = None, machine: str = "here") -> Client:
        """See :meth:`Rig.client`."""
        owner = owner or self.owner
        made = super().client(owner=owner, machine=machine)
        session = made.session()
        session.executor = self.executor(
            session.adapter, owner=owner, state_dir=session.state_dir, clock=self.clock, target=session.target
        )
        return made


rig = rig_fixture(Mini)


class TestWire(WireSuite): ...
