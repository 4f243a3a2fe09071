"""Custom roles and bindings of Google Cloud for a target: the permissions of a role's calls, each in a narrow scope.

Resources that exist before the first deploy get a binding of their own. A bucket that mlport makes is named in a
condition of a project binding. A repository that does not exist yet cannot have a binding, so a deployer's permissions
on it are granted on the project.
Source: https://cloud.google.com/iam/docs/conditions-resource-attributes
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sdk.adapter.rights import VERBS
from sdk.errors import ConfigError, UnsupportedError

from ._errors import PROVIDER
from ._rights import BILLED, CALLS, RUNTIME, Right

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdk.adapter.rights import PolicyForm, PolicyRole

    from ._rights import Scope
    from .options import VertexOptions

MEMBER = "MEMBER"
_VARIABLE = """variable "member" {
  type        = string
  description = "such as serviceAccount:ci@PROJECT.iam.gserviceaccount.com"
}"""
_PREFIX = "mlport/"  # of all objects in the bucket
_BOUND = {  # type and field of a binding in Terraform, by the start of the resource
    "//storage.googleapis.com/projects/_/buckets/": ("google_storage_bucket_iam_member", "bucket"),
    "//iam.googleapis.com/": ("google_service_account_iam_member", "service_account_id"),
    "//secretmanager.googleapis.com/": ("google_secret_manager_secret_iam_member", "secret_id"),
    "//artifactregistry.googleapis.com/": ("google_artifact_registry_repository_iam_member", "repository"),
    "//cloudresourcemanager.googleapis.com/projects/": ("google_project_iam_member", "project"),
}


def policy(options: VertexOptions, target: str, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
    """Return the custom roles and bindings of a role, as JSON or as Terraform resources.

    Raises:
        ConfigError: Containers run as Google's own agent, which already has its permissions.
        UnsupportedError: Google has no policies in this form.
    """
    if form == "bicep":
        raise UnsupportedError(
            "policies of Google Cloud are not written in Bicep", reason="never", provider=PROVIDER,
            hint="use json or tf",
        )  # fmt: skip
    if role == "runtime" and options.service_account is None:
        raise ConfigError(
            "containers run as Google's own service agent, which has its rights already",
            hint="set service_account to run them as an account of yours",
            provider=PROVIDER,
        )
    found = document(options, target, role, secrets)
    return json.dumps(found, indent=2) if form == "json" else _terraform(options, found)


def rights_of(role: PolicyRole) -> list[Right]:
    """Return the permissions that a role needs, each permission and scope once."""
    if role == "runtime":
        return list(RUNTIME)
    rows = (row for row in CALLS.values() if row.verbs & VERBS[role])
    return list(dict.fromkeys([right for row in rows for right in row.rights] + [BILLED]))


def document(options: VertexOptions, target: str, role: PolicyRole, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return one custom role for each scope, and its bindings."""
    roles: list[dict[str, Any]] = []
    bindings: list[dict[str, Any]] = []
    scopes: dict[Scope, list[str]] = {}
    for right in rights_of(role):
        scopes.setdefault(right.scope, []).append(right.permission)
    for scope, permissions in scopes.items():
        places = list(_places(options, role, scope, secrets))
        if not places:
            continue
        name = f"mlport_{re.sub('[^a-zA-Z0-9]', '_', target)}_{role}_{scope}"
        full = f"projects/{options.project}/roles/{name}"
        roles.append(
            {
                "name": full,
                "title": f"mlport {target} {role}: {scope}",
                "stage": "GA",
                "includedPermissions": sorted(permissions),
            }
        )
        member = f"serviceAccount:{options.service_account}" if role == "runtime" else MEMBER
        bindings += [{**place, "role": full, "members": [member]} for place in places]
    return {"roles": roles, "bindings": bindings}


def _places(options: VertexOptions, role: PolicyRole, scope: Scope, secrets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the resources on which a role is bound for a scope."""
    project = {"resource": f"//cloudresourcemanager.googleapis.com/projects/{options.project}"}
    home = f"projects/{options.project}"
    if scope == "bucket":
        bucket = f"projects/_/buckets/{options.staging}"
        place = project if options.bucket is None else {"resource": f"//storage.googleapis.com/{bucket}"}
        yield {**place, "condition": _within(bucket)}
    elif scope == "account":
        if options.service_account:
            yield {"resource": f"//iam.googleapis.com/{home}/serviceAccounts/{options.service_account}"}
    elif scope == "secret":
        yield from ({"resource": f"//secretmanager.googleapis.com/{home}/secrets/{name}"} for name in secrets)
    elif scope == "repository" and role != "deployer":
        path = f"{home}/locations/{options.region}/repositories/{options.repository}"
        yield {"resource": f"//artifactregistry.googleapis.com/{path}"}
    else:
        yield project


def _within(bucket: str) -> dict[str, str]:
    """Return the condition that limits a role to one bucket and mlport's objects in it."""
    ours = f"{bucket}/objects/{_PREFIX}"
    expression = f'resource.name == "{bucket}" || resource.name.startsWith("{ours}")'
    return {"title": "bucket of mlport", "expression": expression}


def _terraform(options: VertexOptions, found: dict[str, Any]) -> str:
    """Convert roles and bindings to Terraform resources of the Google provider."""
    blocks = [_VARIABLE]
    for role in found["roles"]:
        word = role["name"].rpartition("/")[2]
        blocks.append(
            f'resource "google_project_iam_custom_role" "{word}" {{\n'
            f'  project     = "{options.project}"\n  role_id     = "{word}"\n  title       = "{role["title"]}"\n'
            f"  permissions = {json.dumps(role['includedPermissions'])}\n}}"
        )
    blocks += [_bound(options, number, one) for number, one in enumerate(found["bindings"])]
    if not any("var.member" in block for block in blocks):
        blocks = blocks[1:]
    return "\n\n".join(blocks)


def _bound(options: VertexOptions, number: int, binding: dict[str, Any]) -> str:
    """Convert one binding to a Terraform resource."""
    resource, word = str(binding["resource"]), str(binding["role"]).rpartition("/")[2]
    start = next(one for one in _BOUND if resource.startswith(one))
    kind, field = _BOUND[start]
    (member,) = binding["members"]
    value = resource.removeprefix(start)
    lines = [
        f'  {field} = "{value}"',
        f"  role = google_project_iam_custom_role.{word}.id",
        f"  member = {'var.member' if member == MEMBER else json.dumps(member)}",
    ]
    if field == "repository":
        lines += [f'  project = "{options.project}"', f'  location = "{options.region}"']
        lines[0] = f'  repository = "{options.repository}"'
    if "condition" in binding:
        condition = binding["condition"]
        lines.append(
            f"  condition {{\n    title = {json.dumps(condition['title'])}\n"
            f"    expression = {json.dumps(condition['expression'])}\n  }}"
        )
    body = "\n".join(lines)
    return f'resource "{kind}" "{word}_{number}" {{\n{body}\n}}'
