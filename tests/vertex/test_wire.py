"""The mini cloud's wire, by Google's own generated clients over REST, as they are."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.api_core import exceptions

from sdk_contract.clouds.vertex import VertexCloud
from tests.vertex.conftest import PARENT


def test_an_endpoint_lives_and_dies(official: Callable[..., Any], cloud: VertexCloud) -> None:
    client = official("EndpointServiceClient")
    body = {"display_name": "churn", "labels": {"team": "a"}}
    begun = client.create_endpoint({"parent": PARENT, "endpoint_id": "churn", "endpoint": body})
    made = begun.result(timeout=30)
    assert made.name.endswith("/endpoints/churn")
    assert ["churn"] == [
        one.display_name for one in client.list_endpoints({"parent": PARENT, "filter": 'labels.team="a"'})
    ]
    assert [] == list(client.list_endpoints({"parent": PARENT, "filter": 'labels.team="b"'}))
    client.delete_endpoint({"name": made.name}).result(timeout=30)
    with pytest.raises(exceptions.NotFound):
        client.get_endpoint({"name": made.name})
    assert [] == cloud.inventory()


def test_an_operation_is_polled_under_its_own_path(official: Callable[..., Any], cloud: VertexCloud) -> None:
    client = official("EndpointServiceClient")
    begun = client.create_endpoint({"parent": PARENT, "endpoint_id": "churn", "endpoint": {"display_name": "churn"}})
    assert not begun.operation.done
    begun.result(timeout=30)
    paths = [call.path for call in cloud.calls if call.operation == "GetOperation"]
    assert paths
    assert {"/ui"} == {path[:3] for path in paths}


def test_an_id_is_taken_once(official: Callable[..., Any]) -> None:
    client = official("EndpointServiceClient")
    request = {"parent": PARENT, "endpoint_id": "churn", "endpoint": {"display_name": "churn"}}
    client.create_endpoint(request).result(timeout=30)
    with pytest.raises(exceptions.Conflict) as refused:
        client.create_endpoint(request)
    assert "ALREADY_EXISTS" == refused.value.response.json()["error"]["status"]


def test_an_update_of_something_older_is_refused(official: Callable[..., Any]) -> None:
    client = official("EndpointServiceClient")
    request = {"parent": PARENT, "endpoint_id": "churn", "endpoint": {"display_name": "churn"}}
    made = client.create_endpoint(request).result(timeout=30)
    change = {"name": made.name, "etag": made.etag, "labels": {"a": "b"}}
    mask = {"paths": ["labels"]}
    assert {"a": "b"} == dict(client.update_endpoint({"endpoint": change, "update_mask": mask}).labels)
    with pytest.raises(exceptions.Conflict) as refused:
        client.update_endpoint({"endpoint": change, "update_mask": mask})
    assert "ABORTED" == refused.value.response.json()["error"]["status"]


@pytest.mark.parametrize(
    ("endpoint_id", "endpoint", "word"),
    [
        ("Churn", {"display_name": "churn"}, "INVALID_ARGUMENT"),
        ("churn", {}, "INVALID_ARGUMENT"),
        ("churn", {"display_name": "churn", "labels": {"Team": "a"}}, "INVALID_ARGUMENT"),
    ],
)
def test_what_the_platform_would_refuse(
    official: Callable[..., Any], endpoint_id: str, endpoint: dict[str, Any], word: str
) -> None:
    client = official("EndpointServiceClient")
    with pytest.raises(exceptions.BadRequest) as refused:
        client.create_endpoint({"parent": PARENT, "endpoint_id": endpoint_id, "endpoint": endpoint})
    assert word == refused.value.response.json()["error"]["status"]


def test_a_failed_operation_is_the_clients_exception(official: Callable[..., Any], cloud: VertexCloud) -> None:
    client = official("EndpointServiceClient")
    cloud.faults.add("CreateEndpoint", "fail")
    begun = client.create_endpoint({"parent": PARENT, "endpoint_id": "churn", "endpoint": {"display_name": "churn"}})
    with pytest.raises(exceptions.InternalServerError):
        begun.result(timeout=30)
    assert [] == cloud.inventory()


@pytest.mark.parametrize("token", ["", "Bearer other"])
def test_who_does_not_show_the_token_is_not_let_in(cloud: VertexCloud, token: str) -> None:
    headers = {"authorization": token} if token else {}
    refused = httpx.get(f"{cloud.url}/v1/{PARENT}/models/m", headers=headers, trust_env=False)
    assert (401, "UNAUTHENTICATED") == (refused.status_code, refused.json()["error"]["status"])


def test_a_model_needs_an_image_that_is_there(official: Callable[..., Any], cloud: VertexCloud) -> None:
    host = cloud.url.partition("//")[2]
    model = {"display_name": "m", "container_spec": {"image_uri": f"{host}/mini-project/mlport/model:none"}}
    with pytest.raises(exceptions.NotFound):
        official("ModelServiceClient").upload_model({"parent": PARENT, "model": model})


def test_objects_are_swapped_by_generation(cloud: VertexCloud) -> None:
    headers = {"authorization": f"Bearer {cloud.world.token}"}
    with httpx.Client(base_url=cloud.url, headers=headers, trust_env=False) as http:
        assert 200 == http.post("/storage/v1/b", json={"name": "bucket"}).status_code
        params = {"uploadType": "media", "name": "locks/a", "ifGenerationMatch": "0"}
        first = http.post("/upload/storage/v1/b/bucket/o", params=params, content=b"1")
        assert 200 == first.status_code
        assert 412 == http.post("/upload/storage/v1/b/bucket/o", params=params, content=b"2").status_code
        params["ifGenerationMatch"] = first.json()["generation"]
        assert 200 == http.post("/upload/storage/v1/b/bucket/o", params=params, content=b"3").status_code
        assert b"3" == http.get("/storage/v1/b/bucket/o/locks%2Fa", params={"alt": "media"}).content
