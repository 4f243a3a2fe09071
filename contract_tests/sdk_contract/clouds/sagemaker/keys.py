"""Access keys of one mini cloud: every account has a pair that is derived from the cloud's own secret.

As at AWS, the id of a key encodes its account, so the key alone determines the account of a request.
Source: https://medium.com/@TalBeerySec/a-short-note-on-aws-key-id-f88cc4317489
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from .errors import AwsError

_ACCOUNT = re.compile(r"\d{12}")
_ID = re.compile(r"AKIA[A-Z2-7]{16}")
_MASK = 0x7FFFFFFFFF80


class Spot(NamedTuple):
    """One account in one region."""

    account: str
    region: str


class Credential(NamedTuple):
    """The credential behind the id of an access key.

    Args:
        account: Account in which its requests are made.
        secret: The secret key.
        token: The session token that belongs to a temporary key.
        expires: Unix seconds after which a temporary key is refused.
    """

    account: str
    secret: str
    token: str | None = None
    expires: float | None = None


class Keys:
    """The keys of all accounts.

    Args:
        secret: The secret from which the keys are derived.

    Example:
        >>> keys = Keys(b"of this cloud")
        >>> identity, secret = keys.of("123456789012")
        >>> account_of(identity), keys.find(identity).secret == secret
        ('123456789012', True)
        >>> Keys(b"of another").find(identity) is None
        True
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, account: str) -> tuple[str, str]:
        """Return id and secret of the key of an account.

        Raises:
            ValueError: The account number does not have twelve digits.
        """
        if not _ACCOUNT.fullmatch(account):
            raise ValueError(f"account {account!r} does not have twelve digits")
        mixed = self._mac(f"id {account}")
        head = (1 << 47) | (int(account) << 7) | (mixed[0] & 0x7F)
        identity = f"AKIA{base64.b32encode(head.to_bytes(6) + mixed[1:5]).decode()}"
        return identity, base64.b64encode(self._mac(f"secret {identity}")).decode()[:40]

    def find(self, identity: str) -> Credential | None:
        """Return the credential of the id of a key; ``None`` for a key of another cloud."""
        account = account_of(identity)
        if account is None:
            return None
        known, secret = self.of(account)
        return Credential(account, secret) if hmac.compare_digest(known, identity) else None

    def password(self, spot: Spot) -> str:
        """Return the password of the container registry of an account in a region."""
        return self._mac(f"registry {spot.account} {spot.region}").hex()

    def _mac(self, text: str) -> bytes:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).digest()


def partition_of(region: str) -> str:
    """Return the partition of AWS that a region is in, as ARNs name it.

    Example:
        >>> partition_of("eu-west-1"), partition_of("cn-north-1")
        ('aws', 'aws-cn')
    """
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rpartition("-")[0].rpartition("-")[0], "aws")


def account_of(identity: str) -> str | None:
    """Return the account that the id of an access key encodes; ``None`` for text that is not such an id.

    Example:
        >>> account_of("AKIAIOSFODNN7EXAMPLE") is None
        True
    """
    if not _ID.fullmatch(identity):
        return None
    number = (int.from_bytes(base64.b32decode(identity[4:])[:6]) & _MASK) >> 7
    return f"{number:012d}" if number < 10**12 else None


def expired(service: str) -> AwsError:
    """Return the refusal of a temporary key that has expired."""
    code = "ExpiredToken" if service in {"s3", "sts", "iam"} else "ExpiredTokenException"
    return AwsError(
        code,
        "The security token included in the request is expired",
        403 if service in {"sts", "iam"} else 400,
    )
