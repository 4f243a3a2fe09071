"""Translation of operating system errors to :mod:`sdk.errors`."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdk.errors import AuthError, ConflictError, PlatformError, QuotaError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator

PROVIDER = "local"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_TOO_MANY = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}


@contextmanager
def translate(operation: str, resource: str) -> Generator[None]:
    """Translate an ``OSError`` to an error that names the operation and a remedy."""
    try:
        yield
    except OSError as error:
        raise from_os(error, operation, resource) from error


def from_os(error: OSError, operation: str, resource: str) -> PlatformError:
    """Return the SDK's error for an operating system error."""
    where = f" ({error.filename})" if error.filename else ""
    message = f"{operation} {resource}: {error.strerror or error}{where}"
    kind, hint = _kind(error)
    return kind(message, provider=PROVIDER, operation=operation, resource=resource, hint=hint)


def _kind(error: OSError) -> tuple[type[PlatformError], str | None]:
    if error.errno in _FULL:
        return QuotaError, "free some space, or set MLPORT_STATE_DIR to a folder on a bigger disk"
    if error.errno in _DENIED:
        return AuthError, "make it writable, or set MLPORT_STATE_DIR to a folder that is"
    if error.errno in _TOO_MANY:
        return QuotaError, "the machine is out of processes, files or memory: end something or raise the limit"
    if isinstance(error, FileExistsError):
        return ConflictError, None
    return UnavailableError, None
