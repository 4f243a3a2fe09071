"""IAM policies for a target: the permissions that a role's calls need, on the resources of the target."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sdk.adapter.rights import VERBS
from sdk.errors import UnavailableError, UnsupportedError

from ._defaults import OLD_REPOSITORY, REPOSITORY
from ._errors import PROVIDER
from ._rights import CALLS, RUNTIME, VAULT, Right

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdk.adapter.rights import PolicyForm, PolicyRole

    from ._aws import Aws

_CONDITIONS = {"iam:PassRole": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
_ECR = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.")
_RUNS = frozenset({"deployer", "ci"})


def policy(aws: Aws, target: str, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
    """Return the policy of a role, as JSON or as a Terraform resource.

    Raises:
        UnsupportedError: AWS has no policies in this form.
    """
    if form == "bicep":
        raise UnsupportedError(
            "policies of AWS are not written in Bicep", reason="never", provider=PROVIDER, hint="use json or tf"
        )
    text = json.dumps(document(rights_of(aws, role, secrets)), indent=2)
    if form == "json":
        return text
    escaped = text.replace("${", "$${").replace("%{", "%%{").replace("\n", "\n  ")
    name = f"mlport-{target}-{role}"
    return f'resource "aws_iam_policy" "{_word(name)}" {{\n  name = "{name}"\n  policy = jsonencode({escaped})\n}}'


def rights_of(aws: Aws, role: PolicyRole, secrets: Sequence[str] = ()) -> list[Right]:
    """Return the permissions that a role needs on this target, each action and resource once."""
    rows = (row for row in CALLS.values() if row.verbs & VERBS[role])
    wanted: Iterable[Right] = RUNTIME if role == "runtime" else (right for row in rows for right in row.rights)
    found = [one for one in wanted if not one.only or getattr(aws.options, one.only)]
    if role in _RUNS:
        found += [Right("secretsmanager:GetSecretValue", VAULT.replace("{name}", name)) for name in secrets]
    where = _where(aws)
    placed = (Right(one.action, one.resource.format_map(where)) for one in found)
    return list(dict.fromkeys(one for one in placed if one.resource))


def grouped(rights: Iterable[Right]) -> dict[tuple[str, ...], list[str]]:
    """Group actions by the resources on which they are needed."""
    places: dict[str, list[str]] = {}
    for right in rights:
        places.setdefault(right.action, []).append(right.resource)
    found: dict[tuple[str, ...], list[str]] = {}
    for action, resources in sorted(places.items()):
        found.setdefault(tuple(resources), []).append(action)
    return found


def document(rights: Sequence[Right]) -> dict[str, Any]:
    """Return a policy document: one statement for each set of resources, and one for each action with a condition."""
    plain = grouped(one for one in rights if one.action not in _CONDITIONS)
    bound = (grouped([one]) for one in rights if one.action in _CONDITIONS)
    statements = [_statement(*one) for group in (plain, *bound) for one in group.items()]
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(resources: tuple[str, ...], actions: list[str]) -> dict[str, Any]:
    place = resources[0] if len(resources) == 1 else list(resources)
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions, "Resource": place}
    condition = _CONDITIONS.get(actions[0])
    return {**statement, "Condition": {"StringEquals": condition}} if condition else statement


def _where(aws: Aws) -> dict[str, str]:
    options, partition = aws.options, aws.role.split(":")[1]
    bucket, repository = _names(aws)
    home = f"arn:{partition}:ecr:{aws.region}:{aws.account}:repository"
    return {
        "partition": partition,
        "region": aws.region,
        "account": aws.account,
        "role": aws.role,
        "bucket": bucket,
        "prefix": options.prefix,
        "repository": repository,
        "old_bucket": "" if options.bucket else f"arn:{partition}:s3:::{aws.defaults.old_bucket}",
        "old_repository": "" if options.repository else f"{home}/{OLD_REPOSITORY}",
        "kms_key": _key(aws, options.kms_key, partition),
        "secret": "",  # each policy names its secrets
        "base": _base(aws, options.base or "", partition),
    }


def _names(aws: Aws) -> tuple[str, str]:
    """Return the bucket and the repository.

    If AWS cannot be reached to look for those of earlier versions, the names of this version are used.
    """
    try:
        return aws.bucket, aws.repository
    except UnavailableError:
        return aws.options.bucket or aws.defaults.new_bucket, aws.options.repository or REPOSITORY


def _key(aws: Aws, key: str | None, partition: str) -> str:
    """Return the ARN of the target's KMS key; empty without one. Permissions for an alias cover every key."""
    if not key or key.startswith("arn:"):
        return key or ""
    return f"arn:{partition}:kms:{aws.region}:{aws.account}:key/{'*' if key.startswith('alias/') else key}"


def _base(aws: Aws, base: str, partition: str) -> str:
    """Return the ARN of the base image's repository if that is in ECR; otherwise empty."""
    host, _, rest = base.partition("/")
    found = _ECR.match(host)
    if not rest or not (found or aws.mock):
        return ""
    account, region = (found[1], found[2]) if found else (aws.account, aws.region)
    return f"arn:{partition}:ecr:{region}:{account}:repository/{rest.partition('@')[0].partition(':')[0]}"


def _word(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
