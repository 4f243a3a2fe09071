"""Tokens: issued by the managed identity of an App Service, which requires a secret header."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from typing import TYPE_CHECKING

from ..app import Routes
from .answers import answer, failure, trouble

if TYPE_CHECKING:
    from ..app import Request, Response

LIFE_S = 3600
TENANT = "00000000-0000-0000-0000-00000000aaaa"


class Identity:
    """Issues tokens and recognizes them.

    Attributes:
        header: The expected value of ``X-IDENTITY-HEADER``; clients find it in the variable ``IDENTITY_HEADER``.
    """

    def __init__(self) -> None:
        self.header = secrets.token_urlsafe(32)
        self._lock = threading.Lock()
        self._issued: dict[str, float] = {}
        self.routes = Routes("identity", trouble)
        self.routes.add("GET", "/msi/token", "GetToken")(self._token)

    def issue(self, audience: str) -> str:
        """Issue a new token, in the format of a JWT, since clients read it."""
        until = int(time.time()) + LIFE_S
        claims: dict[str, object] = {
            "aud": audience,
            "tid": TENANT,
            "oid": TENANT,
            "appid": TENANT,
            "name": "mini",
            "exp": until,
            "upn": "mini@mini",
        }
        token = ".".join([_part({"alg": "none", "typ": "JWT"}), _part(claims), secrets.token_urlsafe(24)])
        with self._lock:
            self._issued[token] = until
        return token

    def valid(self, token: str) -> bool:
        """Return whether a token was issued here and has not expired."""
        with self._lock:
            return self._issued.get(token, 0.0) > time.time()

    def revoke(self) -> None:
        """Make all tokens issued so far invalid."""
        with self._lock:
            self._issued.clear()

    def _token(self, request: Request) -> Response:
        given = request.headers.get("x-identity-header", "")
        if not secrets.compare_digest(given.encode(), self.header.encode()):
            told = {"statusCode": 401, "message": "The X-IDENTITY-HEADER of the request is missing or wrong."}
            return answer(told, 401)
        resource = request.query.get("resource")
        if not resource:
            return failure(400, "invalid_resource", "The parameter resource is required.")
        until = str(int(time.time()) + LIFE_S)
        return answer(
            {"access_token": self.issue(resource), "expires_on": until, "resource": resource, "token_type": "Bearer"}
        )


def _part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
