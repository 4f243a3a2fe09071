"""Checks of AWS signatures, version 4, as AWS does them: header and query form, with the secret of the key used.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

from .errors import AwsError
from .keys import Credential, Spot, expired

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of a request, and the identity that it claims."""

    access_key: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    value: str
    stamp: str
    presigned: bool = False
    account: str = ""

    @property
    def spot(self) -> Spot:
        """The account, which is that of the key, and the region in which the request is made."""
        return Spot(self.account, self.region)

    @property
    def scope(self) -> str:
        """The part of the credential that the signing key is derived for."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def read(request: Request) -> Signature | None:
    """Return the signature of a request; ``None`` when it has none.

    Raises:
        AwsError: It is malformed.
    """
    if request.query.get("X-Amz-Algorithm") == _ALGORITHM:
        query = request.query
        credential, signed, value = query["X-Amz-Credential"], query["X-Amz-SignedHeaders"], query["X-Amz-Signature"]
        return _signature(credential, signed, value, query["X-Amz-Date"], presigned=True)
    text = request.headers.get("authorization", "")
    if not text.startswith(_ALGORITHM):
        return None
    found = _AUTHORIZATION.fullmatch(text)
    if found is None:
        raise AwsError("IncompleteSignature", f"Authorization header is not complete: {text[:80]}")
    return _signature(found[1], found[2], found[3], request.headers.get("x-amz-date", ""), presigned=False)


def _signature(credential: str, signed: str, value: str, stamp: str, *, presigned: bool) -> Signature:
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise AwsError("IncompleteSignature", "Credential must have the form KEY/DATE/REGION/SERVICE/aws4_request")
    return Signature(parts[0], parts[1], parts[2], parts[3], tuple(signed.split(";")), value, stamp, presigned)


def verify(request: Request, signature: Signature, find: Callable[[str], Credential | None]) -> Signature:
    """Refuse a request with a wrong signature, or return the signature with the account of its key.

    Raises:
        AwsError: The key is unknown or expired, or the session token or the signature is wrong.
    """
    found = find(signature.access_key)
    token = request.headers.get("x-amz-security-token") or request.query.get("X-Amz-Security-Token")
    if found is None or (found.token or "") != (token or ""):
        raise _unknown(signature.service, known=found is not None)
    if found.expires is not None and found.expires < time.time():
        raise expired(signature.service)
    _check_age(request, signature)
    canonical = _canonical(request, signature)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{signature.stamp}\n{signature.scope}\n{digest}"
    key = _key(found.secret, signature.date, signature.region, signature.service)
    if not hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), signature.value):
        code = "SignatureDoesNotMatch" if signature.service in {"s3", "sts", "iam"} else "InvalidSignatureException"
        raise AwsError(
            code,
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            f"Access Key and signing method. The Canonical String for this request should have been '{canonical}'",
            403,
        )
    return replace(signature, account=found.account)


def _check_age(request: Request, signature: Signature) -> None:
    """Refuse a presigned address that has expired."""
    if not signature.presigned:
        return
    made = datetime.strptime(signature.stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if made + int(request.query.get("X-Amz-Expires") or 0) < time.time():
        raise AwsError("AccessDenied", "Request has expired", 403)


def _unknown(service: str, *, known: bool) -> AwsError:
    """Return the refusal of a key that is unknown, or has a wrong session token."""
    message = "The security token included in the request is invalid."
    if service == "s3" and known:
        return AwsError("InvalidToken", "The provided token is malformed or otherwise invalid.", 400)
    if service == "s3":
        text = "The AWS Access Key Id you provided does not exist in our records."
        return AwsError("InvalidAccessKeyId", text, 403)
    code = "InvalidClientTokenId" if service in {"sts", "iam"} else "UnrecognizedClientException"
    return AwsError(code, message, 403 if service in {"sts", "iam"} else 400)


def _canonical(request: Request, signature: Signature) -> str:
    headers = {name: " ".join(request.headers.get(name, "").split()) for name in signature.signed}
    return "\n".join((
        request.method,
        _path(request.target, signature.service),
        _query(request.query_string),
        *(f"{name}:{value}" for name, value in headers.items()),
        "",
        ";".join(signature.signed),
        _payload(request, signature),
    ))  # fmt: skip


def _path(target: str, service: str) -> str:
    """Return the path as it is signed: S3 signs it as it was sent, other services encode it once more."""
    if service == "s3":
        return quote(unquote(target), safe="/~") or "/"
    return quote(target or "/", safe="/~")


def _query(text: str) -> str:
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(text, keep_blank_values=True)
        if name != "X-Amz-Signature"
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _payload(request: Request, signature: Signature) -> str:
    told = request.headers.get("x-amz-content-sha256")
    if signature.presigned:
        return told or "UNSIGNED-PAYLOAD"
    if told and (told.startswith("STREAMING-") or told == "UNSIGNED-PAYLOAD"):
        return told
    if told and len(told) != 64:
        return told
    return hashlib.sha256(request.body).hexdigest()


@functools.lru_cache(maxsize=256)
def _key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
