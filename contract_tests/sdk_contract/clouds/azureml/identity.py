"""Tokens: the managed identity of an App Service, whose secret header opens it, and who issued them."""

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
    """Issues tokens and knows its own again.

    Attributes:
        header: What a caller shows in ``X-IDENTITY-HEADER``; clients find it in the variable ``IDENTITY_HEADER``.
    """

    def __init__(self) -> None:
        self.header = secrets.token_urlsafe(32)
        self._lock = threading.Lock()
        self._issued: dict[str, float] = {}
        self.routes = Routes("identity", trouble)
        self.routes.add("GET", "/msi/token", "GetToken")(self._token)

    def issue(self, audience: str) -> str:
        """A new token, in the form of a JWT, since clients look into it."""
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
        """Whether a token is one of ours and has not ended."""
        with self._lock:
            return self._issued.get(token, 0.0) > time.time()

    def revoke(self) -> None:
        """From now on no token that was issued before is valid."""
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
