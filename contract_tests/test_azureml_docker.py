"""The contract of the `azureml` target with real containers behind the mini cloud: a sample, or all of it (`full`)."""

from collections.abc import Mapping
from typing import Any

import pytest

from sdk_contract import suites
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.docker_rig import require_engine
from sdk_contract.rig import rig_fixture
from test_azureml import Quick

pytestmark = pytest.mark.docker


class Contained(AzureMLRig):
    """Models and jobs run as containers of the engine here."""

    adapter = Quick
    runner = "docker"

    def start(self) -> None:
        require_engine().close()
        super().start()

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "base": "debian-packages"}  # a small base that needs no registry


rig = rig_fixture(Contained)


class TestSample:
    """One endpoint, and one job, which the platform launches through bash."""

    test_life_of_an_endpoint = suites.DeploySuite.test_life_of_an_endpoint
    test_a_job = suites.TrainSuite.test_a_job
    names = staticmethod(suites.DeploySuite.names)


globals().update(suites.tests(pytest.mark.full))
