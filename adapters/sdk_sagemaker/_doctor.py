"""What endpoints and jobs need of the account, tried out: one real call each, none that changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.errors import AuthError, NotFoundError, PlatformError, QuotaError, SdkError
from sdk.types import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._aws import Aws


def checks(aws: Aws) -> Iterator[Check]:
    """Who we are first: without that nothing else is worth asking."""
    who = _check("identity", lambda: _identity(aws))
    yield who
    if not who.ok:
        return
    for name, look in (
        ("endpoints", _endpoints),
        ("role", _role),
        ("bucket", _bucket),
        ("images", _images),
        ("quota", _quota),
    ):
        yield _check(name, lambda look=look: look(aws))  # type: ignore[misc]  # binds the loop variable


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except SdkError as error:
        return Check(name, False, error.message, error.hint or "see what AWS says")


def _identity(aws: Aws) -> str:
    found = aws.call("sts", "get_caller_identity", "me")
    if found["Account"] != aws.account:
        raise AuthError(
            f"you are in account {found['Account']}, the role of the target is in {aws.account}",
            hint="log in to the other account, or correct `role`",
        )
    return f"{found['Arn']} in {aws.region}{f' at {aws.mock}' if aws.mock else ''}"


def _endpoints(aws: Aws) -> str:
    found = aws.call("sagemaker", "list_endpoints", "list", MaxResults=1)
    return f"SageMaker answers in {aws.region}{'' if found['Endpoints'] else ', no endpoint yet'}"


def _role(aws: Aws) -> str:
    name = aws.role.rpartition("/")[2]
    try:
        found = aws.call("iam", "get_role", name, RoleName=name)
    except AuthError:
        return f"{aws.role}: you may not look at it, so it was not checked"
    except NotFoundError:
        if aws.mock is None:
            raise
        return f"{aws.role}: not made on the mini cloud, which takes any"
    if "sagemaker.amazonaws.com" not in str(found["Role"].get("AssumeRolePolicyDocument")):
        raise AuthError(f"{aws.role} does not trust SageMaker", hint="let sagemaker.amazonaws.com assume it")
    return str(found["Role"]["Arn"])


def _bucket(aws: Aws) -> str:
    if aws.find("s3", "head_bucket", aws.bucket, Bucket=aws.bucket) is not None:
        return aws.bucket
    if aws.options.bucket is not None:
        raise NotFoundError(f"there is no bucket {aws.bucket!r}", hint="make it, or leave `bucket` out")
    return f"{aws.bucket} is made when it is needed"


def _images(aws: Aws) -> str:
    aws.call("ecr", "get_authorization_token", "login")
    name = aws.options.repository
    found = aws.find("ecr", "describe_repositories", name, repositoryNames=[name])
    return f"repository {name}" + ("" if found else " is made when it is needed")


def _quota(aws: Aws) -> str:
    """How many instances of the target's type may run, if that may be read."""
    if aws.options.instance is None:
        return "no instance is set, so there is nothing to look up"
    wanted = f"{aws.options.instance} for endpoint usage"
    try:
        value = _value(aws, wanted)
    except PlatformError as error:
        return f"{wanted}: not readable ({error.message})"
    if value is None:
        return f"{wanted}: not listed"
    if value < 1:
        raise QuotaError(f"{wanted}: {value:g}", hint="ask for more in Service Quotas, Amazon SageMaker")
    return f"{wanted}: {value:g}"


def _value(aws: Aws, wanted: str) -> float | None:
    """A quota of SageMaker by its name."""
    for page in aws.pages("service-quotas", "list_service_quotas", wanted, ServiceCode="sagemaker"):
        for quota in page["Quotas"]:
            if quota["QuotaName"] == wanted:
                return float(quota["Value"])
    return None
