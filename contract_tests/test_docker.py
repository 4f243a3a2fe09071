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


def _suite(kind: type) -> type:
    return type(kind.__name__.removesuffix("Suite"), (kind,), {})


(
    TestCapabilities, TestOperations, TestDeploy, TestTraffic, TestPredict, TestTrain, TestMonitor, TestLogs,
    TestErrors, TestPrices, TestCrash,
) = map(_suite, suites.ALL)  # fmt: skip
