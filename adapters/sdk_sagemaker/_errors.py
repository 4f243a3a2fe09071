"""Conversion of AWS errors to the classes of :mod:`sdk.errors`, with a hint for each known kind of refusal.

SageMaker's control plane reports almost every error as ``ValidationException``: only its text shows whether a name is
taken, missing or busy.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdk.errors import (
    AuthError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    QuotaError,
    SdkError,
    ThrottledError,
    UnavailableError,
    UnreadableError,
)
from sdk.util.waiting import retry_after

from ._rights import actions_of

if TYPE_CHECKING:
    from collections.abc import Generator

PROVIDER = "sagemaker"


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal as AWS sent it; ``status`` is 0 if it has no HTTP status."""

    code: str
    message: str
    status: int = 0
    request_id: str | None = None
    retry_after_s: float | None = None


_KINDS: dict[type[PlatformError], str] = {
    ThrottledError: """Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException
        TooManyRequestsException RequestLimitExceeded SlowDown BandwidthLimitExceeded PriorRequestNotComplete""",
    QuotaError: """ResourceLimitExceeded LimitExceededException ServiceQuotaExceededException TooManyBuckets
        InsufficientCapacity InsufficientCapacityException InsufficientInstanceCapacity CapacityError""",
    AuthError: """AccessDenied AccessDeniedException UnauthorizedOperation NotAuthorized UnrecognizedClientException
        InvalidClientTokenId InvalidAccessKeyId ExpiredToken ExpiredTokenException TokenRefreshRequired
        InvalidSignatureException SignatureDoesNotMatch IncompleteSignature MissingAuthenticationToken
        MissingAuthenticationTokenException AuthFailure OptInRequired RequestExpired RequestTimeTooSkewed
        KMSAccessDeniedException 401 403""",
    NotFoundError: """ResourceNotFound ResourceNotFoundException NoSuchBucket NoSuchKey NoSuchEntity NotFound
        RepositoryNotFoundException ImageNotFoundException ObjectNotFoundException 404""",
    ConflictError: """ResourceInUse ResourceInUseException ConflictException RepositoryAlreadyExistsException
        ResourceAlreadyExistsException ResourceExistsException BucketAlreadyOwnedByYou BucketAlreadyExists
        PreconditionFailed ConditionalRequestConflict ConcurrentUpdateException OperationAborted 409 412""",
    UnavailableError: """InternalFailure InternalError InternalServerError InternalServiceError InternalServiceException
        InternalServerException ServiceException ServerException InternalDependencyException ServiceUnavailable
        ServiceUnavailableException RequestTimeout RequestTimeoutException ModelNotReadyException""",
    PayloadTooLargeError: "RequestEntityTooLarge RequestEntityTooLargeException EntityTooLarge 413",
}
_BY_CODE = {code: kind for kind, codes in _KINDS.items() for code in codes.split()}

_TAKEN = re.compile(r"already exist", re.IGNORECASE)
_MISSING = re.compile(r"could not find|does not exist|not found|no scalable target", re.IGNORECASE)
_BUSY = re.compile(
    r"in-progress|in progress|while (it|its|the)\b|(is|in) (state |status )?\W?(creating|updating|deleting|stopping)",
    re.IGNORECASE,
)

