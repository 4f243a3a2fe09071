"""Replies in Azure's format, and the check in front of every call to its resource manager."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from ..app import Response, Routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Handler, Match, Request
    from ..faults import Fault

_API = re.compile(r"\d{4}-\d\d-\d\d(-[a-z]+)?|v1\.0")
_TROUBLE = {
    "throttle": (429, "TooManyRequests", "The request is being throttled."),
    "unavailable": (503, "ServiceUnavailable", "The service is unavailable."),
    "denied": (403, "AuthorizationFailed", ""),
}
DENIED = (
    "The client 'mini' with object id '00000000-0000-0000-0000-00000000aaaa' does not have authorization to perform "
    "action '{action}' over scope '{path}' or the scope is invalid. If access was recently granted, please refresh "
    "your credentials."
)
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


def table(value: Any) -> dict[str, Any]:
    """Return an object that a client sent, empty when it sent none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON reply with the id by which Azure's support finds the request."""
    return Response.of_json(value, status, x_ms_request_id=str(uuid.uuid4()), **headers)


def failure(status: int, code: str, message: str, **headers: str) -> Response:
    """Return a refusal."""
    return answer({"error": {"code": code, "message": message, "details": []}}, status, **headers)


def refused_inside(field: str, message: str) -> Response:
    """Return the refusal of an inner service, as users report it: the cause is JSON in the details (likely)."""
    errors = {"errors": {field: [message]}, "title": "One or more validation errors occurred.", "status": 400}
    inner = {"error": {"code": "Validation", "message": json.dumps(errors)}}
    details = [{"code": "InferencingClientCallFailed", "message": json.dumps(inner)}]
    return answer({"error": {"code": "BadRequest", "message": "The request is invalid.", "details": details}}, 400)


def not_found(what: str) -> Response:
    """Return the refusal for a resource that does not exist."""
    return failure(404, "ResourceNotFound", f"The Resource '{what}' was not found.")


def unauthorized() -> Response:
    """Return the refusal of a caller without a token of this cloud."""
    return failure(
        401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or wrong."
    )


def empty(status: int) -> Response:
    """Return a reply without a body."""
    return Response(status, b"", {"x-ms-request-id": str(uuid.uuid4())})


def trouble(request: Request, match: Match, fault: Fault) -> Response:
    """Return the reply to a planned fault in Azure's format."""
    status, code, message = _TROUBLE[fault.kind]
    if fault.kind == "denied":
        message = DENIED.format(action=action_of(request.method, request.path), path=request.path)
    headers = {"retry_after": "1"} if fault.kind == "throttle" else {}
    return failure(fault.status or status, code, message, **headers)


def action_of(method: str, path: str) -> str:
    """Return the right that a call needs.

    Example:
        >>> action_of("PUT", "/subscriptions/s/resourceGroups/g/providers/Microsoft.X/workspaces/w/jobs/j")
        'Microsoft.X/workspaces/jobs/write'
    """
    namespace, *rest = path.rpartition("/providers/")[2].strip("/").split("/")
    verb = f"{rest.pop()}/action" if method == "POST" and rest else _VERBS.get(method, "read")
    return "/".join([namespace, *rest[::2], verb])


def stamp(seconds: float) -> str:
    """Format a time as Azure does."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def system_data(created: float, modified: float | None = None) -> dict[str, str]:
    """Return by whom and when a resource was created and changed."""
    return {
        "createdAt": stamp(created),
        "createdBy": "mini",
        "createdByType": "User",
        "lastModifiedAt": stamp(created if modified is None else modified),
    }


class ArmRoutes(Routes):
    """Routes that require a token of this cloud and, unless set otherwise, an API version.

    Args:
        service: The name under which calls are logged.
        valid: Checks whether a token was issued by this cloud.
        prefix: Prepended to each path.
        versioned: Whether ``api-version`` is required.
    """

    def __init__(self, service: str, valid: Callable[[str], bool], *, prefix: str = "", versioned: bool = True) -> None:
        super().__init__(service, trouble, prefix=prefix, ignore_case=True)
        self._valid, self._versioned = valid, versioned

    def add(
        self, method: str, path: str, operation: str, *, changing: bool | None = None
    ) -> Callable[[Handler], Handler]:
        """Register the handler of a path behind the check."""
        register = super().add(method, path, operation, changing=changing)

        def guarded(handler: Handler) -> Handler:
            def inner(request: Request) -> Any:
                return self._refused(request) or handler(request)

            register(inner)
            return handler

        return guarded

    def _refused(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._valid(token):
            return unauthorized()
        if self._versioned and not _API.fullmatch(request.query.get("api-version", "")):
            return failure(
                400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required."
            )
        return None
