"""What Vertex AI refuses is reported at once: nothing is waited for that is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import QuotaError
from sdk_contract.clouds.vertex.errors import Refusal
from tests.recording import RecordingClock

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = "contract_tests.test_vertex:Quick"  # does not wait a minute for what the platform might show late

MANY = 150  # of two processors each: more than the project may have


def test_a_first_deploy_over_quota(place: Any) -> None:
    """DeployModel is refused: what was made before it is deleted without a pause."""
    clock = RecordingClock()
    client = place.client(clock=clock)
    with pytest.raises(QuotaError, match="custom_model_serving_cpus"):
        client.deploy(place.samples.model(1), name="refused", replicas=MANY)
    assert clock.paused < 5.0, "short looks at operations that run, and no settle time"
    assert [] == [one for one in place.running() if "refused" in one]


def test_an_update_over_quota(place: Any) -> None:
    """A second deployment is refused: the first one serves as before."""
    clock = RecordingClock()
    client = place.client(clock=clock)
    client.deploy(place.samples.model(1), name="full")
    clock.paused = 0.0
    with pytest.raises(QuotaError):
        client.deploy(place.samples.model(2), name="full", replicas=MANY)
    assert clock.paused < 5.0
    assert [100] == [one.traffic for one in client.status("full").deployments]
    client.delete("full")


def refusing(words: str, word: str = "FAILED_PRECONDITION") -> Callable[[], Any]:
    """An answer of the platform instead of what was asked."""

    def answer() -> Any:
        raise Refusal(word, words)

    return answer


@pytest.mark.full
def test_a_new_project_and_changes_in_progress(place: Any) -> None:
    """What is refused for the first minutes, or while something else is changed, is tried again until it is taken."""
    first_use = refusing(
        "Service agents are being provisioned (https://cloud.google.com/vertex-ai/docs/general/access-control"
        "#service-agents). So please try again in a few minutes."
    )
    race = refusing("There are other operations running on the Endpoint.")
    place.cloud.common.planned |= {
        "UploadModel": [first_use, first_use],
        "DeployModel": [first_use, race],
        "UpdateEndpoint": [race, refusing("The etag was changed meanwhile.", "ABORTED")],
    }
    client = place.client(provider=QUICK)
    client.deploy(place.samples.model(1), name="new-project")
    assert {"UploadModel": [], "DeployModel": [], "UpdateEndpoint": []} == place.cloud.common.planned
    assert [100] == [one.traffic for one in client.status("new-project").deployments]
    client.delete("new-project")
    assert [] == [one for one in place.running() if "new-project" in one]


def test_a_machine_that_is_not_to_be_had(place: Any) -> None:
    """A 503 for lack of capacity is a limit, which is reported at once, and what was made before is deleted."""
    text = "Machine type n1-standard-2 is temporarily unavailable in europe-west4. Please try another one."
    place.cloud.common.planned["DeployModel"] = [refusing(text, "UNAVAILABLE")]
    with pytest.raises(QuotaError, match="temporarily unavailable"):
        place.client(provider=QUICK).deploy(place.samples.model(1), name="no-room")
    assert [] == [one for one in place.running() if "no-room" in one]
