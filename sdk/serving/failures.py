"""Failures the server reports: one exception for a refused request, one for a process that cannot start."""

from __future__ import annotations

EXIT_CONFIG = 2
EXIT_BUNDLE = 3
EXIT_LOAD = 4


class RequestError(Exception):
    """A request that gets an error answer instead of a prediction.

    Args:
        status: HTTP status of the answer.
        code: stable word for programs, e.g. `bad_shape`.
        message: sentence for people; says what is wrong and what is expected.
        field: the part of the request that is wrong, e.g. `instances[3].age`.
        headers: further response headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.headers = headers


def bad_input(code: str, message: str, field: str | None = None) -> RequestError:
    """Return the 400 for input the model cannot take."""
    return RequestError(400, code, message, field)


class StartError(Exception):
    """The process cannot serve; it says why and how to mend it, then exits with `exit_code`."""

    def __init__(self, message: str, *, mend: str = "", exit_code: int = EXIT_CONFIG) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.exit_code = exit_code
