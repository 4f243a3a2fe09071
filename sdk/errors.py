"""All errors that mlport raises.

::

    SdkError
      ConfigError (ValueError)          a setting is wrong: names the key, the file and the fix
        UnknownKeyError                 an unknown key, target or provider; suggests the nearest known one
        InvalidNameError                an endpoint or job name that some platform would refuse
        MissingExtraError (ImportError) the adapter's packages are not installed; shows the pip line
        UntrustedConfigError            a project file sets a key that only a trusted one may set
      PackagingError                    a model cannot be packed, locked or unpacked
        LockMismatchError               files or versions differ from what the model was recorded with
      UnsupportedError (NotImplementedError)  the platform or the adapter cannot do it; raised before any call
      PlatformError                     the platform refused or failed
        AuthError                       the caller is not signed in, or is not allowed to do this
          SecurityError                 a bucket, registry or container is not verifiably yours
        QuotaError                      a limit of the account, or no capacity
        NotFoundError (LookupError)
        ConflictError                   another owner holds it, or another process is changing it now
          DriftError                    the live resource differs from what mlport last wrote
        ThrottledError                  too many calls; retryable
        UnavailableError                5xx, refused or reset connections; retryable
        InvalidRequestError             the platform rejects a field
        PayloadTooLargeError            a request exceeds the platform's limit
        UnreadableError (ValueError)    an answer or file of another system has an unknown form
      PlanStale                         the target's state changed between plan and apply
      DeployFailed                      with the platform's reason and the last log lines
        RollbackFailed                  and the change could not be undone completely; see ``leftovers``
      TrainFailed                       with the platform's reason and the last log lines
      ModelError                        the model's own 4xx or 5xx; never retried
        InvalidInputError (ValueError)  the model says the input is wrong, naming the field
      TimedOut (TimeoutError)           a deadline passed; with the time waited and the last state seen
      JournalError                      the local journal cannot be written
        JournalDamaged                  a journal file that cannot be trusted
      GateFailed                        a condition that the caller set does not hold
      Interrupted                       stopped by the user; lists what is still alive

Each has the attributes ``provider, operation, resource, status, request_id, retryable, hint``. The vendor's own
exception is kept as ``__cause__``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Leftover:
    """A resource that still exists but should not.

    ``usd_per_hour`` is ``None`` if the price is unknown and 0 if the resource is free.
    """

    kind: str
    id: str
    reason: str
    usd_per_hour: float | None
    command: str

    def to_dict(self) -> dict[str, Any]:
        """Return the resource as plain Python data, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        price = "price unknown" if self.usd_per_hour is None else f"${self.usd_per_hour:.4g}/h"
        return f"{self.kind} {self.id} ({price}): {self.reason}; remove it with: {self.command}"


class SdkError(Exception):
    """Base class of all errors of mlport.

    Args:
        message: What happened, in one sentence that names the field or resource.
        provider: Adapter that was in use, such as ``"sagemaker"``.
        operation: The operation that failed, such as ``"CreateEndpoint"``.
        resource: Identifier of the resource of the operation.
        status: HTTP status, if there was one.
        request_id: The platform's id of the failed request, for its support.
        retryable: Whether the same call may succeed later; the default depends on the class.
        hint: The suggested next step, in one sentence.

    Example:
        >>> str(SdkError("no such region 'mars'", hint="use one of eu-west-1, us-east-1"))
        "no such region 'mars'; use one of eu-west-1, us-east-1"
    """

    exit_code: ClassVar[int] = 1
    retryable_default: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        operation: str | None = None,
        resource: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.operation = operation
        self.resource = resource
        self.status = status
        self.request_id = request_id
        self.retryable = self.retryable_default if retryable is None else retryable
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain values, as ``-o json`` prints it."""
        fields = ("message", "provider", "operation", "resource", "status", "request_id", "retryable", "hint")
        return {"error": type(self).__name__, **{name: getattr(self, name) for name in fields}}


class ConfigError(SdkError, ValueError):
    """A setting or argument is wrong."""

    exit_code = 3


class UnknownKeyError(ConfigError):
    """A key, target or provider is unknown."""


class InvalidNameError(ConfigError):
    """A name would be refused by at least one platform."""


class MissingExtraError(ConfigError, ImportError):
    """The adapter is known, but the packages it needs are not installed."""


class UntrustedConfigError(ConfigError):
    """A project file sets a key that only arguments, the environment or a trusted file may set."""


class PackagingError(SdkError):
    """A model cannot be packed, locked or unpacked."""


class LockMismatchError(PackagingError):
    """Files, Python or library versions differ from those recorded with the model."""


class UnsupportedError(SdkError, NotImplementedError):
    """The platform or this adapter does not support the request; raised before any call is made.

    Args:
        message: The requested feature.
        capability: Name of the missing capability.
        reason: ``"not_implemented"``, ``"upstream"`` (the platform lacks it) or ``"never"``.
        **facts: The fields of :class:`SdkError`.
    """

    exit_code = 2

    def __init__(self, message: str, *, capability: str = "", reason: str = "not_implemented", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.capability = capability
        self.reason = reason


class PlatformError(SdkError):
    """The platform refused or failed."""


class AuthError(PlatformError):
    """The platform does not know the caller, or the caller may not do this."""

    exit_code = 4


class SecurityError(AuthError):
    """A bucket, registry or container belongs to another owner, or is not verifiably yours."""


class QuotaError(PlatformError):
    """A quota of the account is reached, or the platform has no capacity."""

    exit_code = 6


class NotFoundError(PlatformError, LookupError):
    """The resource does not exist."""

    exit_code = 5


class ConflictError(PlatformError):
    """Another owner holds the resource, or another process is changing it now.

    Args:
        message: What happened.
        holder: The owner that holds the resource, if known.
        free_at: Unix seconds, by the platform's clock, at which a holder that is gone loses the resource, if known.
        **facts: The fields of :class:`SdkError`.
    """

    def __init__(self, message: str, *, holder: str | None = None, free_at: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.holder = holder
        self.free_at = free_at

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain values, with the holder and the time at which it loses the resource."""
        return {**super().to_dict(), "holder": self.holder, "free_at": self.free_at}


