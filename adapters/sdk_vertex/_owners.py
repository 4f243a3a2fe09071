"""Ownership check of a target's bucket before its first use, since all projects share the names of buckets.

``PROJECT-mlport-REGION`` is easy to guess, so the bucket may already exist in the project of an attacker, who would
get the data of jobs (CVE-2026-2473 is this flaw in Google's own library). The check lists the buckets of the target's
own project, which needs no other API than that of Cloud Storage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sdk.errors import AuthError, SecurityError

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.adapter.identities import Identities

    from ._access import Access
    from .options import VertexOptions

_FRESH_S = 60.0
_HINT = (
    'name another one with bucket = "…"; if it is meant to be in another project, name that project\'s number with '
    'bucket_owner = "…"'
)


class BucketOwner:
    """A check that the bucket of a target belongs to the expected project.

    Args:
        access: The access to Google's services.
        options: The target's settings.
        identities: The recorded owners of buckets used before.
        now: The source of monotonic time.

    Attributes:
        kept_s: Seconds for which the bucket keeps deleted objects; 0 until the bucket was read.
    """

    def __init__(
        self, access: Access, options: VertexOptions, identities: Identities, now: Callable[[], float]
    ) -> None:
        self.access, self.options, self._identities, self._now = access, options, identities, now
        self.name = options.staging
        self._verified_until = -math.inf
        self.kept_s = 0

    def forget(self) -> None:
        """Forget the result of the check: a bucket was created, here or by another client."""
        self._verified_until = -math.inf

    def verified(self, *, timeout: float) -> bool:
        """Check whether the bucket exists and belongs to the expected project; return ``False`` if it does not exist.

        The result holds for a minute: no call can be made conditional on the owner, and a name becomes free for others
        when its bucket is deleted.

        Raises:
            SecurityError: The bucket belongs to another project, or its owner cannot be confirmed.
        """
        if self._now() >= self._verified_until:
            until = self._now() + _FRESH_S
            about = self._ours(timeout) if self.options.bucket_owner is None else self._named(timeout)
            if about is None:
                return False
            self._check(about)
            policy: dict[str, Any] = about.get("softDeletePolicy") or {}
            self.kept_s = int(policy.get("retentionDurationSeconds") or 0)
            self._verified_until = until
        return True

    def _ours(self, timeout: float) -> dict[str, Any] | None:
        """Return the bucket if it is one of the target's own project, or ``None`` if it does not exist."""
        url, project = f"{self.access.url('storage')}/storage/v1/b", self.options.project
        params = {"project": project, "prefix": self.name}
        try:
            answer = self.access.send("GET", url, "ListBuckets", timeout=timeout, resource=self.name, params=params)
        except AuthError as error:
            raise self._refused(f"it cannot be seen whose it is: {error.message}", error) from error
        told: dict[str, Any] = answer.json()
        found = next((one for one in told.get("items") or () if one.get("name") == self.name), None)
        if found is None and self._get(timeout) is not None:
            raise self._refused(f"it is not in project {project}")
        return found

    def _named(self, timeout: float) -> dict[str, Any] | None:
        """Return the bucket; refuse it if it is not in the project that the settings name."""
        about, wanted = self._get(timeout), self.options.bucket_owner
        if about is not None and str(about.get("projectNumber")) != wanted:
            raise self._refused(f"it is in project {about.get('projectNumber')}, not in {wanted}")
        return about

    def _get(self, timeout: float) -> dict[str, Any] | None:
        url = f"{self.access.url('storage')}/storage/v1/b/{self.name}"
        try:
            answer = self.access.send("GET", url, "GetBucket", timeout=timeout, resource=self.name, ok=(200, 404))
        except AuthError as error:
            raise self._refused(f"it is not in project {self.options.project}: {error.message}", error) from error
        about: dict[str, Any] = answer.json()
        return about if answer.status_code == 200 else None

    def _check(self, about: dict[str, Any]) -> None:
        """Check the rules for the buckets that mlport makes.

        For every bucket, also check that its project and location are unchanged.
        """
        place = str(about.get("location", "")).lower()
        if self.options.bucket is None:
            if place != self.options.region:
                raise self._refused(f"it is in {place}, not in {self.options.region}")
            rules: dict[str, Any] = about.get("iamConfiguration") or {}
            uniform: dict[str, Any] = rules.get("uniformBucketLevelAccess") or {}
            if rules.get("publicAccessPrevention") != "enforced" or uniform.get("enabled") is not True:
                raise self._refused(
                    "it is not closed to the public",
                    hint=f"gcloud storage buckets update gs://{self.name} --public-access-prevention "
                    "--uniform-bucket-level-access",
                )
        identity = {"project": str(about.get("projectNumber")), "location": place}
        self._identities.check(f"gs://{self.name}", identity)

    def _refused(self, why: str, error: AuthError | None = None, *, hint: str = _HINT) -> SecurityError:
        return SecurityError(
            f"bucket {self.name} is not used: {why}",
            provider=PROVIDER,
            operation="GetBucket",
            resource=self.name,
            status=error.status if error else None,
            request_id=error.request_id if error else None,
            hint=hint,
        )


__all__ = ["BucketOwner"]
