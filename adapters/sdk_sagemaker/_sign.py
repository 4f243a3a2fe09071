"""Signature Version 4 for requests with a body, several times faster than the library's.

The signing key of a day is derived once, and only the headers that AWS requires are signed. The result is the same as
botocore's for the same headers; a property test compares them.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

Credentials: TypeAlias = tuple[str, str, str | None]  # access key, secret key, session token

SERVICE = "sagemaker"
REQUEST_ID = "x-request-id"
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_SIGNED = ("content-type", "host")
_PREFIXES = ("x-amz-", "x-amzn-")


class Signer:
    """A signer for one region and service; it caches the signing key of the day."""

    def __init__(self, region: str, service: str = SERVICE) -> None:
        self._scope = f"{region}/{service}"
        self._region, self._service = region, service
        self._known: tuple[str, str] = ("", "")
        self._key = b""

    def sign(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, credentials: Credentials, now: float
    ) -> dict[str, str]:
        """Return the headers to add to a request.

        Args:
            method: Such as ``"POST"``.
            path: The path, not encoded and without a query.
            headers: Headers by lower-case name, including ``host``; the ones to sign are chosen here.
            body: The exact bytes that are sent.
            credentials: The keys to sign with.
            now: Unix seconds.
        """
        access, secret, token = credentials
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        added = {"x-amz-date": stamp, **({"x-amz-security-token": token} if token else {})}
        chosen = {name: value for name, value in headers.items() if name in _SIGNED or name.startswith(_PREFIXES)}
        chosen.update(added)
        names = sorted(chosen)
        signed = ";".join(names)
        lines = "".join(f"{name}:{' '.join(chosen[name].split())}\n" for name in names)
        payload = hashlib.sha256(body).hexdigest()
        canonical = f"{method}\n{quote(path, safe='/~')}\n\n{lines}\n{signed}\n{payload}"
        day = stamp[:8]
        scope = f"{day}/{self._scope}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._day_key(secret, day), text.encode(), "sha256").hex()
        added["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return added

    def _day_key(self, secret: str, day: str) -> bytes:
        if self._known != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._known = key, (secret, day)
        return self._key


class SigV4(httpx.Auth):
    """An httpx authentication that signs each request with the current credentials; it never shows them.

    The core's request ID is also sent as the inference ID, the only one that SageMaker passes on to the container.
    """

    requires_request_body = True

    def __init__(self, region: str, credentials: Callable[[], Credentials], now: Callable[[], float]) -> None:
        self._signer = Signer(region)
        self._credentials = credentials
        self._now = now

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request."""
        headers = request.headers
        if REQUEST_ID in headers:
            headers[INFERENCE_ID] = headers[REQUEST_ID]
        plain = {name: value for name, value in headers.items() if name != "x-amz-date"}
        added = self._signer.sign(
            request.method, request.url.path, plain, request.content, credentials=self._credentials(), now=self._now()
        )
        headers.update(added)
        yield request
