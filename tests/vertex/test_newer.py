"""A platform newer than the installed client library: unknown fields, types and states never break a verb."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Labels, Materials, Operation, Resource
from sdk.adapter.types import JobState
from sdk_contract.clouds.timing import Step
from sdk_contract.clouds.vertex.operations import Operations
from sdk_vertex._operations import word_of
from sdk_vertex._plan import ENDPOINT
from sdk_vertex._train import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vertex.conftest import Place

OPEN = 120  # operations: more than one page of them


@pytest.fixture
def newer(place: Place) -> Iterator[Place]:
    """The mini cloud, which knows more than Google's library does."""
    place.cloud.common.newer = True
    yield place
    place.cloud.common.newer = False


def test_operations_with_unknown_fields_and_types(newer: Place, adapter: Any) -> None:
    """What begins them and what asks for them goes through, while they run and when they are done."""
    labels = Labels("churn", "me", "t1")
    endpoint = Resource(ENDPOINT, "churn", {"dedicated": False, "tags": {}}, labels)
    newer.cloud.faults.add("CreateEndpoint", "stuck", seconds=3.0)
    begun = adapter.create(endpoint, Materials(), timeout=10.0).operation
    assert begun is not None
    assert not adapter.operation(begun, timeout=10.0).done
    while not adapter.operation(begun, timeout=10.0).done:
        time.sleep(0.05)
    live = adapter.read(endpoint.ref, timeout=10.0)
    assert live is not None
    ended = adapter.delete(live, timeout=10.0).operation
    assert ended is not None
    assert adapter.operation(ended, timeout=10.0) == Operation(ended, done=True)
    assert adapter.read(endpoint.ref, timeout=10.0) is None


def test_a_deploy_in_progress_is_found_behind_many_operations(place: Place, adapter: Any) -> None:
    """The list of operations has pages, and pages may be empty."""
    world = place.cloud.world
    endless = Step("running", 0.0, lambda: False)
    for steps in [*([()] * OPEN), (endless,)]:
        line = world.pace.line(*steps, final="done")
        world.begin("DeployModel", "endpoints/busy", line, dict, kind="DeployModelResponse")
    assert Operations.most < OPEN
    holder = f"{world.parent}/endpoints/busy"
    assert ["DeployModelOperationMetadata"] == adapter._control.unfinished(holder, timeout=10.0)


@pytest.mark.filterwarnings("ignore:Unrecognized JobState")
def test_an_unknown_state_of_a_job() -> None:
    """It is a job that is not over, and its state is shown as the platform sent it."""
    from google.cloud.aiplatform_v1 import CustomJob

    kind: Any = CustomJob
    job = kind.from_json('{"state": 99, "displayName": "new"}')
    assert (JobState.QUEUED, "99") == (state_of(job), word_of(job.state))
