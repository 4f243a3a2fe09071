"""The exceptions of the server: one for a refused request, one for a process that cannot start."""

from __future__ import annotations

EXIT_CONFIG = 2
EXIT_BUNDLE = 3
EXIT_LOAD = 4


class RequestError(Exception):
    """A request that gets an error response instead of a prediction.

    Args:
        status: HTTP status of the response.
        code: stable error code for programs, e.g. `bad_shape`.
        message: sentence for users on what is wrong and what is expected.
        field: the invalid part of the request, e.g. `instances[3].age`.
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
    """Return the 400 error for input that the model cannot take."""
    return RequestError(400, code, message, field)


class StartError(Exception):
    """Raised when the process cannot serve: the reason, how to fix it (`mend`), and the exit code."""

    def __init__(self, message: str, *, mend: str = "", exit_code: int = EXIT_CONFIG) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.exit_code = exit_code
