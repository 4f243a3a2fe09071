"""Access control of the public endpoint.

Any user of the machine and any web page in a browser on it can connect to a loopback port. Therefore a request is
routed only if it names a known host of this gateway (against DNS rebinding), does not come from a foreign page
(Origin, Sec-Fetch-Site), carries the endpoint's token, and has a content type that a page cannot send without a
preflight request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from ..media import BINARY, BODIES, SHOWN_BODIES, names
from .heads import Refusal, RequestHead, read_request

if TYPE_CHECKING:
    from .table import GatewayLimits

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_PARAMETER = re.compile(rb"\s*(?:charset\s*=\s*\"?utf-?8\"?|header\s*=\s*\"?(?:present|absent)\"?)\s*", re.IGNORECASE)
_KEPT = 512  # maximum number of cached request heads


class Gate:
    """The parser and checker of request heads.

    Args:
        token: The token required in `Authorization: Bearer`; None allows all clients.
        port: The port that the listener is bound to.
        hosts: Additional `name:port` values of the Host header to accept; `name:*` accepts any port.
        limits: The limits on the sizes of a head and a declared body.

    """

    def __init__(self, *, token: str | None, port: int, hosts: tuple[str, ...], limits: GatewayLimits) -> None:
        self._token = None if token is None else _digest(token.encode())
        self._hosts = {f"{host}:{port}".encode() for host in _LOCAL} | {host.lower().encode() for host in hosts}
        if port == 80:
            self._hosts |= {host.encode() for host in _LOCAL}
        self._limits = limits
        self.known: dict[bytes, RequestHead] = {}
        """Accepted heads by their bytes, so that an identical head is only looked up."""

    def use(self, limits: GatewayLimits) -> None:
        """Apply new limits from the next head on."""
        self._limits = limits
        self.known.clear()

    def read(self, head: bytes) -> RequestHead:
        """Parse and check a head.

        Raises:
            Refusal: The head is malformed or not permitted.

        """
        limits = self._limits
        request = read_request(head, max_url=limits.max_url, max_headers=limits.max_headers)
        try:
            self._check(request)
        except Refusal as refusal:
            refusal.request = request
            raise
        if request.length >= 0 and not request.expect and not request.health:
            if len(self.known) >= _KEPT:
                self.known.clear()
            self.known[head] = request
        return request

    def _check(self, request: RequestHead) -> None:
        fields = request.fields
        if not self._is_known_host(fields.one(b"host") or b""):
            raise Refusal(421, "foreign_host", "This gateway is not known by that Host.")
        origin = fields.one(b"origin")
        if origin is not None and not self._is_own_origin(origin):
            raise Refusal(403, "foreign_origin", "Requests from other web pages are not served.")
        if (fields.one(b"sec-fetch-site") or b"none").lower() not in {b"none", b"same-origin"}:
            raise Refusal(403, "foreign_origin", "Requests from other web pages are not served.")
        if request.health:
            return
        if self._token is not None and not self._has_token(fields.one(b"authorization")):
            raise Refusal(401, "unauthorized", "Send the endpoint's token as Authorization: Bearer TOKEN.")
        if request.length or request.method == b"POST":
            _check_type(fields.one(b"content-type"))
        if request.length > self._limits.max_body:
            raise Refusal(413, "body_too_large", f"The body is larger than {self._limits.max_body} bytes.")

    def _is_known_host(self, host: bytes) -> bool:
        host = host.lower()
        return host in self._hosts or host.rpartition(b":")[0] + b":*" in self._hosts

    def _is_own_origin(self, origin: bytes) -> bool:
        scheme, separator, host = origin.partition(b"://")
        return scheme.lower() == b"http" and bool(separator) and self._is_known_host(host)

    def _has_token(self, value: bytes | None) -> bool:
        scheme, _, given = (value or b"").partition(b" ")
        # Digests have one length, so the comparison does not reveal the length of the token.
        return hmac.compare_digest(_digest(given.strip()), self._token or b"") and scheme.lower() == b"bearer"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _check_type(value: bytes | None) -> None:
    kind, *parameters = (value or b"").lower().split(b";")
    if kind.strip() not in BODIES:
        shown = kind.strip().decode("ascii", "replace") or "none"
        raise Refusal(
            415, "unsupported_media_type", f"the content type is {shown}, expected {names((*SHOWN_BODIES, BINARY))}"
        )
    if any(not _PARAMETER.fullmatch(part) for part in parameters):
        raise Refusal(
            415,
            "unsupported_media_type",
            "a content type may say charset=utf-8, text/csv also header=present or absent, and nothing else",
        )
