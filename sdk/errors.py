"""Every error mlport raises.

::

    SdkError
      ConfigError (ValueError)          a setting is wrong: names the key, the file and the fix
        UnknownKeyError                 a key, target or provider nobody knows; says what was meant
        InvalidNameError                an endpoint or job name that some platform would refuse
        MissingExtraError (ImportError) the adapter's packages are not installed; shows the pip line
        UntrustedConfigError            a project file asks for something only a trusted one may
      PackagingError                    a model cannot be packed, locked or unpacked
        LockMismatchError               files or versions differ from what the model was recorded with
      UnsupportedError (NotImplementedError)  the platform or the adapter cannot do it; raised before any call
      PlatformError                     the platform refused or failed
        AuthError                       who you are, or what you may do
          SecurityError                 a bucket, registry or container is not shown to be yours
        QuotaError                      a limit of the account, or no capacity
        NotFoundError (LookupError)
        ConflictError                   somebody else owns it, or is changing it now
          DriftError                    the live resource is not what we left there
        ThrottledError                  asked too often; retryable
        UnavailableError                5xx, refused or reset connections; retryable
        InvalidRequestError             the platform rejects a field
        PayloadTooLargeError            a request over the platform's limit
        UnreadableError (ValueError)    an answer or file of somebody else that has no form we know
      PlanStale                         the world moved between plan and apply
      DeployFailed                      with the platform's reason and the last log lines
        RollbackFailed                  and something could not be undone; see ``leftovers``
      TrainFailed                       with the platform's reason and the last log lines
      ModelError                        the model's own 4xx or 5xx; never retried
        InvalidInputError (ValueError)  the model says the input is wrong, naming the field
      TimedOut (TimeoutError)           with how long was waited and the last state seen
      JournalError                      the local journal cannot be written
        JournalDamaged                  a journal file that cannot be trusted
      GateFailed                        a condition the caller asked for does not hold
      Interrupted                       stopped by the user; says what is still alive

Each carries ``provider, operation, resource, status, request_id, retryable, hint``. The vendor's own
exception stays as ``__cause__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Leftover


class SdkError(Exception):
    """Base of all errors of mlport.

    Args:
        message: What happened, in one sentence that names the field or resource.
        provider: Adapter that was in use, such as ``"sagemaker"``.
        operation: What was being done, such as ``"CreateEndpoint"``.
        resource: Identifier of the thing it was done to.
        status: HTTP status, where there was one.
        request_id: The platform's id of the failed request, for its support.
        retryable: Whether the same call may succeed later; default is the class's.
        hint: What to do about it, in one sentence.

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
        """The error as plain values, as ``-o json`` prints it."""
        fields = ("message", "provider", "operation", "resource", "status", "request_id", "retryable", "hint")
        return {"error": type(self).__name__, **{name: getattr(self, name) for name in fields}}


class ConfigError(SdkError, ValueError):
    """A setting or argument is wrong."""

    exit_code = 3


class UnknownKeyError(ConfigError):
    """A key, target or provider that nobody knows."""


class InvalidNameError(ConfigError):
    """A name that at least one platform would refuse."""


class MissingExtraError(ConfigError, ImportError):
    """The adapter is known, but the packages it needs are not installed."""


class UntrustedConfigError(ConfigError):
    """A project file asks for something that only arguments, the environment or a trusted file may set."""


class PackagingError(SdkError):
    """A model cannot be packed, locked or unpacked."""


class LockMismatchError(PackagingError):
    """Files, Python or library versions differ from what was recorded with the model."""


class UnsupportedError(SdkError, NotImplementedError):
    """The platform, or this adapter, cannot do what was asked; raised before any call is made.

    Args:
        message: What was asked for.
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
    """A bucket, registry or container that was to be used belongs to somebody else, or is not shown to be yours."""


class QuotaError(PlatformError):
    """A limit of the account is reached, or the platform has no capacity."""

    exit_code = 6


class NotFoundError(PlatformError, LookupError):
    """The resource does not exist."""

    exit_code = 5


class ConflictError(PlatformError):
    """Somebody else owns the resource, or is changing it at this moment.

    Args:
        message: What happened.
        holder: Who has it, as far as known.
        free_at: Unix seconds of the platform at which a holder that is gone loses it, where that is known.
        **facts: The fields of :class:`SdkError`.
    """

    def __init__(self, message: str, *, holder: str | None = None, free_at: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.holder = holder
        self.free_at = free_at

    def to_dict(self) -> dict[str, Any]:
        """The error as plain values, with who has it and until when."""
        return {**super().to_dict(), "holder": self.holder, "free_at": self.free_at}


class DriftError(ConflictError):
    """The live resource is neither what was there before nor what we wrote, so it is left alone."""


class ThrottledError(PlatformError):
    """The platform asks for fewer calls.

    Args:
        message: What happened.
        retry_after_s: Seconds the platform asks to wait, if it says.
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
        unready: Whether no replica of an endpoint was there to take the request, so that a look may bring one back.
        lost: Whether the replica ended while it worked on the request, so that the endpoint's log says how.
        retry_after_s: Seconds the platform asks to wait, if it says.
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
    """An answer of a platform, or a file of somebody else, is malformed, too long or nested without end."""


class PayloadTooLargeError(PlatformError, ValueError):
    """A request is over the platform's limit."""


class PlanStale(SdkError):
    """The world moved between plan and apply, so nothing was changed."""


class _Failed(SdkError):
    """A long task that ended badly: carries the reason and what the container said last."""

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
        """The error as plain values, with reason, last log lines and leftovers."""
        left = [item.to_dict() for item in self.leftovers]
        return {**super().to_dict(), "reason": self.reason, "logs": list(self.logs), "leftovers": left}


class DeployFailed(_Failed):
    """A deployment did not become ready; what it made was removed, or is listed in ``leftovers``."""


class RollbackFailed(DeployFailed):
    """A deployment failed and not everything could be undone; see ``leftovers``."""

    exit_code = 8


class TrainFailed(_Failed):
    """A training job failed: non-zero exit, out of memory, time-out, or no output."""


class ModelError(SdkError):
    """The model itself answered with an error; never retried.

    Args:
        message: The model's own message.
        body: The model's answer, as far as it was readable.
        **facts: The fields of :class:`SdkError`; ``status`` is the container's own.
    """

    def __init__(self, message: str, *, body: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.body = body


class InvalidInputError(ModelError, ValueError):
    """The model says that the input is wrong.

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
        message: What was waited for.
        waited_s: Seconds that were waited.
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
    """A journal file is damaged beyond a torn last record; nothing is guessed from it."""


class GateFailed(SdkError):
    """A condition the caller asked for does not hold (alarm, objective, baseline)."""

    exit_code = 7


class Interrupted(SdkError):
    """Stopped by the user.

    Args:
        message: What was stopped.
        leftovers: What is still alive and what it costs.
        **facts: The fields of :class:`SdkError`.
    """

    exit_code = 130

    def __init__(self, message: str, *, leftovers: Sequence[Leftover] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.leftovers = tuple(leftovers)
