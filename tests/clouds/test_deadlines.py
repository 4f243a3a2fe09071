"""A deploy that runs out of time on each cloud, in each of its operations: the operation is waited out and undone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import TimedOut
from sdk_contract.rig import shared_state
from sdk_contract.samples import ANSWER
from tests.clouds.rigs import AzureML, Sagemaker, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator

STUCK_S, LIMIT = 6.0, "3s"


class PunctualVertex(Vertex):
    haste = 1.0  # times of the fault and of the client are the same


@pytest.fixture(scope="module", params=[Sagemaker, PunctualVertex, AzureML], ids=lambda kind: kind.adapter.provider)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A mini cloud that has the images of both models already."""
    with pytest.MonkeyPatch.context() as patch:
        if "MLPORT_STATE_DIR" not in os.environ:  # environments and images are made once for all
            patch.setenv("MLPORT_STATE_DIR", str(shared_state(tmp_path_factory)))
        with request.param(tmp_path_factory.mktemp("rig")) as made:
            client, name = made.client(), made.name("warm")
            for model in (1, 2):
                client.deploy(made.model(model), name=name)
            client.delete(name)
            yield made


FIRST = [("CreateEndpoint", "sagemaker vertex"), ("DeployModel", "vertex"), ("PutEndpoint", "azureml")]
SECOND = [("UpdateEndpoint", "sagemaker"), ("UploadModel", "vertex"), ("PutDeployment", "azureml")]


def late(rig: Any, operation: str, clouds: str, **deploy: Any) -> str:
    """Deploy while an operation is stuck for longer than the time limit; return the error's text."""
    if rig.adapter.provider not in clouds.split():
        pytest.skip("an operation of another cloud")
    fault = rig.cloud.faults.add(operation, "stuck", seconds=STUCK_S)
    with pytest.raises(TimedOut) as error:
        rig.client().deploy(timeout=LIMIT, **deploy)
    assert 1 == fault.struck
    rig.cloud.faults.clear()
    return str(error.value)


@pytest.mark.full
@pytest.mark.parametrize(("operation", "clouds"), FIRST)
def test_a_first_deploy_leaves_nothing(rig: Any, operation: str, clouds: str) -> None:
    """The error names what was waited for, and its state."""
    before, name = rig.left(), rig.name("late")
    text = late(rig, operation, clouds, model=rig.model(1), name=name)
    assert before == rig.left()
    assert name in text
    assert "not done after 3 s" in text


@pytest.mark.full
@pytest.mark.parametrize(("operation", "clouds"), SECOND)
def test_a_second_deploy_leaves_the_first(rig: Any, operation: str, clouds: str) -> None:
    """It answers as before, with what it had."""
    client, name = rig.client(), rig.name("late")
    client.deploy(rig.model(1), name=name)
    before = rig.left()
    text = late(rig, operation, clouds, model=rig.model(2), name=name)
    assert before == rig.left()
    assert name in text
    assert [3.0] == list(client.predict(name, [[ANSWER, 2.0]]).values)
    client.delete(name)
