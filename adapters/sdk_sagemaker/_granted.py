"""Checks which permissions an identity lacks for a role: IAM simulates its policies; no checked action is called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdk.adapter.rights import CHECKED, rights_check, rights_unknown
from sdk.errors import NotFoundError, PlatformError, SdkError

from ._policy import grouped, rights_of
from ._rights import Right

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sdk.adapter.rights import PolicyRole
    from sdk.adapter.types import Check

    from ._aws import Aws

_ASSUMED = re.compile(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d{12}):assumed-role/(?P<name>[^/]+)/.+")
_PASSED = [
    {
        "ContextKeyName": "iam:PassedToService",
        "ContextKeyValues": ["sagemaker.amazonaws.com"],
        "ContextKeyType": "string",
    }
]
_MOST_SHOWN = 12


def checks(aws: Aws, target: str, caller: str) -> Iterator[Check]:
    """Yield what the caller lacks for each role, and what the role of the target lacks.

    Args:
        aws: The connection to AWS.
        target: Name of the target, for hints.
        caller: ARN of the calling identity, as STS returns it.
    """
    try:
        lacks = _lacking(aws, _principal(aws, caller), rights_of(aws, "deployer"))
    except SdkError as error:
        yield rights_unknown(error)
        return
    for role in CHECKED:
        yield _check(role, [one for one in rights_of(aws, role) if one in lacks], target)
    yield _runtime(aws, target)


def _runtime(aws: Aws, target: str) -> Check:
    rights = rights_of(aws, "runtime")
    try:
        return _check("runtime", [one for one in rights if one in _lacking(aws, aws.role, rights)], target)
    except PlatformError as error:
        return rights_unknown(error, "rights runtime")


def _check(role: PolicyRole, missing: list[Right], target: str) -> Check:
    shown = ", ".join(f"{one.action} on {one.resource}" for one in missing[:_MOST_SHOWN])
    more = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
    granted = "granted by the policies of the identity"
    return rights_check(role, f"{shown}{more}", target, "the policy to attach", granted=granted)


def _lacking(aws: Aws, source: str, rights: Iterable[Right]) -> Collection[Right]:
    """Return those of the rights that the policies of an identity do not grant."""
    lacks: set[Right] = set()
    for resources, actions in grouped(rights).items():
        pages = aws.pages(
            "iam", "simulate_principal_policy", source, PolicySourceArn=source, ActionNames=actions,
            ResourceArns=list(resources), ContextEntries=_PASSED,
        )  # fmt: skip
        for page in pages:
            lacks |= {
                Right(str(one["EvalActionName"]), str(one["EvalResourceName"]))
                for one in page["EvaluationResults"]
                if one["EvalDecision"] != "allowed"
            }
    return lacks


def _principal(aws: Aws, caller: str) -> str:
    """Return the identity whose policies apply: for a session, its role, whose path only IAM knows.

    Raises:
        NotFoundError: The caller is the root user of an account, which has no policies.
    """
    if caller.endswith(":root"):
        raise NotFoundError("the root user has no policies; it may do everything", hint="use a role instead")
    found = _ASSUMED.fullmatch(caller)
    if found is None:
        return caller
    try:
        return str(aws.call("iam", "get_role", found["name"], RoleName=found["name"])["Role"]["Arn"])
    except PlatformError:
        return f"arn:{found['partition']}:iam::{found['account']}:role/{found['name']}"
