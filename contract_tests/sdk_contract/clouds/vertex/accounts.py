"""Service accounts: which permissions a caller has on one of them.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/testIamPermissions
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .api import Api, body_of
from .errors import Refusal
from .values import many

if TYPE_CHECKING:
    from ..app import Request
    from .spots import Spots
    from .values import Json


class Accounts:
    """The service accounts of all projects.

    Args:
        spots: All projects and regions.

    Attributes:
        gone: E-mail addresses of accounts that do not exist.
    """

    def __init__(self, spots: Spots) -> None:
        self._common = spots.common
        self.gone: set[str] = set()
        self.api = Api(spots, "iam")
        path = "/v1/projects/{project}/serviceAccounts/{account}:testIamPermissions"
        self.api.on("POST", path, "TestIamPermissions", changing=False)(self._test)

    def _test(self, request: Request) -> Json:
        account = request.params["account"]
        if account in self.gone:
            raise Refusal("NOT_FOUND", f"Unknown service account: {account}")
        missing = self._common.identity.missing
        granted = [one for one in many(body_of(request), "permissions") if one not in missing]
        return {"permissions": granted} if granted else {}
