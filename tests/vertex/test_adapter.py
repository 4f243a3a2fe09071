"""What the adapter makes of Google's words: errors, answers, names, machines."""

import json
import socket

import httpx
import pytest
import requests

from sdk.errors import (
    AuthError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    QuotaError,
    ThrottledError,
    UnavailableError,
)
from sdk_vertex import _predict
from sdk_vertex._access import MOCK_URL, mock_url
from sdk_vertex._errors import border, from_httpx, from_response, of_operation, refused_for_now
from sdk_vertex._names import deployment_of, number_of

QUOTA = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_serving_cpus"
RATE = "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service 'aiplatform'"
FIRST_USE = (  # as in https://github.com/GoogleCloudPlatform/generative-ai/issues/1308
    "Service agents are being provisioned (https://cloud.google.com/vertex-ai/docs/general/access-control"
    "#service-agents). Service agents are needed to read the Cloud Storage file provided. So please try again in a few "
    "minutes."
)
WAKING = "Model is not yet ready for inference. Please try again later."


def refused(status: int, word: str, message: str, **headers: str) -> httpx.Response:
    body = {"error": {"code": status, "message": message, "status": word}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    ("status", "word", "message", "expected", "retryable"),
    [
        (400, "INVALID_ARGUMENT", "labels are wrong", InvalidRequestError, False),
        (400, "FAILED_PRECONDITION", "has deployed DeployedModel(s)", InvalidRequestError, False),
        (400, "FAILED_PRECONDITION", "has deployed or being-deployed DeployedModel(s).", ConflictError, True),
        (400, "FAILED_PRECONDITION", FIRST_USE, ConflictError, True),
        (400, "INVALID_ARGUMENT", FIRST_USE, ConflictError, True),
        (400, "FAILED_PRECONDITION", "There are other operations running on the Endpoint e.", ConflictError, True),
        (400, "FAILED_PRECONDITION", "The etag does not match the current etag.", ConflictError, True),
        (400, "FAILED_PRECONDITION", "Endpoint e doesn't have traffic_split.", InvalidRequestError, False),
        (503, "UNAVAILABLE", "Machine type a2-highgpu-1g is temporarily unavailable, try later", QuotaError, False),
        (400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 1 bytes.", PayloadTooLargeError, False),
        (401, "UNAUTHENTICATED", "who are you", AuthError, False),
        (403, "PERMISSION_DENIED", "not you", AuthError, False),
        (404, "NOT_FOUND", "nothing", NotFoundError, False),
        (409, "ALREADY_EXISTS", "taken", ConflictError, False),
        (409, "ABORTED", "the etag does not match", ConflictError, True),
        (412, "FAILED_PRECONDITION", "generation", ConflictError, False),
        (429, "RESOURCE_EXHAUSTED", RATE, ThrottledError, True),
        (429, "RESOURCE_EXHAUSTED", QUOTA, QuotaError, False),
        (429, "RESOURCE_EXHAUSTED", WAKING, UnavailableError, True),
        (400, "FAILED_PRECONDITION", "Resources are insufficient in region: x", QuotaError, False),
        (500, "INTERNAL", "oh", UnavailableError, True),
        (503, "UNAVAILABLE", "later", UnavailableError, True),
        (504, "DEADLINE_EXCEEDED", "slow", UnavailableError, True),
    ],
)
def test_each_refusal_has_its_class(
    status: int, word: str, message: str, expected: type[PlatformError], retryable: bool
) -> None:
    error = from_response(refused(status, word, message), "GetEndpoint", "churn")
    assert (expected, retryable, status) == (type(error), error.retryable, error.status)
    assert ("vertex", "GetEndpoint", "churn") == (error.provider, error.operation, error.resource)
    assert message == error.message


def test_a_model_that_wakes_asks_for_patience() -> None:
    error = from_response(refused(429, "RESOURCE_EXHAUSTED", WAKING), "predict")
    assert isinstance(error, UnavailableError)
    assert 10.0 == error.retry_after_s
    assert "scaled to zero" in str(error)


def test_the_platform_may_say_how_long_to_wait() -> None:
    error = from_response(refused(429, "RESOURCE_EXHAUSTED", RATE, retry_after="7"), "GetModel")
    assert isinstance(error, ThrottledError)
    assert 7.0 == error.retry_after_s


def test_a_delete_that_is_refused_for_now_can_be_tried_again() -> None:
    error = refused_for_now(from_response(refused(400, "FAILED_PRECONDITION", "deployed"), "DeleteEndpoint"))
    assert (ConflictError, True) == (type(error), error.retryable)


@pytest.mark.parametrize(
    ("code", "expected"), [(5, NotFoundError), (8, ThrottledError), (9, InvalidRequestError), (13, UnavailableError)]
)
def test_how_an_operation_failed(code: int, expected: type[PlatformError]) -> None:
    assert expected is type(of_operation(code, "why", "projects/p/locations/r/operations/1"))


def test_no_word_of_google_at_all() -> None:
    assert UnavailableError is type(from_response(httpx.Response(502, text="<html>"), "GetModel"))


SAID = {"error": {"message": "instances[0]: too short", "field": "instances[0]", "request_id": "r1"}}


def test_the_models_own_answer_through_the_envelope() -> None:
    found = _predict.fault(refused(400, "INVALID_ARGUMENT", json.dumps(SAID)))
    assert found is not None
    assert (400, "instances[0]: too short", "instances[0]", "r1") == (
        found.status,
        found.message,
        found.field,
        found.request_id,
    )


def test_the_models_own_answer_as_it_is() -> None:
    found = _predict.fault(httpx.Response(422, json=SAID))
    assert found is not None
    assert (422, "instances[0]") == (found.status, found.field)


def test_the_platforms_own_answer_is_not_the_models() -> None:
    assert _predict.fault(refused(503, "UNAVAILABLE", "The model server is not available.")) is None


def test_who_answered() -> None:
    assert "d0000000f" == _predict.deployment(httpx.Response(200, headers={"x-vertex-ai-deployed-model-id": "16"}))
    body = {"predictions": [1.0] * 1000, "deployedModelId": "16", "model": "m"}
    assert "d0000000f" == _predict.deployment(httpx.Response(200, json=body))
    assert _predict.deployment(httpx.Response(200, json={"predictions": []})) is None


@pytest.mark.parametrize("deployment", ["d00000000", "d0000000f", "dffffffff"])
def test_a_deployment_and_its_number(deployment: str) -> None:
    number = number_of(deployment)
    assert number.isdigit()
    assert 1 <= len(number) <= 10
    assert "0" != number, "the platform keeps it for itself"
    assert deployment == deployment_of(number)


def test_a_number_that_is_not_ours() -> None:
    assert deployment_of("0") is None
    assert deployment_of("9999999999") is None
    assert deployment_of("007") is None


def test_a_mini_cloud_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOCK_URL, "http://example.com")
    with pytest.raises(ValueError, match="not on this machine"):
        mock_url()


def test_a_mini_cloud_that_is_gone_is_named() -> None:
    """By both ways of asking, with what to do, and without what libraries say around it."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        for ask in (by_requests, by_httpx):
            error = ask(f"{url}/v1/projects")
            assert f"GetEndpoint: cannot connect to the mini cloud at {url}: " in str(error)
            assert "HTTPConnection" not in str(error)
            assert ("UnavailableError", False) == (type(error).__name__, error.sent)
            assert "mlport mock up vertex" in str(error.hint)


def by_requests(url: str) -> UnavailableError:
    """As Google's clients do."""
    with pytest.raises(UnavailableError) as refused, border("GetEndpoint"):
        requests.get(url, timeout=5)
    return refused.value


def by_httpx(url: str) -> UnavailableError:
    """As everything else does."""
    with pytest.raises(httpx.ConnectError) as refused:
        httpx.get(url, trust_env=False)
    error = from_httpx(refused.value, "GetEndpoint")
    assert isinstance(error, UnavailableError)
    return error
