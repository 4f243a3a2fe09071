"""Checks of a target: credentials, APIs, region, bucket, image repository and quota, each by a real call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sdk.adapter.types import Check
from sdk.errors import SdkError

from . import _acting, _granted
from ._errors import from_response, why_refused
from ._plan import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._access import Access
    from ._bucket import Bucket
    from ._control import Control
    from ._images import Images

_CALL_S = 15.0
_APIS = ("aiplatform", "artifactregistry", "storage")
_APIS_OF_SOME = {"logging": "`mlport logs`", "monitoring": "`mlport monitor`", "secretmanager": "cloud: secrets"}
_QUOTA = "aiplatform.googleapis.com/custom_model_serving_cpus"


def checks(access: Access, target: str, control: Control, bucket: Bucket, images: Images) -> Iterator[Check]:
    """Yield all checks, each made by one real call; without credentials no further check is made."""
    options = access.options
    try:
        access.token()
    except SdkError as error:
        yield Check("credentials", False, error.message, error.hint)
        return
    where = f"mini cloud at {access.mock}" if access.mock else "Google Cloud"
    yield Check("credentials", True, f"a token for {where}")
    for name in _APIS:
        yield _tried(f"api {name}", lambda name=name: _enabled(access, name))  # type: ignore[misc]  # binds the loop variable
    for name, what in _APIS_OF_SOME.items():
        yield _tried(f"api {name}", lambda name=name, what=what: _enabled(access, name, only=what))  # type: ignore[misc]  # the same
    yield from _granted.checks(access, target)
    yield _tried("endpoints", lambda: _endpoints(control))
    yield _tried("bucket", lambda: _bucket(bucket))
    yield _tried("repository", lambda: _repository(images, options.repository))
    yield from _acting_as(access)
    yield _tried("quota", lambda: _quota(access), needed=False)


def _tried(name: str, look: Callable[[], Check], *, needed: bool = True) -> Check:
    """Return the result of a check, also if its call fails; an optional check passes even if nothing can be read."""
    try:
        return look()
    except SdkError as error:
        detail = error.message if needed else f"cannot be read: {error.message}"
        return Check(name, not needed, detail, error.hint if needed else None)


def _enabled(access: Access, name: str, *, only: str = "") -> Check:
    """Check whether an API is enabled; an API that only some verbs need does not fail the check."""
    service = f"{name}.googleapis.com"
    url = f"{access.url('serviceusage')}/v1/projects/{access.options.project}/services/{service}"
    answer = access.send("GET", url, "GetService", timeout=_CALL_S, resource=service, ok=(200, 403))
    if answer.status_code == 403:  # not being allowed to look is fine, a missing billing project is not
        if why_refused(answer) not in {"", "IAM_PERMISSION_DENIED", "AUTH_PERMISSION_DENIED"}:
            raise from_response(answer, "GetService", service)
        return Check(f"api {name}", True, "whether it is enabled cannot be read")
    enabled = answer.json().get("state") == "ENABLED"
    hint = None if enabled else f"gcloud services enable {service} --project {access.options.project}"
    detail = "enabled" if enabled else f"not enabled{f'; only {only} needs it' if only else ''}"
    return Check(f"api {name}", enabled or bool(only), detail, hint)


def _acting_as(access: Access) -> Iterator[Check]:
    try:
        found = _acting.check(access)
    except SdkError as error:
        found = Check("service account", True, f"cannot be read: {error.message}", error.hint)
    if found is not None:
        yield found


def _endpoints(control: Control) -> Check:
    found = list(control.every("endpoints", "list_endpoints", 'labels.mlport="1"', timeout=_CALL_S))
    return Check("endpoints", True, f"{len(found)} of ours in {control.access.options.region}")


def _bucket(bucket: Bucket) -> Check:
    if bucket.exists(timeout=_CALL_S):
        if not bucket.kept_s:
            return Check("bucket", True, f"gs://{bucket.name}")
        detail = f"gs://{bucket.name}, where deleted data is billed for another {bucket.kept_s / 86_400:g} days"
        return Check("bucket", True, detail, f"gcloud storage buckets update gs://{bucket.name} --clear-soft-delete")
    made = bucket.options.bucket is None
    detail = f"gs://{bucket.name} does not exist yet" if made else f"gs://{bucket.name} does not exist"
    hint = None if made else "create it, or leave `bucket` out to have one made"
    return Check("bucket", made, f"{detail}; the first change makes it" if made else detail, hint)


def _repository(images: Images, name: str) -> Check:
    found = images.read_repository(name, timeout=_CALL_S)
    return Check(
        "repository", True, f"{REPOSITORY} {name}" if found else f"{name} does not exist yet; the first deploy makes it"
    )


def _quota(access: Access) -> Check:
    project, region = access.options.project, access.options.region
    url = (
        f"{access.url('serviceusage')}/v1beta1/projects/{project}/services/aiplatform.googleapis.com"
        f"/consumerQuotaMetrics/{quote(_QUOTA, safe='')}"
    )
    told: dict[str, Any] = access.send("GET", url, "GetQuota", timeout=_CALL_S, resource=_QUOTA).json()
    limit = _limit(told, region)
    if limit is None:
        return Check("quota", True, "processors for serving: not told")
    hint = None if limit else "ask for processors for custom model serving in the console, under Quotas"
    return Check(
        "quota", limit != 0, f"{'no limit of' if limit < 0 else limit} processors for serving in {region}", hint
    )


def _limit(told: dict[str, Any], region: str) -> int | None:
    """Return the limit in this region; -1 for no limit, ``None`` if it is not known."""
    found: int | None = None
    for limit in told.get("consumerQuotaLimits") or ():
        for bucket in limit.get("quotaBuckets") or ():
            about: dict[str, str] = bucket.get("dimensions") or {}
            place = about.get("region")
            if place == region:
                return int(bucket.get("effectiveLimit", 0))
            if place is None:
                found = int(bucket.get("effectiveLimit", 0))
    return found
