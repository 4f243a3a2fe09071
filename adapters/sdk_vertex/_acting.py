"""A check whether the caller may run models and jobs as the target's service account."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from sdk.adapter.types import Check

if TYPE_CHECKING:
    from ._access import Access

_CALL_S = 15.0
_ACT_AS = "iam.serviceAccounts.actAs"


def check(access: Access) -> Check | None:
    """Return the result; ``None`` if no account is set, since the platform's own account needs no permission.

    Google refuses a deploy that lacks this permission only after the image is built and the model is uploaded.
    """
    account = access.options.service_account
    if account is None:
        return None
    place = f"projects/-/serviceAccounts/{quote(account, safe='@')}"
    url = f"{access.url('iam')}/v1/{place}:testIamPermissions"
    answer = access.send(
        "POST", url, "TestIamPermissions", timeout=_CALL_S, resource=account,
        json={"permissions": [_ACT_AS]}, ok=(200, 403, 404),
    )  # fmt: skip
    if answer.status_code == 404:
        hint = f"gcloud iam service-accounts create {account.partition('@')[0]}, or correct service_account"
        return Check("service account", False, f"{account} does not exist", hint)
    if answer.status_code == 403:
        return Check("service account", True, f"{account}: whether you may act as it cannot be read")
    if _ACT_AS in (answer.json().get("permissions") or []):
        return Check("service account", True, f"models and jobs run as {account}")
    hint = (
        f"gcloud iam service-accounts add-iam-policy-binding {account} --role roles/iam.serviceAccountUser --member YOU"
    )
    return Check("service account", False, f"{_ACT_AS} is missing on {account}", hint)
