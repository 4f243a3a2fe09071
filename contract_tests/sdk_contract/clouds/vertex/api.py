"""The front of every service of this cloud: it checks credentials, reads the body, and formats refusals."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..app import Match, Request, Response, Routes
from ..members import refusal as refusal_text
from .enums import named
from .errors import CODES, Refusal
from .members import BODIES, MEMBERS
from .rights import check_rights

if TYPE_CHECKING:
    import threading

    from ..faults import Fault
    from .world import Common

Answer = dict[str, Any] | Response
Handler = Callable[[Request], Answer]
_EXPECTED = "Expected OAuth 2 access token, login cookie or other valid authentication credential."
# The messages for a request without credentials, and for one with wrong credentials.
_NOT_ADMITTED = {
    "aiplatform": (
        f"Request is missing required authentication credential. {_EXPECTED}",
        f"Request had invalid authentication credentials. {_EXPECTED}",
    ),
    "storage": (
        "Anonymous caller does not have access to the Google Cloud Storage resource, or it may not exist.",
        "Invalid Credentials",
    ),
}
_SYSTEM = {"$alt", "alt", "key", "prettyPrint", "quotaUser"}  # parameters of every call
_TROUBLE = {
    "throttle": ("RESOURCE_EXHAUSTED", "Quota exceeded for aiplatform.googleapis.com/requests.", "RATE_LIMIT_EXCEEDED"),
    "unavailable": ("UNAVAILABLE", "The service is currently unavailable.", ""),
    "denied": (
        "PERMISSION_DENIED",
        "Permission denied on the resource (or it may not exist).",
        "IAM_PERMISSION_DENIED",
    ),
}


class Resources(Protocol):
    """What the handlers of a service work on: one region of one project, or all of them."""

    @property
    def common(self) -> Common:
        """The state that all projects and regions share, with the credentials that are accepted."""
        ...

    @property
    def lock(self) -> threading.RLock:
        """The lock held while a handler runs."""
        ...

    def advance(self) -> None:
        """Bring all states up to date."""
        ...


class Api(Routes):
    """The routes of one service, whose handlers answer with plain values.

    Args:
        world: The resources that its handlers work on.
        service: The name under which calls are logged.
        guarded: Whether credentials are checked here, rather than by the handlers.
    """

    def __init__(self, world: Resources, service: str, *, guarded: bool = True) -> None:
        super().__init__(service, lambda _request, _match, fault: trouble(fault))
        self.world, self._guarded = world, guarded

    def on(
        self, method: str, path: str, operation: str, *, changing: bool | None = None, locked: bool = True
    ) -> Callable[[Handler], Handler]:
        """Register a handler that is called with the lock held and all states up to date, unless it is a slow one."""

        def register(handler: Handler) -> Handler:
            @functools.wraps(handler)
            def outer(request: Request) -> Response:
                try:
                    self.authorize(request, operation)
                    read_members(request, operation)
                    planned = self.world.common.planned.get(operation)
                    if planned:
                        return answered(planned.pop(0)())
                    return self._call(handler, request, locked=locked)
                except Refusal as refusal:
                    return refused(refusal)

            self.add(method, path, operation, changing=changing)(outer)
            return handler

        return register

    def _call(self, handler: Handler, request: Request, *, locked: bool) -> Response:
        if not locked:
            return answered(handler(request))
        with self.world.lock:
            self.world.advance()
            return answered(handler(request))

    def authorize(self, request: Request, operation: str) -> None:
        """Admit a request with a token of this cloud and the right to the operation.

        Raises:
            Refusal: It has no token or a wrong one, or lacks the right.
        """
        if self._guarded:
            admit(self.world.common, request, self.service)
            check_rights(self.world.common, request, self.service, operation)


def admit(common: Common, request: Request, service: str = "aiplatform") -> None:
    """Refuse a request without the credentials of this mini cloud.

    Raises:
        Refusal: It has no credentials, or wrong ones.
    """
    given = request.headers.get("authorization", "")
    scheme, _, token = given.partition(" ")
    if scheme.lower() == "bearer" and common.identity.admits(token):
        return
    words = _NOT_ADMITTED.get(service, _NOT_ADMITTED["aiplatform"])
    raise Refusal(
        "UNAUTHENTICATED",
        words[1 if given else 0],
        reason="ACCESS_TOKEN_TYPE_UNSUPPORTED" if given else "CREDENTIALS_MISSING",
        headers={"www-authenticate": 'Bearer realm="https://accounts.google.com/"'},
    )


def body_of(request: Request) -> dict[str, Any]:
    """Return the body as an object.

    Raises:
        Refusal: It is not an object.
    """
    try:
        body = request.json()
    except ValueError as error:
        raise Refusal("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
    if not isinstance(body, dict):
        raise Refusal("INVALID_ARGUMENT", "Invalid JSON payload received. An object is expected.")
    return cast("dict[str, Any]", body)


def read_members(request: Request, operation: str) -> None:
    """Refuse unsupported members by name, and rewrite the others in camel case, enumerations by name.

    Raises:
        Refusal: Some members, or their values, are not supported.
    """
    members = MEMBERS.get(operation)
    if members is None:
        return
    query = {name: text for name, text in request.query.items() if name not in _SYSTEM}
    body = body_of(request) if request.body else {}
    field = BODIES.get(operation)
    whole = {**query, field: body} if field else {**query, **body}
    plain: dict[str, Any] = named(members.plain(whole))
    if strange := list(members.refused(plain)):
        text = f'Invalid JSON payload received. Unknown name "{strange[0]}": Cannot find field. '
        raise Refusal("INVALID_ARGUMENT", text + refusal_text(operation, strange))
    content = plain.pop(field, {}) if field else {name: value for name, value in plain.items() if name not in query}
    request.rewrite(content, {name: str(value) for name, value in plain.items() if name not in body})


def answered(answer: Answer) -> Response:
    """Convert a plain value to a reply."""
    return answer if isinstance(answer, Response) else Response.of_json(answer)


def refused(refusal: Refusal) -> Response:
    """Convert a refusal to a reply."""
    headers = {"content-type": "application/json; charset=UTF-8", **refusal.headers}
    return Response(refusal.status, json.dumps(refusal.body()).encode(), headers)


def trouble(fault: Fault) -> Response:
    """Convert a planned fault to a reply."""
    word, message, reason = _TROUBLE[fault.kind]
    headers = {"retry-after": str(int(fault.seconds))} if fault.seconds else {}
    return refused(Refusal(word, message, status=fault.status or CODES[word][1], reason=reason, headers=headers))


__all__ = ["Api", "Match", "admit", "answered", "body_of", "refused", "trouble"]
