"""Detection of failed predictions that were answered by something in front of the model.

Load balancers, front ends and proxies answer for a model that cannot be reached, takes too long or gets too large a
body. They send pages of HTML or one line of text. Such an answer says nothing about the model, so it must never be
reported as the model's failure. Source of the lines: the local replies of Envoy,
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import AuthError, NotFoundError, PayloadTooLargeError, PlatformError, ThrottledError, UnavailableError
from ..util.waiting import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

_MARKUP = re.compile(rb"\s*(<!doctype html|<html|<head|<title|<!--)", re.IGNORECASE)
_LINE = re.compile(
    r"\s*(upstream (request timeout|connect error|retry limit)|stream timeout|no healthy upstream|no available server"
    r"|no route to host|fault filter abort|overload|request timeout|service unavailable|bad gateway|gateway time-?out"
    r"|request entity too large|(payload|content) too large|default backend - 404)",
    re.IGNORECASE,
)
_LONGEST_LINE = 400
_TITLE = re.compile(r"<title[^>]*>\s*(.*?)\s*</title>|<h1[^>]*>\s*(.*?)\s*</h1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
# Servers of models: a page that names one of them is the model's own.
_OF_MODELS = re.compile(r"werkzeug|gunicorn|uvicorn|hypercorn|tornado|waitress|daphne|granian|triton", re.IGNORECASE)
_GATEWAY = frozenset({502, 503, 504})
_KINDS: Mapping[int, tuple[type[PlatformError], str]] = {
    401: (AuthError, "check the credentials, and those of a proxy in between"),
    403: (AuthError, "check the credentials, and those of a proxy in between"),
    404: (NotFoundError, "`mlport status` shows whether the endpoint is there"),
    407: (AuthError, "a proxy in between wants a name and a password: put them into HTTPS_PROXY"),
    413: (PayloadTooLargeError, "send fewer rows at once"),
}


def is_of_front(response: httpx.Response) -> bool:
    """Check whether a failed answer was written by something in front of the model.

    Example:
        >>> import httpx
        >>> is_of_front(httpx.Response(504, text="upstream request timeout"))
        True
        >>> is_of_front(httpx.Response(500, json={"error": {"message": "no such column"}}))
        False
    """
    if response.is_success or _OF_MODELS.search(response.headers.get("server", "")):
        return False
    content = response.content[:_LONGEST_LINE]
    if not content.strip():
        return response.status_code in _GATEWAY
    if response.headers.get("content-type", "").startswith("text/html") or _MARKUP.match(content):
        return True
    return len(response.content) < _LONGEST_LINE and _LINE.match(response.text) is not None


def error_of_front(response: httpx.Response, facts: Mapping[str, Any]) -> PlatformError:
    """Return the error for an answer that something in front of the model wrote.

    Args:
        response: The answer.
        facts: Provider, operation and the like, for the error.
    """
    status = response.status_code
    said = _said(response)
    what = f"something in front of the model answered {status}" + (f": {said}" if said else "")
    known: dict[str, Any] = {**facts, "status": status}
    if status == 429:
        return ThrottledError(what, retry_after_s=retry_after(response.headers), **known)
    if status in _KINDS:
        kind, advice = _KINDS[status]
        return kind(what, hint=advice, **known)
    if status >= 500 or status == 408:
        late = status in {408, 504} or "time" in said.lower()
        hint = "the model took too long, and may still be working on the request" if late else None
        return UnavailableError(what, sent=True, retry_after_s=retry_after(response.headers), hint=hint, **known)
    return PlatformError(what, **known)


def _said(response: httpx.Response) -> str:
    """Return the title of a page, or its text, in one short line."""
    text = response.text[:10_000]
    title = _TITLE.search(text)
    found = (title[1] or title[2] or "") if title else text
    return " ".join(_TAG.sub(" ", found).split())[:200]


__all__ = ["error_of_front", "is_of_front"]
