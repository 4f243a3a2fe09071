"""Any project and any region: made at first use on a mini cloud without arguments, and apart from one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions

from sdk.errors import NotFoundError
from sdk_contract.clouds.vertex.rig import HastyClock
from sdk_contract.samples import ANSWER, GOOD_SCRIPT, SAY, write_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk.client import Client
    from tests.vertex.conftest import Place

HOME = ("mini-project", "europe-west4")
NEAR = ("mini-project", "us-central1")  # another region of the same project
FAR = ("acme-prod-42", "europe-west4")  # the same region of another project
PLACES = (HOME, NEAR, FAR)
JOB = f"import os\n\nprint('job', os.environ['CLOUD_ML_JOB_ID'], flush=True)\n{GOOD_SCRIPT}"


def parent(place: tuple[str, str]) -> str:
    return f"projects/{place[0]}/locations/{place[1]}"


def test_an_endpoint_is_in_its_project_and_region_only(official: Callable[..., Any]) -> None:
    """By Google's own client: the same id in three places, and each list, change and delete is for one of them."""
    client = official("EndpointServiceClient")
    for place in PLACES:
        body = {"display_name": "-".join(place)}
        client.create_endpoint({"parent": parent(place), "endpoint_id": "churn", "endpoint": body}).result(timeout=30)
    client.delete_endpoint({"name": f"{parent(HOME)}/endpoints/churn"}).result(timeout=30)
    listed = [[one.display_name for one in client.list_endpoints({"parent": parent(place)})] for place in PLACES]
    assert [[], ["mini-project-us-central1"], ["acme-prod-42-europe-west4"]] == listed
    with pytest.raises(exceptions.NotFound):
        client.get_endpoint({"name": f"{parent(HOME)}/endpoints/churn"})
    numbers = {
        client.get_endpoint({"name": f"{parent(one)}/endpoints/churn"}).name.split("/")[1] for one in (NEAR, FAR)
    }
    assert 2 == len(numbers)


def test_a_project_is_known_by_its_number(official: Callable[..., Any]) -> None:
    """Names as the platform writes them lead back to what they name, also those of operations."""
    client = official("EndpointServiceClient")
    request = {"parent": parent(FAR), "endpoint_id": "churn", "endpoint": {"display_name": "churn"}}
    made = client.create_endpoint(request).result(timeout=30)
    assert not made.name.startswith(parent(FAR))
    assert made == client.get_endpoint({"name": made.name})


@pytest.mark.parametrize(
    ("place", "kind"),
    [(("P", "europe-west4"), exceptions.Forbidden), (("acme-prod-42", "mars"), exceptions.BadRequest)],
)
def test_a_place_that_cannot_be_is_refused(
    official: Callable[..., Any], place: tuple[str, str], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        list(official("EndpointServiceClient").list_endpoints({"parent": parent(place)}))


def test_a_model_of_another_region_cannot_be_deployed(official: Callable[..., Any]) -> None:
    """Even when this region has an endpoint for it."""
    client = official("EndpointServiceClient")
    request = {"parent": parent(HOME), "endpoint_id": "churn", "endpoint": {"display_name": "churn"}}
    client.create_endpoint(request).result(timeout=30)
    resources = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
    deployed = {"model": f"{parent(NEAR)}/models/churn", "dedicated_resources": resources}
    with pytest.raises(exceptions.NotFound, match="us-central1/models/churn"):
        client.deploy_model({"endpoint": f"{parent(HOME)}/endpoints/churn", "deployed_model": deployed})


@pytest.fixture(scope="module")
def clients(place: Place) -> Iterator[dict[tuple[str, str], Client]]:
    """A client for each place; one endpoint, of the same name, in each, with another model."""
    made: dict[tuple[str, str], Client] = {
        one: place.client(clock=HastyClock(20.0), project=one[0], region=one[1]) for one in PLACES
    }
    for number, client in enumerate(made.values(), start=1):
        client.deploy(place.samples.model(number), name="twin")
        for _ in range(number):
            client.predict("twin", [[SAY, number]])
    yield made
    for client in made.values():
        client.delete("twin")


def test_each_answers_for_itself(clients: dict[tuple[str, str], Client]) -> None:
    """Three endpoints of one name."""
    answers = [list(client.predict("twin", [[ANSWER, 2.0]]).values) for client in clients.values()]
    assert [[3.0], [4.0], [5.0]] == answers
    assert [["twin"]] * 3 == [[one.name for one in client.list()] for client in clients.values()]


def test_each_has_its_own_log(clients: dict[tuple[str, str], Client]) -> None:
    """The regions of a project share one log, endpoints of the same name in two of them do not."""
    said = [{line.text for line in client.logs("twin") if "told to say" in line.text} for client in clients.values()]
    assert [{f"contract: told to say {number}"} for number in (1, 2, 3)] == said


def test_each_has_its_own_metrics(clients: dict[tuple[str, str], Client], place: Place) -> None:
    """Counts, latencies and replicas are those of the endpoint in this region."""
    for where, client in clients.items():
        report = client.session().monitors().metrics("twin", window_s=7200, timeout=60)
        served = len(place.cloud.spots.at(*where).predictions.served)
        assert (served, {served}, 1) == (report.total, {one.count for one in report.latency}, report.replicas)


def test_jobs_are_of_one_region(place: Place, tmp_path: Path) -> None:
    """A job of the same name in another region is another job, with its own log."""
    (tmp_path / "rows.csv").write_text("1,2\n")
    script, data = write_script(tmp_path, JOB), {"train": tmp_path / "rows.csv"}
    near, far = (place.client(clock=HastyClock(20.0), project=one[0], region=one[1]) for one in (NEAR, FAR))
    near.train(script, name="fit", timeout=120, data=data, params={"C": 1.0})
    with pytest.raises(NotFoundError):
        far.job_status("fit")
    far.train(script, name="fit", timeout=120, data=data, params={"C": 1.0})
    said = [[line.text for line in client.job_logs("fit") if line.text.startswith("job ")] for client in (near, far)]
    assert [1, 1] == [len(lines) for lines in said]
    assert said[0] != said[1]
    for client in (near, far):
        client.delete("fit")
