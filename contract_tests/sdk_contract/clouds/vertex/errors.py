"""The errors of this cloud: ``google.rpc.Status`` in JSON, under the HTTP status that belongs to its code.

Source: https://cloud.google.com/apis/design/errors#error_model
"""

from __future__ import annotations

from typing import Any

DOMAIN = "aiplatform.googleapis.com"

# name of the google.rpc.Code -> (its number, its HTTP status)
CODES: dict[str, tuple[int, int]] = {
    "CANCELLED": (1, 499),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refusal(Exception):
    """A call that the cloud refuses, or the end of an operation that failed.

    Args:
        word: The name of the code, one of :data:`CODES`.
        message: Text of the error.
        status: HTTP status, if it is not the usual one of the code.
        reason: The ``reason`` of a ``google.rpc.ErrorInfo``, for errors that carry one.
        metadata: The ``metadata`` of the ``ErrorInfo``, such as the missing permission.
        domain: The ``domain`` of the ``ErrorInfo``.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        word: str,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        domain: str = DOMAIN,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.word = word
        self.message = message
        self.status = status or CODES[word][1]
        self.reason, self.metadata, self.domain = reason, metadata or {}, domain
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the answer to a call.

        Example:
            >>> Refusal("NOT_FOUND", "no such endpoint").body()["error"]["status"]
            'NOT_FOUND'
        """
        details: list[dict[str, Any]] = []
        if self.reason:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            more = {"metadata": self.metadata} if self.metadata else {}
            details.append({"@type": kind, "reason": self.reason, "domain": self.domain, **more})
        error = {"code": self.status, "message": self.message, "status": self.word}
        return {"error": {**error, **({"details": details} if details else {})}}

    def result(self) -> dict[str, Any]:
        """Return the error of an operation, whose code is the number of the google.rpc.Code."""
        return {"code": CODES[self.word][0], "message": self.message, "details": []}


def word_of(status: int) -> str:
    """Return the code that belongs to an HTTP status."""
    return _WORDS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