_DEREGISTER = (
    "scaling that mlport did not register is left to its owner: aws application-autoscaling deregister-scalable-target "
    "--service-namespace sagemaker --scalable-dimension sagemaker:variant:DesiredInstanceCount"
)
_HINTS = (
    (r"iam:PassRole", "allow iam:PassRole on the role of the target to whoever deploys"),
    (r"not authorized to perform:? (?P<action>[\w:-]+)", "ask for the permission {action}"),
    (r"expired", "log in again, for instance with: aws sso login"),
    (r"RequestTimeTooSkewed|Signature expired|not yet current", "set the clock of this machine"),
    (r"InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|security token .* invalid",
     "check the keys and the profile: aws sts get-caller-identity"),
    (r"SignatureDoesNotMatch|InvalidSignature|IncompleteSignature",
     "check the secret key, and the clock of this machine"),
    (r"assume role|trust relationship|not authorized to perform sts:AssumeRole",
     "the role must trust sagemaker.amazonaws.com"),
    (r"ResourceLimitExceeded|LimitExceeded|QuotaExceeded|account-level (service )?limit",
     "ask for more in Service Quotas under Amazon SageMaker, or choose another instance; many types begin at 0"),
    (r"Insufficient\w*Capacity|CapacityError|insufficient capacity|Unable to provision",
     "choose another instance type or region, or try again later"),
    (r"manifest media type",
     "push the image in Docker's own format (schema 2): SageMaker takes no OCI manifest or index"),
    (r"ecr:|ECR image|Failed to pull image|image .* (is invalid|does not exist|cannot be)",
     "the image must be in ECR in the region of the target, and its role must be allowed to pull it"),
    (r"must be deregistered as scalable targets",
     f"{_DEREGISTER} --resource-id endpoint/ENDPOINT/variant/VARIANT"),
    (r"ping health check", "the container did not get ready: the last log lines say why"),
    (r"\bs3:|ModelDataUrl|S3 (URI|object|bucket)|NoSuchBucket",
     "check the bucket, and that the role may read and write it"),
    (r"KMS", "check the key, and that the role may use it"),
    (r"AccessDenied|UnauthorizedOperation", "ask for the permission; `mlport doctor` shows who you are"),
)  # fmt: skip
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "403"})
_CONFLICT_HINT = "another change is running: wait for it"
_USUAL_HINTS: dict[type[PlatformError], str] = {
    ConflictError: "choose another name, or look who has this one: mlport list",
    NotFoundError: "check the name, and account and region of the target: mlport doctor",
    ThrottledError: "wait a little and try again; AWS counts the calls of the whole account",
    UnavailableError: "try again; if it lasts, see https://health.aws.amazon.com",
}


def from_answer(answer: Answer, operation: str, resource: str) -> PlatformError:
    """Convert a refusal to an error.

    Example:
        >>> error = from_answer(Answer("ValidationException", 'Could not find model "m".', 400), "DescribeModel", "m")
        >>> type(error).__name__
        'NotFoundError'
    """
    kind, busy = _kind(answer)
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "operation": operation,
        "resource": resource,
        "status": answer.status or None,
        "request_id": answer.request_id,
        "hint": _CONFLICT_HINT if busy else _hint(answer, operation) or _USUAL_HINTS.get(kind),
    }
    message = f"{operation} {resource}: {_text(answer)}"
    if kind is UnavailableError:
        return UnavailableError(message, sent=True, retry_after_s=answer.retry_after_s, **facts)
    if kind is ThrottledError:
        return ThrottledError(message, retry_after_s=answer.retry_after_s, **facts)
    return kind(message, retryable=True if busy else None, **facts)


def _kind(answer: Answer) -> tuple[type[PlatformError], bool]:
    """Return the error class of a refusal, and whether the refusal is temporary because the resource is busy."""
    known = _BY_CODE.get(answer.code)
    if known is not None:
        busy = answer.code in {"ConditionalRequestConflict", "ConcurrentUpdateException", "OperationAborted"}
        return known, busy
    if answer.status >= 500:
        return UnavailableError, False
    if _TAKEN.search(answer.message):
        return ConflictError, False
    if _BUSY.search(answer.message):
        return ConflictError, True
    if _MISSING.search(answer.message):
        return NotFoundError, False
    return (InvalidRequestError if 400 <= answer.status < 500 else PlatformError), False


def _text(answer: Answer) -> str:
    """Return the message of AWS; for an empty message or an HTML error page, only the status or code."""
    text = answer.message.strip()
    if not text or text.startswith("<"):
        return f"AWS answered {answer.status or answer.code}"
    return text if answer.code in {"ValidationException", "ValidationError"} else f"{answer.code}: {text}"