class DriftError(ConflictError):
    """The live resource is neither the previous one nor what mlport wrote, so it was not changed."""


class ThrottledError(PlatformError):
    """The platform asks for fewer calls.

    Args:
        message: What happened.
        retry_after_s: Seconds that the platform asks to wait, if given.
        **facts: The fields of :class:`SdkError`.
    """

    retryable_default = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s


class UnavailableError(PlatformError):
    """The platform failed (5xx) or could not be reached.

    Args:
        message: What happened.
        sent: Whether the request may have reached the platform; only ``False`` proves that it did not.
        unready: Whether no replica was available to take the request; reading the endpoint's status may restart one.
        lost: Whether the replica ended while it worked on the request; the endpoint's log then shows the reason.
        retry_after_s: Seconds that the platform asks to wait, if given.
        **facts: The fields of :class:`SdkError`.
    """

    retryable_default = True

    def __init__(
        self,
        message: str,
        *,
        sent: bool = True,
        unready: bool = False,
        lost: bool = False,
        retry_after_s: float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.sent = sent
        self.unready = unready
        self.lost = lost
        self.retry_after_s = retry_after_s


class InvalidRequestError(PlatformError, ValueError):
    """The platform rejects a field of the request."""


class UnreadableError(PlatformError, ValueError):
    """An answer of a platform, or a file of another system, is malformed, too long or nested too deeply."""


class PayloadTooLargeError(PlatformError, ValueError):
    """A request exceeds the platform's limit."""


class PlanStale(SdkError):
    """The target's state changed between plan and apply, so nothing was changed."""


class _Failed(SdkError):
    """A long operation failed; carries the reason and the last lines of the container's log."""

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        logs: Sequence[str] = (),
        leftovers: Sequence[Leftover] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.reason = reason
        self.logs = tuple(logs)
        self.leftovers = tuple(leftovers)

    def __str__(self) -> str:
        parts = [super().__str__(), *(f"  left over: {item}" for item in self.leftovers)]
        if self.logs:
            parts += ["last log lines:", *(f"  {line}" for line in self.logs)]
        return "\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain values, with reason, last log lines and leftovers."""
        left = [item.to_dict() for item in self.leftovers]
        return {**super().to_dict(), "reason": self.reason, "logs": list(self.logs), "leftovers": left}


class DeployFailed(_Failed):
    """A deployment did not become ready; its resources were removed, or are listed in ``leftovers``."""


class RollbackFailed(DeployFailed):
    """A deployment failed and the change could not be undone completely; see ``leftovers``."""

    exit_code = 8


class TrainFailed(_Failed):
    """A training job failed: non-zero exit, out of memory, time-out, or no output."""


class ModelError(SdkError):
    """The model itself returned an error; never retried.

    Args:
        message: The model's own message.
        body: The model's answer, as far as it could be read.
        **facts: The fields of :class:`SdkError`; ``status`` is that of the container's answer.
    """

    def __init__(self, message: str, *, body: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.body = body


class InvalidInputError(ModelError, ValueError):
    """The model reports that the input is wrong.

    Args:
        message: The model's own message.
        field: The part of the input that is wrong, such as ``"instances[2][0]"``.
        **facts: The fields of :class:`ModelError`.
    """

    def __init__(self, message: str, *, field: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.field = field


class TimedOut(SdkError, TimeoutError):
    """A deadline passed.

    Args:
        message: The operation that did not finish.
        waited_s: Seconds that were spent waiting.
        state: The last state seen.
        **facts: The fields of :class:`SdkError`.
    """

    exit_code = 124

    def __init__(self, message: str, *, waited_s: float = 0.0, state: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.waited_s = waited_s
        self.state = state


class JournalError(SdkError):
    """The journal cannot be written, so no call was made."""


class JournalDamaged(JournalError):
    """A journal file is damaged beyond an incomplete last record; mlport does not guess its content."""


class GateFailed(SdkError):
    """A condition that the caller set (alarm, objective, baseline) does not hold."""

    exit_code = 7


class Interrupted(SdkError):
    """The user stopped the operation.

    Args:
        message: The operation that was stopped.
        leftovers: The resources that still exist, with their cost.
        **facts: The fields of :class:`SdkError`.
    """

    exit_code = 130

    def __init__(self, message: str, *, leftovers: Sequence[Leftover] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.leftovers = tuple(leftovers)
