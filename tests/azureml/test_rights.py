"""Policies of an `azureml` target, and what `mlport doctor` says of missing rights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk_azureml import _rights
from sdk_azureml._rights import CALLS, hint_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.client import Client
    from sdk_azureml import AzureMLAdapter
    from sdk_contract.clouds.azureml import AzureMLCloud
    from tests.azureml.conftest import Arm

API = "Microsoft.MachineLearningServices/workspaces"


def policy(client: Client, role: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.policy(role))
    return found


def actions(document: dict[str, Any]) -> set[str]:
    return {action for role in document["roles"] for action in (*role["Actions"], *role["DataActions"])}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same policy without some actions."""
    kept = [{**role, "Actions": [one for one in role["Actions"] if one not in names]} for role in document["roles"]]
    return {**document, "roles": kept}


def found_by(client: Client) -> dict[str, Any]:
    return {check.name: check for check in client.doctor(target="t")["t"]}


def test_each_role_is_given_on_the_smallest_scope(cloud: AzureMLCloud, client: Client) -> None:
    """What belongs to the workspace on the workspace, registry, storage and scaling on its group, quota above."""
    found = policy(client, "deployer")
    place = cloud.world.place
    assert [place.path, place.group, f"/subscriptions/{place.subscription}"] == [
        one["scope"] for one in found["assignments"]
    ]
    workspace, group, subscription = found["roles"]
    assert {f"{API}/"} == {f"{'/'.join(one.split('/')[:2])}/" for one in workspace["Actions"] if "Insights" not in one}
    assert "Microsoft.ContainerRegistry/registries/push/write" in group["Actions"]
    assert ["Microsoft.MachineLearningServices/locations/usages/read"] == subscription["Actions"]
    assert [] == [one for one in actions(found) if "*" in one]


def test_each_role_has_less_than_the_one_before(client: Client) -> None:
    deployer, ci, caller = (actions(policy(client, role)) for role in ("deployer", "ci", "caller"))
    assert caller < ci < deployer
    assert {f"{API}/jobs/write", "Microsoft.ContainerRegistry/registries/artifacts/delete"} <= deployer - ci


@pytest.mark.parametrize(
    ("auth", "action"), [("key", "listKeys/action"), ("token", "token/action"), ("aad", "score/action")]
)
def test_a_caller_gets_only_what_its_way_to_call_needs(
    cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter], auth: str, action: str
) -> None:
    adapter = make_adapter(cloud, auth=auth)
    given = actions(json.loads(adapter.policy("caller", "json", ())))
    assert [f"{API}/onlineEndpoints/{action}"] == [one for one in given if one.endswith("/action")]


def test_an_identity_of_the_users_own_has_to_be_assigned(
    cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter]
) -> None:
    wanted = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
    plain, own = make_adapter(cloud), make_adapter(cloud, identity=f"{cloud.world.place.group}/providers/x/y")
    given = [actions(json.loads(adapter.policy("ci", "json", ()))) for adapter in (plain, own)]
    assert [False, True] == [wanted in one for one in given]


@pytest.mark.parametrize("form", ["tf", "bicep"])
def test_other_forms_have_the_same_roles(client: Client, form: str) -> None:
    """Every role with every action, its scope, and how it is given."""
    text, found = client.policy("deployer", form=form), policy(client, "deployer")
    for role, assignment in zip(found["roles"], found["assignments"], strict=True):
        assert role["Name"] in text
        assert assignment["scope"] in text
    quote = "'" if form == "bicep" else '"'
    assert [] == [one for one in actions(found) if f"{quote}{one}{quote}" not in text]
    assert text.count("{") == text.count("}")


def test_doctor_finds_nothing_missing(cloud: AzureMLCloud, client: Client) -> None:
    with cloud.rights.enforced(policy(client, "deployer")):
        found = found_by(client)
    names = ("caller", "ci", "deployer")
    assert [(True, "granted")] * 3 == [(found[f"rights {one}"].ok, found[f"rights {one}"].detail) for one in names]


def test_doctor_names_what_is_missing(cloud: AzureMLCloud, client: Client) -> None:
    """What a pipeline needs is missed, what only a deployer needs is a warning."""
    given = without(policy(client, "deployer"), f"{API}/onlineEndpoints/deployments/write", f"{API}/jobs/write")
    with cloud.rights.enforced(given):
        found = found_by(client)
    ci, deployer = found["rights ci"], found["rights deployer"]
    assert (True, False, True) == (found["rights caller"].ok, ci.ok, deployer.ok)
    assert f"missing: {API}/onlineEndpoints/deployments/write on the workspace" == ci.detail
    assert f"{API}/jobs/write on the workspace" in deployer.detail
    assert "mlport policy --for ci --target t" in str(ci.hint)


def test_doctor_says_unknown_without_the_right_to_ask(cloud: AzureMLCloud, client: Client) -> None:
    with cloud.rights.enforced(without(policy(client, "deployer"), "Microsoft.Authorization/permissions/read")):
        found = found_by(client)["rights"]
    assert found.ok
    assert found.detail.startswith("unknown: ")
    assert "Microsoft.Authorization/permissions/read" in str(found.hint)


def test_permissions_are_listed_as_azure_lists_them(cloud: AzureMLCloud, arm: Arm, client: Client) -> None:
    """Those of a resource include what is given above it."""
    path = "/providers/Microsoft.Authorization/permissions"
    with cloud.rights.enforced(policy(client, "deployer")):
        (on_workspace, *above), on_group = (
            arm("GET", f"{place}{path}").json()["value"] for place in ("", cloud.world.place.group)
        )
    assert f"{API}/read" in on_workspace["actions"]
    assert above == on_group
    assert {"actions", "notActions", "dataActions", "notDataActions"} == set(on_workspace)


def test_a_refusal_names_an_action_of_the_table() -> None:
    """Every action that a call needs has a hint with that action in it."""
    wanted = {right.action for row in CALLS.values() for right in row.rights}
    for action in wanted:
        assert action in str(hint_of("x", f"does not have authorization to perform action '{action}' over scope"))


def test_roles_are_named_in_one_table_only() -> None:
    """A hint in another module takes the role from the table of rights."""
    folder = Path(_rights.__file__).parent
    texts = {file.name: file.read_text("utf-8") for file in folder.glob("*.py")}
    roles = {role for _, role, _, _ in _rights.ROLES} - {"Reader", "Contributor"}  # those two are common words
    assert {"_rights.py"} == {name for name, text in texts.items() if any(role in text for role in roles)}


@pytest.mark.parametrize("operation", sorted(_rights._CALL_OF))
def test_each_refusal_of_a_known_operation_names_action_place_and_role(operation: str) -> None:
    hint = str(hint_of(operation, "Forbidden"))
    assert re.fullmatch(r"give your identity Microsoft\.\S+ on the [\w' ]+; the role [\w ]+ has it(; if .*)?", hint)
