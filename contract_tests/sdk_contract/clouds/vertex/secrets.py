"""Secret Manager: secrets, their versions, and the values of the versions.

Source: https://cloud.google.com/secret-manager/docs/reference/rest
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from .api import Api, body_of
from .errors import Refusal
from .values import part
from .world import check_fields, stamp

if TYPE_CHECKING:
    from ..app import Request
    from .spots import Spots
    from .values import Json

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PARENT = "/v1/projects/{project}/secrets"


class Secrets:
    """The secrets of all projects; versions count from 1."""

    def __init__(self, spots: Spots) -> None:
        self._spots = spots
        self._versions: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self.api = Api(spots, "secretmanager")
        one = f"{_PARENT}/{{secret}}"
        self.api.on("POST", _PARENT, "CreateSecret")(self.create)
        self.api.on("POST", f"{one}:addVersion", "AddSecretVersion")(self.add)
        self.api.on("GET", f"{one}/versions/{{version}}:access", "AccessSecretVersion")(self.access)
        self.api.on("DELETE", one, "DeleteSecret")(self.delete)

    def create(self, request: Request) -> Json:
        """Create a secret without a version."""
        name, body = request.query.get("secretId", ""), body_of(request)
        check_fields(body, {"replication", "labels", "annotations", "ttl", "expireTime", "versionAliases"}, "secret")
        if not _ID.fullmatch(name) or not body.get("replication"):
            raise Refusal("INVALID_ARGUMENT", "Secret ids have letters, digits, - and _; replication must be set.")
        known, full = self._of(request), self._name(request, name)
        if name in known:
            raise Refusal("ALREADY_EXISTS", f"Secret [{full}] already exists.")
        known[name] = []
        return {"name": full, "replication": body["replication"], "createTime": stamp()}

    def add(self, request: Request) -> Json:
        """Add a version with a value."""
        found = self._find(request)
        found.append(str(part(body_of(request), "payload").get("data", "")))
        return {"name": f"{self._name(request)}/versions/{len(found)}", "createTime": stamp(), "state": "ENABLED"}

    def access(self, request: Request) -> Json:
        """Return the value of a version, or of the newest one."""
        version, found, full = request.params["version"], self._find(request), self._name(request)
        number = len(found) if version == "latest" else int(version) if version.isdigit() else 0
        if not 1 <= number <= len(found):
            raise Refusal("NOT_FOUND", f"Secret Version [{full}/versions/{version}] not found.")
        return {"name": f"{full}/versions/{number}", "payload": {"data": found[number - 1]}}

    def delete(self, request: Request) -> Json:
        """Delete a secret with all its versions."""
        self._find(request)
        del self._of(request)[request.params["secret"]]
        return {}

    def put(self, name: str, value: str) -> None:
        """Store a secret with a value in the first project, as if a user had made it in the console."""
        known = self._versions[self._spots.first.world.project]
        known.setdefault(name, []).append(base64.b64encode(value.encode()).decode())

    def _of(self, request: Request) -> dict[str, list[str]]:
        return self._versions[self._spots.project(request.params["project"])]

    def _find(self, request: Request) -> list[str]:
        found = self._of(request).get(request.params["secret"])
        if found is None:
            raise Refusal("NOT_FOUND", f"Secret [{self._name(request)}] not found or has no versions.")
        return found

    def _name(self, request: Request, name: str = "") -> str:
        return f"projects/{self._spots.number(request.params['project'])}/secrets/{name or request.params['secret']}"
