"""AWS's errors in their formats: JSON 1.1, REST-JSON, the query protocol and S3's XML."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from ..app import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Match, Request
    from ..faults import Fault

_TROUBLE = {
    "throttle": ("ThrottlingException", "Rate exceeded", 400),
    "unavailable": ("ServiceUnavailable", "The service is temporarily unavailable, try again", 503),
    "denied": ("AccessDeniedException", "User is not authorized to perform: {action}", 400),
}
_QUERY = {"sts", "iam"}


class AwsError(Exception):
    """A refusal.

    Args:
        code: AWS's name of the error.
        message: Text of the error.
        status: HTTP status.
        more: Further members of the reply.
    """

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.more = code, message, status, more


def invalid(message: str) -> AwsError:
    """Return the most common refusal of SageMaker."""
    return AwsError("ValidationException", message)


def request_id() -> str:
    """Return a new request id."""
    return str(uuid.uuid4())


def render(error: AwsError, service: str) -> Response:
    """Return the reply in the protocol of a service."""
    identity = request_id()
    headers = {"x-amzn-requestid": identity}
    if service == "s3":
        text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message><RequestId>{identity}"
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}</RequestId></Error>'
        return Response(error.status, body.encode(), {**headers, "content-type": "application/xml"})
    if service in _QUERY:
        text = f"<Error><Type>Sender</Type><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        body = f"<ErrorResponse>{text}<RequestId>{identity}</RequestId></ErrorResponse>"
        return Response(error.status, body.encode(), {**headers, "content-type": "text/xml"})
    rest = service == "sagemaker-runtime"
    told: dict[str, Any] = {"Message" if rest else "message": error.message, **error.more}
    if not rest:
        told["__type"] = error.code
    kind = "application/json" if rest else "application/x-amz-json-1.1"
    headers |= {"x-amzn-errortype": error.code, "content-type": kind}
    return Response(error.status, json.dumps(told).encode(), headers)


def trouble(request: Request, match: Match, fault: Fault) -> Response:
    """Return the reply to a planned fault."""
    code, message, status = _TROUBLE[fault.kind]
    if match.service == "s3":
        code, status = {
            "throttle": ("SlowDown", 503),
            "unavailable": ("ServiceUnavailable", 503),
            "denied": ("AccessDenied", 403),
        }[fault.kind]
    elif match.service in _QUERY:
        code, status = {"throttle": ("Throttling", 400), "denied": ("AccessDenied", 403)}.get(
            fault.kind, (code, status)
        )
    text = message.format(action=f"{match.service}:{match.operation}")
    return render(AwsError(code, text, fault.status or status), match.service)


def answered(service: str, answer: Callable[[Request], Any], request: Request) -> Response:
    """Return the answer of an operation in JSON 1.1, or the error that it raises in the service's format."""
    try:
        found = answer(request)
    except AwsError as error:
        return render(error, service)
    headers = {"content-type": "application/x-amz-json-1.1", "x-amzn-requestid": request_id()}
    return Response(200, json.dumps(found).encode(), headers)
