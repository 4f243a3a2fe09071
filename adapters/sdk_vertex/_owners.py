"""Whose the bucket of a target is: asked before it is first used, as names of buckets are shared by all projects.

``PROJECT-mlport-REGION`` is easy to guess, so it may exist already in a project of somebody else, who would get the
data of jobs (CVE-2026-2473 is this in Google's own library). The buckets of the target's own project are listed to find
out; that needs no other interface than that of Cloud Storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.errors import AuthError, SecurityError

from ._errors import PROVIDER

if TYPE_CHECKING:
    from sdk.identities import Identities

    from ._access import Access
    from .options import VertexOptions

_HINT = (
    'name another one with bucket = "…"; if it is meant to be in another project, name that project\'s number with '
    'bucket_owner = "…"'
)


class BucketOwner:
    """Finds out whose the bucket of a target is.

    Args:
        access: Where it is, and as whom it is asked.
        options: The target's settings.
        identities: Whose buckets were seen before.

    Attributes:
        kept_s: Seconds for which the bucket keeps deleted objects, as far as it was seen.
    """

    def __init__(self, access: Access, options: VertexOptions, identities: Identities) -> None:
        self.access, self.options, self._identities = access, options, identities
        self.name = options.staging
        self._verified = False
        self.kept_s = 0

    def forget(self) -> None:
        """Look again: a bucket was made, or somebody else was faster."""
        self._verified = False

    def verified(self, *, timeout: float) -> bool:
        """Whether the bucket is there and is the one that is meant; ``False`` when there is none.

        Raises:
            SecurityError: It is that of somebody else, or is not shown to be ours.
        """
        if not self._verified:
            about = self._ours(timeout) if self.options.bucket_owner is None else self._named(timeout)
            if about is None:
                return False
            self._check(about)
            policy: dict[str, Any] = about.get("softDeletePolicy") or {}
            self.kept_s = int(policy.get("retentionDurationSeconds") or 0)
            self._verified = True
        return True

    def _ours(self, timeout: float) -> dict[str, Any] | None:
        """The bucket among those of the target's own project."""
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
        """The bucket, which must be in the project that the settings name."""
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
        """What must hold of a bucket that mlport makes, and what may not change of any."""
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
