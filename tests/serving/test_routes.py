from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


@pytest.mark.parametrize("path", ["/ping", "/v2/health/live", "/v2/health/ready", "/v2/models/churn/ready"])
def test_health_routes_answer_when_the_model_is_loaded(client: httpx.Client, path: str) -> None:
    """Every platform's health route says 200 once the model is loaded, to GET and HEAD."""
    assert 200 == client.get(path).status_code
    head = client.head(path)
    assert (200, b"") == (head.status_code, head.content)


@pytest.mark.parametrize("path", ["/invocations", "/score"])
def test_predict_routes_give_the_same_answer(client: httpx.Client, path: str) -> None:
    """SageMaker's and Azure's routes answer the same JSON and name the deployment."""
    answer = client.post(path, json={"instances": [[1, 2, 3], [4, 5, 6.5]]})
    assert {"predictions": [6.0, 15.5]} == answer.json()
    assert "d1" == answer.headers["x-mlport-deployment"]


def test_configured_routes_are_added(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """AIP_* routes (with ':predict') and MLPORT_ROUTES work beside the fixed ones, even at `/`."""
    server = start(
        bundles.function(tools.total),
        MLPORT_BIND="",
        AIP_HTTP_PORT="0",
        AIP_HEALTH_ROUTE="/v1/endpoints/1/deployedModels/2",
        AIP_PREDICT_ROUTE="/v1/endpoints/1/deployedModels/2:predict",
        MLPORT_ROUTES="predict=/,live=/livez, ready=/readyz",
    ).ready()
    with tools.httpx.Client(base_url=server.url, trust_env=False) as client:
        for path in ("/v1/endpoints/1/deployedModels/2", "/livez", "/readyz", "/ping"):
            assert 200 == client.get(path).status_code
        for path in ("/v1/endpoints/1/deployedModels/2:predict", "/", "/score"):
            answer = client.post(path, json={"instances": [[1, 2], [3]], "parameters": None})
            assert {"predictions": [3.0, 3.0]} == answer.json()


def test_unknown_paths_and_methods_are_refused(client: httpx.Client) -> None:
    """404 and 405 say what is there instead."""
    assert ("unknown_path", 404) == _code(client.get("/nothing"))
    assert ("unknown_model", 404) == _code(client.post("/v2/models/other/infer", json={}))
    refused = client.get("/invocations")
    assert ("method_not_allowed", 405) == _code(refused)
    assert "POST" == refused.headers["allow"]
    assert ("method_not_allowed", 405) == _code(client.delete("/ping"))


def test_root_and_model_metadata(client: httpx.Client) -> None:
    """The metadata names the model by digest, its tensors and its routes."""
    root = client.get("/").json()
    assert ("churn", "ready", "d1", 64) == (root["model"], root["state"], root["deployment"], len(root["digest"]))
    model = client.get("/v2/models/churn").json()
    assert [root["digest"][:12]] == model["versions"]
    assert [{"name": "input", "datatype": "FP64", "shape": [-1, 3]}] == model["inputs"]
    assert model == client.get(f"/v2/models/churn/versions/{root['digest'][:12]}").json()
    assert 404 == client.get("/v2/models/churn/versions/7").status_code
    assert ["binary_tensor_data"] == client.get("/v2").json()["extensions"]


def test_request_ids_are_echoed_or_replaced(client: httpx.Client, tensor_server: Any) -> None:
    """A well-formed request id is kept; anything else is replaced, so logs cannot be forged."""
    body = {"instances": [[1, 2, 3]]}
    kept = client.post("/invocations", json=body, headers={"x-request-id": "abc-1.2_3"})
    assert "abc-1.2_3" == kept.headers["x-request-id"]
    passed = client.post("/invocations", json=body, headers={"x-amzn-sagemaker-inference-id": "from-sagemaker"})
    assert "from-sagemaker" == passed.headers["x-request-id"]
    replaced = client.post("/invocations", json=body, headers={"x-request-id": 'a" b'})
    assert 'a" b' != replaced.headers["x-request-id"]
    error = client.post("/invocations", json={"instances": []}, headers={"x-request-id": "mine"})
    assert "mine" == error.json()["error"]["request_id"]


def test_log_lines_are_json_without_bodies_and_health(client: httpx.Client, tensor_server: Any, tools: Any) -> None:
    """One JSON line for each request with id, status and rows; nothing for health; never body or credentials."""
    client.get("/ping")
    headers = {"x-request-id": "logged", "authorization": "Bearer s3cret"}
    client.post("/invocations", json={"instances": [[41.25, 2, 3]]}, headers=headers)
    tools.eventually(lambda: [one for one in tensor_server.events("request") if one["request_id"] == "logged"])
    lines = [one for one in tensor_server.log if one.get("request_id") == "logged"]
    assert [("predict", 200, 1, "POST", "d1")] == [
        (one["route"], one["status"], one["rows"], one["method"], one["deployment"]) for one in lines
    ]
    assert [] == tensor_server.unparsed
    text = str(tensor_server.log)
    assert not [word for word in ("41.25", "s3cret", "'ready', 'status'") if word in text]
    assert not [one for one in tensor_server.events("request") if one["route"] in {"live", "ready"}]


def test_metrics_count_exactly(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """/metrics is Prometheus text whose counts equal the requests sent."""
    from prometheus_client.parser import text_string_to_metric_families

    server = start(bundles.function(tools.total)).ready()
    with tools.httpx.Client(base_url=server.url, trust_env=False) as client:
        for _ in range(7):
            client.post("/invocations", json={"instances": [[1], [2]]})
        for _ in range(3):
            client.post("/invocations", json={"instances": []})
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, sample.labels.get("route"), sample.labels.get("status"), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert 7 == samples["mlport_requests_total", "predict", "200", None]
    assert 3 == samples["mlport_requests_total", "predict", "400", None]
    assert 10 == samples["mlport_request_seconds_count", "predict", None, None]
    assert 10 == samples["mlport_request_seconds_bucket", "predict", None, "+Inf"]
    assert 7 == samples["mlport_predict_rows_bucket", None, None, "2"]
    assert 1 == samples["mlport_ready", None, None, None]
    assert samples["process_resident_memory_bytes", None, None, None] > 1e6


def _code(answer: httpx.Response) -> tuple[str, int]:
    error = answer.json()
    return (error["code"] if isinstance(error["error"], str) else error["error"]["code"]), answer.status_code
