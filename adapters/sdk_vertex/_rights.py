"""The permissions that each call needs, and hints for refused calls, in one place for errors and ``mlport doctor``.

Source: https://cloud.google.com/iam/docs/permissions-reference
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from sdk.adapter.rights import FIRST_DEPLOY, LISTS_OWN, READS_ENDPOINTS, TAKES_LEASES, neutral, row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.rights import CallRights, RightsRow

Scope = Literal["project", "bucket", "repository", "account", "secret"]


class Right(NamedTuple):
    """A permission and its scope: the project, or the target's bucket, repository, service account or secret."""

    permission: str
    scope: Scope = "project"


_ACT_AS = Right("iam.serviceAccounts.actAs", "account")
_PUSH, _PULL = (
    Right(f"artifactregistry.repositories.{one}", "repository") for one in ("uploadArtifacts", "downloadArtifacts")
)


def _row(verbs: str, *rights: Right | str, also: str = "") -> RightsRow[Right]:
    return row(verbs, *(one if isinstance(one, Right) else _vertex(one) for one in rights), also=also)


def _vertex(name: str) -> Right:
    return Right(f"aiplatform.{name}")


def _image(name: str) -> Right:
    return Right(f"artifactregistry.{name}", "repository")


def _object(name: str) -> Right:
    return Right(f"storage.objects.{name}", "bucket")


CALLS: Mapping[str, RightsRow[Right]] = {
    "aiplatform:CreateEndpoint": _row("deploy", "endpoints.create"),
    "aiplatform:GetEndpoint": _row(f"{READS_ENDPOINTS} train", "endpoints.get"),
    "aiplatform:ListEndpoints": _row(f"{LISTS_OWN} doctor", "endpoints.list"),
    "aiplatform:UpdateEndpoint": _row("deploy traffic finalize delete gc", "endpoints.update"),
    "aiplatform:DeleteEndpoint": _row("deploy delete gc", "endpoints.delete"),
    "aiplatform:DeployModel": _row("deploy", "endpoints.deploy", _ACT_AS),
    "aiplatform:UndeployModel": _row("deploy finalize delete gc", "endpoints.undeploy"),
    "aiplatform:UploadModel": _row("deploy", "models.upload"),
    "aiplatform:GetModel": _row("deploy finalize delete gc", "models.get"),
    "aiplatform:ListModels": _row(f"{READS_ENDPOINTS} train", "models.list"),
    "aiplatform:DeleteModel": _row("deploy finalize delete gc", "models.delete"),
    "aiplatform:GetOperation": _row("deploy traffic finalize delete gc", "endpoints.get", "models.get"),
    "aiplatform:ListOperations": _row("deploy traffic finalize delete gc", "endpoints.get", "models.get"),
    "aiplatform:CreateCustomJob": _row("train", "customJobs.create", _ACT_AS),
    "aiplatform:ListCustomJobs": _row(f"{LISTS_OWN} deploy train stop", "customJobs.list"),
    "aiplatform:CancelCustomJob": _row("train stop", "customJobs.cancel"),
    "aiplatform:DeleteCustomJob": _row("train", "customJobs.delete", also="gc --shared"),
    "prediction:Predict": _row("predict deploy", "endpoints.predict"),
    "prediction:RawPredict": _row("predict deploy", "endpoints.predict"),
    "prediction:StreamRawPredict": _row("stream", "endpoints.predict"),
    "artifactregistry:CreateRepository": _row("", Right("artifactregistry.repositories.create"), also=FIRST_DEPLOY),
    "artifactregistry:GetRepository": _row(f"{READS_ENDPOINTS} train doctor", _image("repositories.get")),
    "artifactregistry:DeleteRepository": _row("", _image("repositories.delete"), also="gc --shared"),
    "artifactregistry:GetTag": _row(f"{READS_ENDPOINTS} train", _image("tags.get")),
    "artifactregistry:ListDockerImages": _row(LISTS_OWN, _image("dockerimages.list")),
    "artifactregistry:GetDockerImage": _row("", _image("dockerimages.get"), also="gc --shared"),
    "artifactregistry:DeleteTag": _row("", _image("tags.delete"), also="gc --shared"),
    "artifactregistry:DeleteVersion": _row("", _image("versions.delete"), also="gc --shared"),
    "artifactregistry:GetOperation": _row("", also=FIRST_DEPLOY),
    "registry:ExchangeToken": _row("deploy train"),
    "registry:HeadBlob": _row("deploy train", _PULL),
    "registry:GetBlob": _row("deploy train", _PULL),
    "registry:HeadManifest": _row("deploy train", _PULL),
    "registry:GetManifest": _row("deploy train", _PULL),
    "registry:StartUpload": _row("deploy train", _PUSH),
    "registry:UploadChunk": _row("deploy train", _PUSH),
    "registry:FinishUpload": _row("deploy train", _PUSH),
    "registry:PutManifest": _row("deploy train", _PUSH),
    "storage:InsertBucket": _row("", Right("storage.buckets.create"), also=FIRST_DEPLOY),
    "storage:ListBuckets": _row(f"{TAKES_LEASES} list doctor", Right("storage.buckets.list")),
    "storage:GetBucket": _row(f"{TAKES_LEASES} list doctor", Right("storage.buckets.get", "bucket")),
    "storage:GetObject": _row(f"{TAKES_LEASES} list", _object("get")),
    "storage:ListObjects": _row(f"{LISTS_OWN} train", _object("list")),
    "storage:InsertObject": _row(TAKES_LEASES, _object("create"), _object("delete")),
    "storage:ResumeUpload": _row("train"),
    "storage:DeleteObject": _row(TAKES_LEASES, _object("delete")),
    "logging:ListLogEntries": _row("logs monitor train", Right("logging.logEntries.list")),
    "monitoring:ListTimeSeries": _row("monitor", Right("monitoring.timeSeries.list")),
    "secretmanager:AccessSecretVersion": _row("deploy train", Right("secretmanager.versions.access", "secret")),
    "serviceusage:GetService": _row("doctor", Right("serviceusage.services.get")),
    "serviceusage:GetConsumerQuotaMetric": _row("doctor", Right("serviceusage.quotas.get")),
    "cloudresourcemanager:TestIamPermissions": _row("doctor"),
    "storage:TestBucketPermissions": _row("doctor"),
    "artifactregistry:TestIamPermissions": _row("doctor"),
    "iam:TestIamPermissions": _row("doctor"),
}
"""Permissions by call; calls are named as in the logs of mini clouds: service and operation."""

