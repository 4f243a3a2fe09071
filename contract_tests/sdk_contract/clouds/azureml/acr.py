"""The container registry: the registry API, with Azure's exchange of a directory token for a registry token.

Source: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ..app import Routes
from ..registry import Registry, refusal
from .answers import answer, failure, trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..app import Request, Response


AUDIENCE = "https://containerregistry.azure.net"


class ContainerRegistry:
    """The registry of the workspace.

    Args:
        folder: Where blobs are stored.
        valid: Checks whether a token of the directory was issued by this cloud.
    """

    def __init__(self, folder: Path, valid: Callable[[str], bool]) -> None:
        self.registry = Registry(folder, authorize=self._authorize)
        self.routes = Routes("acr", trouble)
        self.routes.add("POST", "/oauth2/exchange", "ExchangeToken", changing=False)(self._exchange)
        self.routes.add("POST", "/oauth2/token", "GetToken", changing=False)(self._token)
        self.routes.add("GET", "/oauth2/token", "GetToken")(self._token)
        self._valid = valid
        self.actions = {"pull", "push", "delete", "metadata_read", "*"}  # what callers may do
        self._lock = threading.Lock()
        self._refresh: set[str] = set()
        self._access: dict[str, frozenset[str]] = {}

    def _exchange(self, request: Request) -> Response:
        form = _form(request)
        known = self._valid(form.get("access_token", "")) and _audience(form["access_token"]) == AUDIENCE
        if form.get("grant_type") != "access_token" or not known:  # "authentication as ARM" is off, as policies require
            return failure(401, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization")
        if form.get("service") != request.headers.get("host"):
            return failure(400, "BAD_REQUEST", "service is not this registry")
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._refresh.add(token)
        return answer({"refresh_token": token})

    def _token(self, request: Request) -> Response:
        form = _form(request)
        with self._lock:
            if form.get("grant_type") != "refresh_token" or form.get("refresh_token") not in self._refresh:
                return failure(401, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization")
            granted = [self._granted(scope) for scope in form.get("scope", "").split()]
            access = [
                {"type": kind, "name": name, "actions": actions.split(",")}
                for kind, name, actions in (scope.split(":", 2) for scope in granted if scope.count(":") == 2)
            ]
            told = base64.urlsafe_b64encode(json.dumps({"access": access}).encode()).decode().rstrip("=")
            token = f"e30.{told}.{secrets.token_urlsafe(32)}"
            self._access[token] = frozenset(granted)
        return answer({"access_token": token})

    def _granted(self, scope: str) -> str:
        """Return the requested actions that the caller may do: a registry silently omits the others."""
        kind, _, actions = scope.rpartition(":")
        return f"{kind}:{','.join(one for one in actions.split(',') if one in self.actions or kind == '')}"

    def _authorize(self, request: Request, repository: str, action: str) -> Response | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        with self._lock:
            scopes = self._access.get(token)
        if scopes is not None and (not repository or _allows(scopes, repository, action)):
            return None
        host = request.headers.get("host", "")
        scope = f',scope="repository:{repository}:{action}"' if repository else ""
        challenge = f'Bearer realm="{request.base_url}/oauth2/token",service="{host}"{scope}'
        return refusal("DENIED", "authentication required", status=401, www_authenticate=challenge)


def _audience(token: str) -> str:
    """Return the audience of a token of the directory."""
    part = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["aud"])


def _form(request: Request) -> dict[str, str]:
    return {key: " ".join(values) for key, values in parse_qs(request.body.decode()).items()}


def _allows(scopes: frozenset[str], repository: str, action: str) -> bool:
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if (kind, name) == ("repository", repository) and action in actions.split(","):
            return True
    return False
