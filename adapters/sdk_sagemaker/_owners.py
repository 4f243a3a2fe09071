"""Ownership checks for the bucket and the repository of a target: AWS confirms the owner before either is used.

Bucket names are shared by all accounts, so ``sagemaker-mlport-ACCOUNT-REGION`` may already belong to another account,
which would get the data of jobs. Each call to S3 therefore says which account must own the bucket.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdk.errors import SecurityError
from sdk.util.hosts import is_at, is_here

from ._errors import PROVIDER
from ._rights import actions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.errors import AuthError

OWNER, SOURCE_OWNER = "ExpectedBucketOwner", "ExpectedSourceBucketOwner"


def expect_owner(client: Any, owner: Callable[[], str]) -> None:
    """Add the expected owner to every call of an S3 client that accepts it, also calls of transfers and paginators."""

    def add(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
        takes: set[str] = set(model.input_shape.members) if model.input_shape is not None else set()
        given = {OWNER: owner()} if OWNER in takes else {}
        if SOURCE_OWNER in takes:
            given[SOURCE_OWNER] = owner()
        return {**params, **given}

    client.meta.events.register("provide-client-params.s3", add)


def foreign_bucket(bucket: str, owner: str, error: AuthError) -> SecurityError:
    """Return the error for a bucket that S3 does not let mlport use as the expected account's own."""
    return SecurityError(
        f"bucket {bucket} is not used: it belongs to another account than {owner}, or this identity may not do "
        f"{error.operation} there (S3 does not say which)",
        provider=PROVIDER,
        operation=error.operation,
        resource=bucket,
        status=error.status,
        request_id=error.request_id,
        hint='name another one with bucket = "…"; if it is meant to be that of another account, name that account with '
        f'bucket_owner = "…"; if it is yours, ask for {" and ".join(actions_of(error.operation or "")) or "the right"}',
    )


def check_repository(about: dict[str, Any], account: str) -> None:
    """Refuse a repository of another account than that of the role.

    Raises:
        SecurityError: The repository is in another account.
    """
    found = str(about.get("registryId"))
    if found != account:
        raise SecurityError(
            f"repository {about.get('repositoryName')} is in account {found}, not in {account}, which the role is in",
            provider=PROVIDER,
            operation="DescribeRepositories",
            resource=str(about.get("repositoryName")),
            hint="use credentials of the role's account, or name a role of this account",
        )


def check_registry(host: str, account: str, *domains: str) -> None:
    """Refuse a registry that is not in a domain of AWS, or belongs to another account than the role.

    Raises:
        SecurityError: The registry is one of these.
    """
    if not is_at(f"https://{host}", *domains):
        who = "find out who answers in the name of AWS: a proxy, AWS_ENDPOINT_URL, or the name service"
        raise _elsewhere(host, "not in a domain of AWS", who)
    check_repository({"registryId": host.partition(".")[0], "repositoryName": host}, account)


def check_mini_registry(host: str, mock: str) -> None:
    """Refuse a registry that is neither on this machine nor where the mini cloud is.

    Raises:
        SecurityError: The registry is elsewhere.
    """
    if not is_here(f"http://{host}") and host != urlsplit(mock).netloc:
        raise _elsewhere(host, "not where the mini cloud is", f"find out who answers at {mock}")


def _elsewhere(host: str, why: str, hint: str) -> SecurityError:
    return SecurityError(
        f"the registry is reported to be at {host}, which is {why}; nothing was sent there",
        provider=PROVIDER,
        operation="GetAuthorizationToken",
        resource=host,
        hint=hint,
    )
