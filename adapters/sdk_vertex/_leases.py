"""Leases: small objects in the bucket, changed by compare-and-swap on their generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.adapter import LeaseRecord
from sdk.errors import NotFoundError

if TYPE_CHECKING:
    from ._bucket import Bucket

_FOLDER = "mlport"


class Leases:
    """The leases of one target.

    Args:
        bucket: The bucket that holds the leases.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Read the stored lease."""
        answer = self._bucket.get(f"{_FOLDER}/{key}", timeout=timeout)
        if answer is None:
            return None
        return LeaseRecord(answer.text, answer.headers["x-goog-generation"])

    def write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Write a lease if the stored generation is ``expected``; create the bucket for the first lease.

        Raises:
            ConflictError: Another client was faster.
        """
        try:
            return self._write(key, body, expected, timeout)
        except NotFoundError:
            self._bucket.make(timeout=timeout)
            return self._write(key, body, expected, timeout)

    def _write(self, key: str, body: str, expected: str | None, timeout: float) -> LeaseRecord:
        about = self._bucket.put(
            f"{_FOLDER}/{key}", body.encode(), "application/json", generation=expected or "0", timeout=timeout
        )  # fmt: skip
        return LeaseRecord(body, str(about["generation"]))

    def delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Delete a lease if the stored generation is ``expected``."""
        self._bucket.delete(f"{_FOLDER}/{key}", generation=expected, timeout=timeout)


__all__ = ["Leases"]
