"""Answers of load balancers and proxies to a predict are never taken for the model's own failure, on any cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import Invoker, Limits
from sdk.dataplane.intermediaries import is_of_front
from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.errors import (
    AuthError,
    ModelError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    ThrottledError,
    UnavailableError,
)
from sdk.util.waiting import SystemClock
from sdk_azureml import _predict as azureml
from sdk_sagemaker import _predict as sagemaker
from sdk_vertex import _predict as vertex

if TYPE_CHECKING:
    from types import ModuleType

URL = "https://example.com/endpoints/churn/invocations"
GOOGLE = (
    "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error {status} (Server Error)!!1</title>\n"
    "  <style>* {{margin:0}}</style><p><b>{status}.</b> <ins>That is an error.</ins>"
)
NGINX = (
    "<html>\r\n<head><title>{status} Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>{status}</h1>"
    "</center>\r\n<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n"
)
HAPROXY = (
    "<html><body><h1>{status} Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>"
)
ENVOY = "upstream request timeout"
RESET = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
HTML, PLAIN = "text/html; charset=UTF-8", "text/plain"
PAGES: list[tuple[int, str, str, type[PlatformError]]] = [
    (500, GOOGLE, HTML, UnavailableError),
    (502, GOOGLE, HTML, UnavailableError),
    (404, GOOGLE, HTML, NotFoundError),
    (413, GOOGLE, HTML, PayloadTooLargeError),
    (413, NGINX, HTML, PayloadTooLargeError),
    (429, NGINX, HTML, ThrottledError),
    (400, GOOGLE, HTML, PlatformError),
    (407, "<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD></HTML>", HTML, AuthError),
    (502, HAPROXY, "", UnavailableError),
    (504, ENVOY, PLAIN, UnavailableError),
    (408, "stream timeout", PLAIN, UnavailableError),
    (503, RESET, PLAIN, UnavailableError),
    (503, "no healthy upstream", PLAIN, UnavailableError),
    (504, "", "", UnavailableError),
    (502, "", "", UnavailableError),
]
CLOUDS: dict[str, ModuleType] = {"vertex": vertex, "sagemaker": sagemaker, "azureml": azureml}


def answered(status: int, text: str, kind: str, **headers: str) -> httpx.Response:
    """An answer to a predict."""
    named = {"content-type": kind} if kind else {}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx.Request("POST", URL)
    content = text.replace("{status}", str(status)).replace("{{", "{").replace("}}", "}").encode()
    return httpx.Response(status, content=content, headers={**named, **more}, request=request)


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(("status", "text", "kind", "expected"), PAGES)
def test_pages_and_lines_of_what_is_in_between(
    cloud: str, status: int, text: str, kind: str, expected: type[PlatformError]
) -> None:
    """They are the platform's errors, in one line without markup."""
    answer = answered(status, text, kind)
    assert CLOUDS[cloud].fault(answer) is None
    error = CLOUDS[cloud].error(answer)
    assert (expected, status, cloud) == (type(error), error.status, error.provider)
    assert "in front of the model" in error.message
    assert not {"<", "\n"} & set(error.message)


def test_what_the_page_says_is_kept() -> None:
    assert "Error 502 (Server Error)!!1" in vertex.error(answered(502, GOOGLE, HTML)).message
    assert ENVOY in vertex.error(answered(504, ENVOY, PLAIN)).message
    late = vertex.error(answered(504, ENVOY, PLAIN))
    assert "may still be working" in str(late.hint)
    busy: Any = vertex.error(answered(503, "no healthy upstream", PLAIN, retry_after="9"))
    assert 9.0 == busy.retry_after_s


@pytest.mark.parametrize(
    ("status", "text", "kind", "headers"),
    [
        (500, '{"error": {"message": "no such column"}}', "application/json", {}),
        (422, "too short", PLAIN, {}),
        (500, "Internal Server Error", PLAIN, {}),
        (500, "", "", {}),
        (500, "<!doctype html><title>500 Internal Server Error</title>", HTML, {"server": "Werkzeug/3.0 Python/3.12"}),
        (500, "<!doctype html><title>500</title>", HTML, {"x_vertex_ai_deployed_model_id": "16"}),
        (503, "", "", {"server": "uvicorn"}),
    ],
)
def test_what_the_container_wrote_is_the_models(status: int, text: str, kind: str, headers: dict[str, str]) -> None:
    """Also a page, if it names a server of models, or if Vertex AI says which deployed model it is from."""
    found = vertex.fault(answered(status, text, kind, **headers))
    assert found is not None
    assert status == found.status


def test_a_page_of_a_model_stays_readable() -> None:
    """Neither long texts nor good answers are taken for what is in between."""
    assert not is_of_front(answered(200, GOOGLE, HTML))
    assert not is_of_front(answered(500, f"upstream request timeout {'x' * 500}", PLAIN))


def test_a_container_that_gave_no_answer() -> None:
    """SageMaker reports its time-out as the model's error with status 0: nobody knows what the model did."""
    body = {
        "OriginalStatusCode": 0,
        "OriginalMessage": "",
        "Message": 'Received server error (0) from primary with message "Your invocation timed out"',
    }
    answer = httpx.Response(424, json=body, headers={"x-amzn-errortype": "ModelError"})
    transport = httpx.MockTransport(lambda _request: answer)
    invoker = Invoker(URL, Limits(1_000_000, 60.0), sagemaker.fault, sagemaker.error)
    caller = Caller(invoker, EndpointFacts("churn", "sagemaker"), clock=SystemClock(), redact=str, transport=transport)
    with pytest.raises(UnavailableError, match="timed out"):
        caller.predict([[1.0]])
    caller.close()


def test_a_page_through_the_whole_path() -> None:
    """The caller gets the platform's error; a model's own failure stays a ModelError."""
    answers = iter([answered(502, GOOGLE, HTML), answered(500, '{"error": {"message": "no"}}', "application/json")])
    invoker = Invoker(URL, Limits(1_000_000, 60.0), vertex.fault, vertex.error)
    transport = httpx.MockTransport(lambda _request: next(answers))
    caller = Caller(invoker, EndpointFacts("churn", "vertex"), clock=SystemClock(), redact=str, transport=transport)
    with pytest.raises(UnavailableError) as refused:
        caller.predict([[1.0]])
    assert ("churn", "predict") == (refused.value.resource, refused.value.operation)
    with pytest.raises(ModelError):
        caller.predict([[1.0]])
    caller.close()