def _hint(answer: Answer, operation: str) -> str | None:
    """Return a hint for a refusal; if AWS does not name the missing action, derive it from the refused call."""
    named = "not authorized to perform" in answer.message
    actions = actions_of(operation) if answer.code in _DENIED and not named else ()
    if actions:
        return f"ask for {' and '.join(actions)}; `mlport doctor` shows what is missing"
    return hint_for(f"{answer.code} {answer.message}")


def hint_for(text: str) -> str | None:
    """Return a hint for an error text, or ``None`` if none is known.

    Example:
        >>> hint_for("User: x is not authorized to perform: sagemaker:CreateModel on resource: y")
        'ask for the permission sagemaker:CreateModel'
    """
    for pattern, hint in _HINTS:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return hint.format(**found.groupdict())
    return None


@contextmanager
def translate(operation: str, resource: str) -> Generator[None]:
    """Convert all exceptions of the AWS library to mlport errors.

    Raises:
        PlatformError: A call failed.
    """
    try:
        yield
    except SdkError:
        raise
    except RuntimeError as error:  # from the library's parser
        why = "is nested without end" if isinstance(error, RecursionError) else f"cannot be read: {error}"
        said = f"{operation} {resource}: the answer {why}"
        raise UnreadableError(said, provider=PROVIDER, operation=operation, resource=resource) from error
    except Exception as error:
        translated = _from_library(error, operation, resource)
        if translated is None:
            raise
        raise translated from error


_NO_CREDENTIALS = "log in: `aws configure`, `aws sso login`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_LOCAL = {  # errors that the library raises before it sends anything
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "ProfileNotFound": "check `profile`, and AWS_PROFILE",
    "UnauthorizedSSOTokenError": "log in again with: aws sso login",
    "SSOTokenLoadError": "log in again with: aws sso login",
    "TokenRetrievalError": "log in again with: aws sso login",
    "LoginRefreshRequired": "log in again with: aws login",
}
_UNSENT = {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"}


def _from_library(error: Exception, operation: str, resource: str) -> PlatformError | None:
    """Convert a botocore exception to an error; return ``None`` for exceptions of other libraries."""
    response: dict[str, Any] | None = getattr(error, "response", None) or getattr(error.__context__, "response", None)
    if response is not None:
        return from_answer(answer_of(response), operation, resource)
    if not type(error).__module__.startswith(("botocore", "boto3", "s3transfer")):
        return None
    facts: dict[str, Any] = {"provider": PROVIDER, "operation": operation, "resource": resource}
    names = {kind.__name__ for kind in type(error).__mro__}
    message = f"{operation} {resource}: {error}"
    hint = next((text for name, text in _LOCAL.items() if name in names), None)
    if hint is not None:
        return AuthError(message, hint=hint, **facts)
    if names & {"HTTPClientError", "ConnectionError"}:
        unsent = bool(names & _UNSENT)
        return UnavailableError(message, sent=not unsent, hint="check the network and the region", **facts)
    if "ParamValidationError" in names:
        return InvalidRequestError(message, **facts)
    return PlatformError(message, **facts)


def answer_of(response: dict[str, Any]) -> Answer:
    """Return the refusal in a response that botocore parsed."""
    error: dict[str, Any] = response.get("Error") or {}
    about: dict[str, Any] = response.get("ResponseMetadata") or {}
    headers: dict[str, str] = about.get("HTTPHeaders") or {}
    return Answer(
        code=str(error.get("Code", "")),
        message=str(error.get("Message") or ""),
        status=int(about.get("HTTPStatusCode") or 0),
        request_id=about.get("RequestId") or headers.get("x-amzn-requestid"),
        retry_after_s=retry_after(headers),
    )


def gone(kind: str, name: str) -> NotFoundError:
    """Return the error for a resource that does not exist."""
    return NotFoundError(f"{kind} {name} is not there", provider=PROVIDER, operation=f"Read{kind}", resource=name)
