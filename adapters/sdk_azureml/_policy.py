"""Custom roles and assignments of Azure for a target: the actions of a role's calls, each on the smallest scope.

The target names the workspace; its registry, its storage and its autoscale settings are expected in its group.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sdk.adapter.rights import VERBS

from ._names import group_path, workspace_path
from ._rights import CALLS, RUNTIME, Right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.rights import PolicyForm, PolicyRole

    from ._rights import Scope
    from .options import AzureMLOptions

_VARIABLE = """variable "principal_id" {
  type        = string
  description = "object id to give the roles to"
}"""
_BY_KEY = {  # how callers authenticate, and the action that only this method needs
    "key": "listKeys/action",
    "token": "token/action",
    "aad": "score/action",
}


def policy(options: AzureMLOptions, target: str, role: PolicyRole, form: PolicyForm) -> str:
    """Return the role definitions and assignments of a role."""
    found = document(options, target, role)
    if form == "json":
        return json.dumps(found, indent=2)
    return _terraform(found) if form == "tf" else _bicep(found)


def rights_of(options: AzureMLOptions, role: PolicyRole) -> list[Right]:
    """Return the rights that a role needs on this target, each action once."""
    rows = (row for row in CALLS.values() if row.verbs & VERBS[role])
    wanted = list(RUNTIME) if role == "runtime" else [right for row in rows for right in row.rights]
    endings = tuple(f"onlineEndpoints/{one}" for auth, one in _BY_KEY.items() if auth != options.auth)
    found = (one for one in wanted if not one.only or getattr(options, one.only))
    return list(dict.fromkeys(one for one in found if not one.action.endswith(endings)))


def document(options: AzureMLOptions, target: str, role: PolicyRole) -> dict[str, Any]:
    """Return one role definition for each scope, in the format of the Azure command line, and its assignment."""
    places = places_of(options)
    roles: list[dict[str, Any]] = []
    for scope, place in places.items():
        rights = [one for one in rights_of(options, role) if one.scope == scope]
        if rights:
            roles.append(
                {
                    "Name": f"mlport {target} {role}: {scope}",
                    "IsCustom": True,
                    "Description": f"mlport, target {target}: what a {role} needs on the {scope}",
                    "Actions": sorted({one.action for one in rights if not one.data}),
                    "NotActions": [],
                    "DataActions": sorted({one.action for one in rights if one.data}),
                    "NotDataActions": [],
                    "AssignableScopes": [places["subscription" if scope == "subscription" else "group"]],
                    "scope": place,
                }
            )
    assignments = [{"role": one["Name"], "scope": one.pop("scope")} for one in roles]
    return {"roles": roles, "assignments": assignments}


def places_of(options: AzureMLOptions) -> Mapping[Scope, str]:
    """Return the resource ids of the scopes, the smallest first."""
    return {
        "workspace": workspace_path(options),
        "group": group_path(options),
        "subscription": f"/subscriptions/{options.subscription}",
    }


def _terraform(found: dict[str, Any]) -> str:
    """Format roles and assignments as resources of the azurerm provider."""
    pairs = zip(found["roles"], found["assignments"], strict=True)
    return "\n\n".join([_VARIABLE, *(_terraform_role(role, str(one["scope"])) for role, one in pairs)])


def _terraform_role(role: dict[str, Any], scope: str) -> str:
    """Format one role definition and its assignment."""
    word, name, places = _word(role["Name"]), json.dumps(role["Name"]), role["AssignableScopes"]
    return (
        f'resource "azurerm_role_definition" "{word}" {{\n  name  = {name}\n  scope = {json.dumps(places[0])}\n\n'
        f"  permissions {{\n    actions      = {json.dumps(role['Actions'])}\n"
        f"    data_actions = {json.dumps(role['DataActions'])}\n  }}\n\n"
        f"  assignable_scopes = {json.dumps(places)}\n}}\n\n"
        f'resource "azurerm_role_assignment" "{word}" {{\n  scope              = {json.dumps(scope)}\n'
        f"  role_definition_id = azurerm_role_definition.{word}.role_definition_resource_id\n"
        "  principal_id       = var.principal_id\n}"
    )


def _bicep(found: dict[str, Any]) -> str:
    """Format the role definitions as a template for the subscription, with the assignments as comments.

    A template assigns a role only within its own scope, so a single template cannot cover all three scopes.
    """
    blocks = ["targetScope = 'subscription'"]
    for role, assignment in zip(found["roles"], found["assignments"], strict=True):
        word, name = _word(role["Name"]), role["Name"]
        blocks.append(
            f"resource {word} 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {{\n"
            f"  name: guid(subscription().id, '{name}')\n  properties: {{\n    roleName: '{name}'\n"
            f"    type: 'customRole'\n    assignableScopes: [\n      '{role['AssignableScopes'][0]}'\n    ]\n"
            f"    permissions: [\n      {{\n        actions: {_listed(role['Actions'])}\n"
            f"        dataActions: {_listed(role['DataActions'])}\n      }}\n    ]\n  }}\n}}\n"
            f"// az role assignment create --role '{name}' --scope '{assignment['scope']}' --assignee PRINCIPAL"
        )
    return "\n\n".join(blocks)


def _listed(values: list[str]) -> str:
    """Format a list in Bicep, one value on each line."""
    lines = "".join(f"          '{value}'\n" for value in values)
    return f"[\n{lines}        ]" if values else "[]"


def _word(name: str) -> str:
    return "_".join("".join(letter if letter.isalnum() else " " for letter in name).split())