BILLED = Right("serviceusage.services.use")
"""Needed for every call of a user, since it is billed to the target's project."""
RUNTIME = (
    _object("get"),
    _object("list"),
    _object("create"),
    _object("delete"),
    Right("logging.logEntries.create"),
)
"""The permissions of models and jobs that run as the target's service account; Google's own agent pulls images."""

_OPERATIONS = {  # operation names of errors, where they differ from the names of the calls
    "predict": "Predict",
    "PutObject": "InsertObject",
    "CreateBucket": "InsertBucket",
    "GetQuota": "GetConsumerQuotaMetric",
}
# The smallest predefined role that holds a permission; the first matching prefix applies.
_ROLES = (
    ("aiplatform.", "roles/aiplatform.user"),
    ("artifactregistry.repositories.uploadArtifacts", "roles/artifactregistry.writer"),
    ("artifactregistry.repositories.get", "roles/artifactregistry.reader"),
    ("artifactregistry.tags.get", "roles/artifactregistry.reader"),
    ("artifactregistry.tags.", "roles/artifactregistry.repoAdmin"),
    ("artifactregistry.dockerimages.", "roles/artifactregistry.reader"),
    ("artifactregistry.versions.", "roles/artifactregistry.repoAdmin"),
    ("artifactregistry.", "roles/artifactregistry.admin"),
    ("storage.objects.", "roles/storage.objectUser"),
    ("storage.", "roles/storage.admin"),
    ("logging.", "roles/logging.viewer"),
    ("monitoring.", "roles/monitoring.viewer"),
    ("secretmanager.", "roles/secretmanager.secretAccessor"),
    ("serviceusage.services.use", "roles/serviceusage.serviceUsageConsumer"),
    ("serviceusage.", "roles/serviceusage.serviceUsageViewer"),
    ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
)


def permission_of(operation: str) -> str | None:
    """Return the first permission that a call needs, given its operation as errors name it.

    Example:
        >>> permission_of("PutObject"), permission_of("DeployModel")
        ('storage.objects.create', 'aiplatform.endpoints.deploy')
    """
    name = _OPERATIONS.get(operation, operation)
    found = (row.rights for call, row in CALLS.items() if call.partition(":")[2] == name and row.rights)
    return next((rights[0].permission for rights in found), None)


def call_rights() -> list[CallRights]:
    """Return the table in provider-neutral form."""
    return neutral(CALLS, lambda right: right.permission)


def role_of(permission: str) -> str | None:
    """Return the smallest predefined role that holds a permission, or ``None`` if none is known.

    Example:
        >>> role_of("storage.objects.create"), role_of("storage.buckets.create")
        ('roles/storage.objectUser', 'roles/storage.admin')
    """
    return next((role for start, role in _ROLES if permission.startswith(start)), None)


def needs(permission: str) -> str:
    """Return the text of a hint: the permission that the account needs, and the role that grants it.

    Example:
        >>> needs("logging.logEntries.list")
        'the account needs logging.logEntries.list, which roles/logging.viewer has'
    """
    role = role_of(permission)
    return f"the account needs {permission}" + (f", which {role} has" if role else "")


def hint_of(operation: str, refusal: Mapping[str, Any]) -> str:
    """Return a hint for a call that was refused with 403.

    Args:
        operation: The operation as errors name it.
        refusal: The ``error`` of the answer.
    """
    reason, about = reason_of(refusal)
    service, consumer = about.get("service", ""), about.get("consumer", "").rpartition("/")[2]
    message = str(refusal.get("message") or "")
    if "requires a quota project" in message:
        return "name the project that pays for calls: `gcloud auth application-default set-quota-project PROJECT`"
    if reason == "USER_PROJECT_DENIED":
        return f"{needs('serviceusage.services.use')} on project {consumer or 'that pays for the calls'}"
    if reason == "SERVICE_DISABLED" and service:
        return f"gcloud services enable {service}" + (f" --project {consumer}" if consumer else "")
    if reason == "BILLING_DISABLED":
        return f"link project {consumer} to a billing account"
    if "act as" in message:
        return needs("iam.serviceAccounts.actAs") + " on that service account"
    permission = about.get("permission") or permission_of(operation)
    return f"{needs(permission) if permission else 'the account lacks a right'}; `mlport doctor` shows what is missing"


def reason_of(refusal: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """Return reason and metadata of the ``google.rpc.ErrorInfo`` of an answer; empty if it has none."""
    for detail in _details(refusal):
        if "reason" in detail:
            about: Any = detail.get("metadata")
            known = cast("dict[str, Any]", about) if isinstance(about, dict) else {}
            return str(detail["reason"]), {name: str(value) for name, value in known.items()}
    return "", {}


def _details(refusal: Mapping[str, Any]) -> list[dict[str, Any]]:
    details: list[Any] = refusal.get("details") or []
    return [one for one in details if isinstance(one, dict)]
