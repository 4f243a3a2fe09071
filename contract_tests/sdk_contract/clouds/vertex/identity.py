"""The identity of this mini cloud's callers: one service account, created for each cloud, with a secret key.

Google's clients read the key from the file named by ``GOOGLE_APPLICATION_CREDENTIALS``. With it they sign tokens
themselves, or exchange a signed assertion for an access token. Sources: https://google.aip.dev/auth/4111 and
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from sdk.util.private import write_private

from ..app import Response, Routes

if TYPE_CHECKING:
    from pathlib import Path

    from ..app import Match, Request
    from ..faults import Fault

LIFE_S = 3600
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_BITS = 2048
_GOOGLES = "https://oauth2.googleapis.com/token"  # Google's library always signs for this audience
_DOMAIN = ".googleapis.com/"


class Identity:
    """The service account.

    Args:
        project: Project that it belongs to.

    Attributes:
        token: An access token that is valid for the life of the cloud.
        email: Its e-mail address, which is its name.
        personal: Whether the token belongs to a user who logged in with gcloud, rather than to the service account.
        missing: Permissions that the caller does not have.
    """

    def __init__(self, project: str) -> None:
        self.personal = False
        self.missing: set[str] = set()
        self.token = f"ya29.mini-{secrets.token_urlsafe(32)}"
        self.email, self._project = f"mini@{project}.iam.gserviceaccount.com", project
        self._lock = threading.Lock()
        self._issued: dict[str, float] = {}
        self._key: Any = None
        self.routes = Routes("oauth2", _trouble)
        self.routes.add("POST", "/token", "ExchangeAssertion", changing=False)(self._exchange)

    def write(self, path: Path, url: str) -> None:
        """Write the key file that Google's clients look for; no other user may read it.

        Args:
            path: The file to write.
            url: Address of the cloud.
        """
        rsa = import_module("cryptography.hazmat.primitives.asymmetric.rsa")
        form = import_module("cryptography.hazmat.primitives.serialization")
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        plain = form.NoEncryption()
        private = self._key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain).decode()
        told = {
            "type": "service_account",
            "project_id": self._project,
            "private_key_id": secrets.token_hex(20),
            "private_key": private,
            "client_email": self.email,
            "client_id": "100000000000000000000",
            "token_uri": f"{url}/token",
            "universe_domain": "googleapis.com",
        }
        write_private(path, json.dumps(told).encode())

    def admits(self, token: str) -> bool:
        """Return whether a bearer token is one of this cloud and has not expired."""
        if hmac.compare_digest(self.token.encode(), token.encode()):
            return True
        with self._lock:
            if self._issued.get(token, 0.0) > time.time():
                return True
        claims = self._claims(token) if token.count(".") == 2 else {}
        aimed = str(claims.get("aud", "")).endswith(_DOMAIN) or bool(claims.get("scope"))
        return aimed and claims.get("sub") == self.email

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims of an unexpired token that the service account has signed; else an empty dict."""
        head, _, rest = token.partition(".")
        body, _, signature = rest.partition(".")
        try:
            self._verify(f"{head}.{body}".encode(), _decoded(signature))
            claims: Any = json.loads(_decoded(body))
            algorithm: Any = json.loads(_decoded(head))
        except (ValueError, import_module("cryptography.exceptions").InvalidSignature):
            return {}
        if not isinstance(claims, dict) or not isinstance(algorithm, dict):
            return {}
        known, how = cast("dict[str, Any]", claims), cast("dict[str, Any]", algorithm)
        if how.get("alg") != "RS256":
            return {}
        end = known.get("exp")
        alive = isinstance(end, int | float) and end > time.time()
        return known if alive and known.get("iss") == self.email else {}

    def _verify(self, data: bytes, signature: bytes) -> None:
        if self._key is None:
            raise ValueError("there is no key yet")
        padding = import_module("cryptography.hazmat.primitives.asymmetric.padding")
        hashes = import_module("cryptography.hazmat.primitives.hashes")
        self._key.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())

    def _exchange(self, request: Request) -> Response:
        """Return an access token for an assertion that the service account has signed for this address."""
        form = {name: values[0] for name, values in parse_qs(request.body.decode("latin-1")).items()}
        if form.get("grant_type") != _GRANT:
            return _refused("unsupported_grant_type", "Invalid grant_type: " + form.get("grant_type", ""))
        claims = self._claims(form.get("assertion", ""))
        if claims.get("aud") not in {f"{request.base_url}/token", _GOOGLES}:
            return _refused("invalid_grant", "Invalid JWT Signature.")
        token = f"ya29.mini-{secrets.token_urlsafe(32)}"
        with self._lock:
            self._issued[token] = time.time() + LIFE_S
        return Response.of_json({"access_token": token, "expires_in": LIFE_S, "token_type": "Bearer"})


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _refused(code: str, text: str, status: int = 400) -> Response:
    return Response.of_json({"error": code, "error_description": text}, status)


def _trouble(_request: Request, _match: Match, fault: Fault) -> Response:
    code, status = {
        "throttle": ("rate_limit_exceeded", 429),
        "unavailable": ("temporarily_unavailable", 503),
        "denied": ("access_denied", 403),
    }[fault.kind]
    return _refused(code, "planned trouble", fault.status or status)
