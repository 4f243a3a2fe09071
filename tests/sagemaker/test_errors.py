"""Each refusal of AWS becomes the right error, with a hint that helps."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from botocore import exceptions as vendor

from sdk.errors import (
    AuthError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    QuotaError,
    ThrottledError,
    UnavailableError,
)
from sdk_sagemaker import _predict
from sdk_sagemaker._errors import Answer, from_answer, translate

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
V = "ValidationException"
LIMIT = (
    "The account-level service limit 'ml.g5.xlarge for endpoint usage' is 0 Instances, with current utilization of 0"
)
DENIED = "User: arn:aws:iam::1:user/me is not authorized to perform: {} on resource: x"

ANSWERS = [
    (V, 400, f'Cannot create already existing endpoint "{ARN}:endpoint/x".', ConflictError, False, "mlport list"),
    (
        V,
        400,
        f'Cannot create already existing endpoint configuration "{ARN}:e/x".',
        ConflictError,
        False,
        "mlport list",
    ),
    (V, 400, f'Cannot create already existing model "{ARN}:model/x".', ConflictError, False, "mlport list"),
    (V, 400, f'Cannot update in-progress endpoint "{ARN}:endpoint/x".', ConflictError, True, "wait for it"),
    (V, 400, "Cannot delete endpoint while its status is Creating.", ConflictError, True, "wait for it"),
    (V, 400, f'Could not find endpoint "{ARN}:endpoint/x".', NotFoundError, False, "region"),
    (V, 400, f'Could not find endpoint configuration "{ARN}:e/x".', NotFoundError, False, "region"),
    (V, 400, "Could not find training job 'x'.", NotFoundError, False, "region"),
    (
        "ResourceInUse",
        400,
        "Training job names must be unique within an AWS account",
        ConflictError,
        False,
        "mlport list",
    ),
    ("ResourceNotFound", 400, "Requested resource not found.", NotFoundError, False, "region"),
    ("ResourceLimitExceeded", 400, LIMIT, QuotaError, False, "Service Quotas"),
    ("ThrottlingException", 400, "Rate exceeded", ThrottledError, True, "again"),
    ("SlowDown", 503, "Please reduce your request rate.", ThrottledError, True, "again"),
    ("AccessDeniedException", 400, DENIED.format("sagemaker:CreateModel"), AuthError, False, "sagemaker:CreateModel"),
    ("AccessDeniedException", 400, DENIED.format("iam:PassRole"), AuthError, False, "iam:PassRole"),
    ("ExpiredTokenException", 403, "The security token included in the request is expired", AuthError, False, "log in"),
    ("UnrecognizedClientException", 403, "The security token is invalid.", AuthError, False, "get-caller-identity"),
    ("InvalidSignatureException", 403, "Signature expired: 2026 is now earlier than", AuthError, False, "again|clock"),
    ("SignatureDoesNotMatch", 403, "The request signature we calculated", AuthError, False, "secret key"),
    (V, 400, "Could not assume role arn:aws:iam::1:role/x", InvalidRequestError, False, "must trust"),
    (V, 400, "Unsupported manifest media type application/vnd.oci.image", InvalidRequestError, False, "schema 2"),
    (V, 400, "Requested image 1.dkr.ecr/x is invalid", InvalidRequestError, False, "must be in ECR"),
    ("ServiceUnavailable", 503, "Service is unavailable", UnavailableError, True, "again"),
    ("InternalFailure", 500, "internal failure", UnavailableError, True, "again"),
    ("InternalDependencyException", 530, "dependency", UnavailableError, True, "again"),
    ("ModelNotReadyException", 429, "not ready", UnavailableError, True, "again"),
    ("500", 500, "<!doctype html><title>500</title>", UnavailableError, True, "again"),
    ("PreconditionFailed", 412, "At least one of the pre-conditions", ConflictError, False, "mlport list"),
    ("ConditionalRequestConflict", 409, "Conflict", ConflictError, True, "wait"),
    ("NoSuchBucket", 404, "The specified bucket does not exist", NotFoundError, False, "check the bucket"),
    ("RepositoryNotFoundException", 400, "The repository does not exist", NotFoundError, False, "region"),
    ("RepositoryAlreadyExistsException", 400, "exists", ConflictError, False, "mlport list"),
    ("ObjectNotFoundException", 400, "No scalable target registered", NotFoundError, False, "region"),
    ("InsufficientInstanceCapacity", 400, "no capacity", QuotaError, False, "another instance"),
    (V, 400, "1 validation error detected: Value at 'x'", InvalidRequestError, False, None),
    ("Strange", 302, "moved", PlatformError, False, None),
]


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: f"{case[0]} {case[2][:30]}")
def test_every_refusal_has_its_class(case: tuple[str, int, str, type[PlatformError], bool, str | None]) -> None:
    """Class, retryable, hint and the facts that a support case needs."""
    code, status, message, kind, retryable, hint = case
    error = from_answer(Answer(code, message, status, "r-1"), "CreateEndpoint", "churn")
    assert (kind, retryable) == (type(error), error.retryable)
    assert ("sagemaker", "CreateEndpoint", "churn", status, "r-1") == (
        error.provider, error.operation, error.resource, error.status, error.request_id,
    )  # fmt: skip
    assert "<" not in str(error), "an error page is not quoted"
    if hint is not None:
        assert error.hint is not None
        assert any(one in error.hint for one in hint.split("|"))


def client_error(code: str) -> vendor.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return vendor.ClientError(answer, "CreateModel")


LIBRARY = [
    (client_error("ThrottlingException"), ThrottledError, None),
    (vendor.NoCredentialsError(), AuthError, None),
    (vendor.PartialCredentialsError(provider="env", cred_var="key"), AuthError, None),
    (vendor.ProfileNotFound(profile="x"), AuthError, None),
    (vendor.UnauthorizedSSOTokenError(), AuthError, None),
    (vendor.EndpointConnectionError(endpoint_url="https://x", error="refused"), UnavailableError, False),
    (vendor.ConnectTimeoutError(endpoint_url="https://x"), UnavailableError, False),
    (vendor.ReadTimeoutError(endpoint_url="https://x"), UnavailableError, True),
    (vendor.ConnectionClosedError(endpoint_url="https://x"), UnavailableError, True),
    (vendor.ParamValidationError(report="x"), InvalidRequestError, None),
    (vendor.UnknownServiceError(service_name="x", known_service_names="y"), PlatformError, None),
]


@pytest.mark.parametrize(("raised", "kind", "sent"), LIBRARY, ids=lambda value: type(value).__name__)
def test_what_the_library_raises_is_translated(raised: Exception, kind: type[PlatformError], sent: bool | None) -> None:
    """The library's exception is the cause; only a connection that was never made proves that nothing was sent."""
    with pytest.raises(PlatformError) as caught, translate("CreateModel", "churn"):
        raise raised
    assert (kind, raised) == (type(caught.value), caught.value.__cause__)
    if sent is not None:
        assert sent == getattr(caught.value, "sent", None)
    if kind is AuthError:
        assert caught.value.hint


