"""Account checks for endpoints and jobs: each makes one real AWS call, and none changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.adapter.types import Check
from sdk.errors import AuthError, NotFoundError, SdkError

from . import _granted
from ._defaults import OLD_REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._aws import Aws


def checks(aws: Aws, target: str) -> Iterator[Check]:
    """Yield all checks, the identity first: without a valid identity, no other check is made."""
    caller: list[str] = []
    who = _check("identity", lambda: _identity(aws, caller))
    yield who
    if not who.ok:
        return
    for name, look in (
        ("endpoints", _endpoints),
        ("role", _role),
        ("bucket", _bucket),
        ("images", _images),
    ):
        yield _check(name, lambda look=look: look(aws))  # type: ignore[misc]  # binds the loop variable
    yield from _quotas(aws)
    yield from _granted.checks(aws, target, caller[0])


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except SdkError as error:
        return Check(name, False, error.message, error.hint or "see what AWS says")


def _identity(aws: Aws, caller: list[str]) -> str:
    found = aws.call("sts", "get_caller_identity", "me")
    caller.append(str(found["Arn"]))
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
        return aws.bucket + _about_names(aws, aws.bucket, aws.defaults.old_bucket)
    if aws.options.bucket is not None:
        raise NotFoundError(f"there is no bucket {aws.bucket!r}", hint="make it, or leave `bucket` out")
    return f"{aws.bucket} is made when it is needed" + _about_names(aws, aws.bucket, aws.defaults.old_bucket)


def _about_names(aws: Aws, used: str, old: str) -> str:
    """Return a note on the default name of earlier versions, or ``""`` where it does not matter."""
    if old in aws.defaults.unseen:
        return (
            f"; {old}, the default of earlier versions, is not used: it belongs to another account, or you may not "
            "look at it"
        )
    return "; the default of earlier versions, which AmazonSageMakerFullAccess does not cover" if used == old else ""


def _images(aws: Aws) -> str:
    aws.call("ecr", "get_authorization_token", "login")
    name = aws.repository
    found = aws.find("ecr", "describe_repositories", name, repositoryNames=[name])
    made = "" if found else " is made when it is needed"
    return f"repository {name}{made}{_about_names(aws, name, OLD_REPOSITORY)}"


def _quotas(aws: Aws) -> Iterator[Check]:
    """Yield the quotas of the target's instance type: for endpoints, for jobs, and for spot jobs if they are set."""
    instance, spot = aws.options.instance, aws.options.spot
    if instance is None:
        yield Check("quota", True, "no instance is set, so there is nothing to look up")
        return
    wanted = {"quota": f"{instance} for endpoint usage", "training quota": f"{instance} for training job usage"}
    if spot:
        wanted["spot quota"] = f"{instance} for spot training job usage"
    try:
        values = _values(aws, frozenset(wanted.values()))
    except SdkError as error:
        yield from (Check(name, True, f"{text}: not readable ({error.message})") for name, text in wanted.items())
        return
    for name, text in wanted.items():
        yield _judge(name, text, values.get(text), needed=name == "quota" or spot)


def _judge(name: str, text: str, value: float | None, *, needed: bool) -> Check:
    """Rate a quota; 0 instances fail the check only where the target's settings show that instances are needed."""
    if value is None:
        return Check(name, True, f"{text}: unknown, since Service Quotas does not list it")
    if value >= 1:
        return Check(name, True, f"{text}: {value:g}")
    hint = "ask for more in Service Quotas, Amazon SageMaker"
    return Check(name, False, f"{text}: 0", hint) if needed else Check(name, True, f"{text}: 0; to train, {hint}")


def _values(aws: Aws, wanted: frozenset[str]) -> dict[str, float]:
    """Return quotas by name: those set for the account, then AWS's defaults for the rest.

    Source: https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
    """
    found: dict[str, float] = {}
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        if wanted <= found.keys():
            break
        for page in aws.pages("service-quotas", operation, "quotas", ServiceCode="sagemaker"):
            for quota in page["Quotas"]:
                if quota["QuotaName"] in wanted:
                    found.setdefault(quota["QuotaName"], float(quota["Value"]))
    return found
