"""Secret Manager: secrets, their versions, and the values of these.

Source: https://cloud.google.com/secret-manager/docs/reference/rest
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from .api import Api, body_of
from .errors import Refusal
from .world import check_fields, part, stamp

if TYPE_CHECKING:
    from ..app import Request
    from .world import Json, World

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PARENT = "/v1/projects/{project}/secrets"


class Secrets:
    """The secrets of one project; versions count from 1."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.versions: dict[str, list[str]] = {}
        self.api = Api(world, "secretmanager")
        one = f"{_PARENT}/{{secret}}"
        self.api.on("POST", _PARENT, "CreateSecret")(self.create)
        self.api.on("POST", f"{one}:addVersion", "AddSecretVersion")(self.add)
        self.api.on("GET", f"{one}/versions/{{version}}:access", "AccessSecretVersion")(self.access)
        self.api.on("DELETE", one, "DeleteSecret")(self.delete)

    def create(self, request: Request) -> Json:
        """Makes a secret without a version."""
        name, body = request.query.get("secretId", ""), body_of(request)
        check_fields(body, {"replication", "labels", "annotations", "ttl", "expireTime", "versionAliases"}, "secret")
        if not _ID.fullmatch(name) or not body.get("replication"):
            raise Refusal("INVALID_ARGUMENT", "Secret ids have letters, digits, - and _; replication must be set.")
        if name in self.versions:
            raise Refusal("ALREADY_EXISTS", f"Secret [{self._name(name)}] already exists.")
        self.versions[name] = []
        return {"name": self._name(name), "replication": body["replication"], "createTime": stamp()}

    def add(self, request: Request) -> Json:
        """Gives it a value."""
        name = request.params["secret"]
        found = self._find(name)
        found.append(str(part(body_of(request), "payload").get("data", "")))
        return {"name": f"{self._name(name)}/versions/{len(found)}", "createTime": stamp(), "state": "ENABLED"}

    def access(self, request: Request) -> Json:
        """The value of a version, or of the newest."""
        name, version = request.params["secret"], request.params["version"]
        found = self._find(name)
        number = len(found) if version == "latest" else int(version) if version.isdigit() else 0
        if not 1 <= number <= len(found):
            raise Refusal("NOT_FOUND", f"Secret Version [{self._name(name)}/versions/{version}] not found.")
        return {"name": f"{self._name(name)}/versions/{number}", "payload": {"data": found[number - 1]}}

    def delete(self, request: Request) -> Json:
        """Removes it with all its versions."""
        self._find(request.params["secret"])
        del self.versions[request.params["secret"]]
        return {}

    def put(self, name: str, value: str) -> None:
        """A secret with a value, as if somebody had made it in the console."""
        self.versions.setdefault(name, []).append(base64.b64encode(value.encode()).decode())

    def _find(self, name: str) -> list[str]:
        if name not in self.versions:
            raise Refusal("NOT_FOUND", f"Secret [{self._name(name)}] not found or has no versions.")
        return self.versions[name]

    def _name(self, name: str) -> str:
        return f"projects/{self.world.number}/secrets/{name}"