def test_bugs_of_our_own_stay_what_they_are() -> None:
    """A TypeError is no answer of AWS."""
    with pytest.raises(TypeError), translate("CreateModel", "churn"):
        raise TypeError("ours")


# --- predictions --------------------------------------------------------------------------------------------------

URL = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/churn/invocations"


def response(status: int, body: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named, request=httpx.Request("POST", URL))


@pytest.mark.parametrize("original", [400, 500])
def test_the_containers_own_status_is_dug_out(original: int) -> None:
    """SageMaker says 424 to both: status, message, field and id are those of the container."""
    said = {"error": {"message": "bad row", "field": "instances[0]", "request_id": "abc"}}
    body = {"OriginalStatusCode": original, "OriginalMessage": json.dumps(said), "Message": "Received client error"}
    fault = _predict.fault(response(424, body, x_amzn_ErrorType="ModelError"))
    assert fault is not None
    assert (original, "bad row", "instances[0]", "abc") == (fault.status, fault.message, fault.field, fault.request_id)


def test_a_foreign_container_is_quoted() -> None:
    """A message that is not in our form is given as it is."""
    body = {"OriginalStatusCode": 503, "OriginalMessage": "<h1>busy</h1>", "__type": "com.amazonaws#ModelError"}
    fault = _predict.fault(response(424, body))
    assert fault is not None
    assert (503, "<h1>busy</h1>", None) == (fault.status, fault.message, fault.field)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "ValidationError", "Endpoint churn of account 1 not found.", NotFoundError),
        (400, "ValidationError", "Variant d1 not found for Request", NotFoundError),
        (403, "AccessDeniedException", DENIED.format("sagemaker:InvokeEndpoint"), AuthError),
        (413, "413", "too large", PayloadTooLargeError),
        (400, "ThrottlingException", "Rate exceeded", ThrottledError),
        (503, "ServiceUnavailable", "busy", UnavailableError),
        (500, "InternalFailure", "x", UnavailableError),
        (530, "InternalDependencyException", "x", UnavailableError),
        (429, "ModelNotReadyException", "x", UnavailableError),
    ],
)
def test_what_the_platform_says_is_no_fault_of_the_model(
    status: int, code: str, message: str, kind: type[PlatformError]
) -> None:
    """Everything but ModelError is the platform's, with its request id."""
    answer = response(status, {"Message": message}, x_amzn_ErrorType=f"{code}:http://internal", x_amzn_RequestId="r")
    assert _predict.fault(answer) is None
    error = _predict.error(answer)
    assert (kind, "churn", "r") == (type(error), error.resource, error.request_id)
