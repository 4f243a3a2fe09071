"""The contract of the `docker` target: real containers of the engine here."""

import pytest

from sdk_contract import suites
from sdk_contract.docker_rig import EngineRig
from sdk_contract.rig import rig_fixture
from sdk_docker import DockerAdapter

pytestmark = pytest.mark.docker


class DockerRig(EngineRig):
    adapter = DockerAdapter


rig = rig_fixture(DockerRig)

globals().update(suites.tests())
