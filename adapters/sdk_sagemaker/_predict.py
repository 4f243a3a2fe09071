"""Calls of an endpoint: SageMaker's own protocol, signed here and sent by the core."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Invoker, Limits, ModelFault, Streaming
from sdk.dataplane.intermediaries import error_of_front, is_of_front
from sdk.errors import ModelError, SdkError, UnavailableError, UnreadableError
from sdk.util import foreign
from sdk.util.waiting import retry_after

from ._errors import PROVIDER, Answer, from_answer
from ._sign import SigV4

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from sdk.errors import PlatformError

    from ._aws import Aws
    from .options import SagemakerOptions

PIN = "x-amzn-sagemaker-target-variant"
ANSWERED = "x-amzn-invoked-production-variant"
SERVERLESS_BYTES = 4 * 2**20


def limits(options: SagemakerOptions) -> Limits:
    """Return the limits of one prediction."""
    most = min(options.max_body, SERVERLESS_BYTES) if options.serverless else options.max_body
    return Limits(request_bytes=most, timeout_s=options.deadline_s, answer_bytes=options.max_answer)


def invoker(name: str, aws: Aws, options: SagemakerOptions) -> Invoker:
    """Return what the core needs to call an endpoint."""
    return Invoker(
        url=aws.url(name),
        limits=limits(options),
        fault=fault,
        error=error,
        auth=SigV4(aws.region, aws.credentials, aws.server_time),
        pin=lambda deployment: {PIN: deployment},
        deployment=lambda response: response.headers.get(ANSWERED),
        stream=Streaming(
            url=f"{aws.url(name)}-response-stream",
            headers={"x-amzn-sagemaker-accept": "text/event-stream"},
            content_type="x-amzn-sagemaker-content-type",
            decoder=decoder,
        ),
    )


def decoder() -> Callable[[bytes], bytes]:
    """Return a function that takes pieces of an event stream of AWS and returns the container's bytes in them.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html
    """
    eventstream: Any = import_module("botocore.eventstream")  # it ships no types
    buffer = eventstream.EventStreamBuffer()
    failures: list[SdkError] = []

    def decode(piece: bytes) -> bytes:
        found: list[bytes] = []
        buffer.add_data(piece)
        try:
            if not failures:
                found.extend(_payload(message.headers, message.payload) for message in buffer)
        except SdkError as error:
            failures.append(error)
        except eventstream.ParserError as error:
            failures.append(UnreadableError(f"the event stream cannot be read: {error}", provider=PROVIDER))
        if failures and not found:
            raise failures[0]
        return b"".join(found)

    return decode


def _payload(headers: dict[str, Any], payload: bytes) -> bytes:
    """Return the container's bytes in one event.

    Raises:
        PlatformError: SageMaker reports a failure of the model or its own.
    """
    if headers.get(":message-type", "event") == "event":
        return payload if headers.get(":event-type") == "PayloadPart" else b""
    code = str(headers.get(":exception-type") or headers.get(":error-code") or "unknown")
    told = _object(payload)
    message = str(told.get("Message") or told.get("message") or headers.get(":error-message") or code)
    if code == "ModelStreamError":
        raise ModelError(
            f"the model's stream failed: {message}", provider=PROVIDER, body=payload[:10_000].decode("utf-8", "replace")
        )
    raise UnavailableError(f"SageMaker ended the stream: {code}: {message}", provider=PROVIDER, sent=True)


def fault(response: httpx.Response) -> ModelFault | None:
    """Return the container's answer inside SageMaker's ModelError; ``None`` where it sent none (status 0)."""
    told = _object(response.content)
    status = told.get("OriginalStatusCode")
    if code_of(response, told) != "ModelError" or not isinstance(status, int) or not status:
        return None
    body = str(told.get("OriginalMessage") or "")
    inner: Any = _object(body.encode()).get("error")
    said = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return ModelFault(
        status=status,
        message=str(said.get("message") or body[:500] or told.get("Message") or "the model failed"),
        field=said.get("field"),
        request_id=said.get("request_id"),
        body=body[:10_000],
    )


def error(response: httpx.Response) -> PlatformError:
    """Convert a failed answer of SageMaker itself, or of a proxy in front of it, to an error."""
    name = str(response.request.url.path).split("/")[2]
    told = _object(response.content)
    if not code_of(response, told) and is_of_front(response):
        facts = {"provider": PROVIDER, "operation": "InvokeEndpoint", "resource": name}
        return error_of_front(response, facts)
    if code_of(response, told) == "ModelError":
        return _unanswered(response, told, name)
    answer = Answer(
        code=code_of(response, told),
        message=str(told.get("Message") or told.get("message") or response.text[:500]),
        status=response.status_code,
        request_id=response.headers.get("x-amzn-requestid"),
        retry_after_s=retry_after(response.headers),
    )
    return from_answer(answer, "InvokeEndpoint", name)


def _unanswered(response: httpx.Response, told: dict[str, Any], name: str) -> PlatformError:
    """Return the error for a container that did not answer, or not in time.

    Source: https://github.com/aws/sagemaker-python-sdk/issues/799 (Received server error (0) … timed out).
    """
    said = str(told.get("OriginalMessage") or told.get("Message") or "no answer")[:500]
    slow = "timed out" in said
    return UnavailableError(
        f"the container did not answer: {said}",
        provider=PROVIDER,
        operation="InvokeEndpoint",
        resource=name,
        status=response.status_code,
        request_id=response.headers.get("x-amzn-requestid"),
        retryable=False,
        lost=not slow,
        hint=_SLOW if slow else "the container's log says why: mlport logs",
    )


_SLOW = (
    "SageMaker gives a container 60 s: send fewer rows at once, or use a larger instance; "
    "it was not sent again, as the model may be working on it"
)


def code_of(response: httpx.Response, told: dict[str, Any]) -> str:
    """Return the name of the error: from a header, or from the body without its prefix or the link after it.

    Example:
        >>> import httpx
        >>> code_of(httpx.Response(400), {"__type": "com.amazon#ValidationError"})
        'ValidationError'
    """
    name = response.headers.get("x-amzn-errortype") or told.get("__type") or told.get("code") or ""
    return str(name).partition(":")[0].rpartition("#")[2]


def _object(content: bytes) -> dict[str, Any]:
    try:
        told: Any = foreign.parse(content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}
