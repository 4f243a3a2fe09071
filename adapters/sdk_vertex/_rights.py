"""What each call needs: its permission, and what to do about a refusal, in one place for hints and ``mlport doctor``.

Source: https://cloud.google.com/iam/docs/permissions-reference
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

# By operation, as errors name it.
PERMISSIONS: Mapping[str, str] = {
    "CreateEndpoint": "aiplatform.endpoints.create",
    "GetEndpoint": "aiplatform.endpoints.get",
    "ListEndpoints": "aiplatform.endpoints.list",
    "UpdateEndpoint": "aiplatform.endpoints.update",
    "DeleteEndpoint": "aiplatform.endpoints.delete",
    "DeployModel": "aiplatform.endpoints.deploy",
    "UndeployModel": "aiplatform.endpoints.undeploy",
    "predict": "aiplatform.endpoints.predict",
    "UploadModel": "aiplatform.models.upload",
    "GetModel": "aiplatform.models.get",
    "ListModels": "aiplatform.models.list",
    "DeleteModel": "aiplatform.models.delete",
    "CreateCustomJob": "aiplatform.customJobs.create",
    "ListCustomJobs": "aiplatform.customJobs.list",
    "CancelCustomJob": "aiplatform.customJobs.cancel",
    "DeleteCustomJob": "aiplatform.customJobs.delete",
    "CreateRepository": "artifactregistry.repositories.create",
    "GetRepository": "artifactregistry.repositories.get",
    "DeleteRepository": "artifactregistry.repositories.delete",
    "GetTag": "artifactregistry.tags.get",
    "ListDockerImages": "artifactregistry.dockerimages.list",
    "GetDockerImage": "artifactregistry.dockerimages.get",
    "DeleteTag": "artifactregistry.tags.delete",
    "DeleteVersion": "artifactregistry.versions.delete",
    "CreateBucket": "storage.buckets.create",
    "ListBuckets": "storage.buckets.list",
    "GetBucket": "storage.buckets.get",
    "GetObject": "storage.objects.get",
    "ListObjects": "storage.objects.list",
    "PutObject": "storage.objects.create",
    "PatchObject": "storage.objects.update",
    "DeleteObject": "storage.objects.delete",
    "ListLogEntries": "logging.logEntries.list",
    "ListTimeSeries": "monitoring.timeSeries.list",
    "AccessSecretVersion": "secretmanager.versions.access",
    "GetService": "serviceusage.services.get",
    "GetQuota": "serviceusage.quotas.get",
}
# The smallest predefined role that holds a permission; the first beginning that fits counts.
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
PUSH = "artifactregistry.repositories.uploadArtifacts"
# What verbs need of the project, as `mlport doctor` tests it.
VERBS: Mapping[str, tuple[str, ...]] = {
    "deploy": (
        "aiplatform.endpoints.create", "aiplatform.endpoints.get", "aiplatform.endpoints.list",
        "aiplatform.endpoints.update", "aiplatform.endpoints.delete", "aiplatform.endpoints.deploy",
        "aiplatform.endpoints.undeploy", "aiplatform.models.upload", "aiplatform.models.get", "aiplatform.models.list",
        "aiplatform.models.delete",
    ),
    "predict": ("aiplatform.endpoints.predict",),
    "train": (
        "aiplatform.customJobs.create", "aiplatform.customJobs.get", "aiplatform.customJobs.list",
        "aiplatform.customJobs.cancel", "aiplatform.customJobs.delete",
    ),
    "images": (
        "artifactregistry.repositories.create", "artifactregistry.repositories.get", PUSH, "artifactregistry.tags.get",
        "artifactregistry.dockerimages.list", "artifactregistry.dockerimages.get", "artifactregistry.versions.delete",
        "artifactregistry.tags.delete",
    ),
    "bucket": (
        "storage.buckets.create", "storage.buckets.list", "storage.objects.create", "storage.objects.get",
        "storage.objects.list", "storage.objects.update", "storage.objects.delete",
    ),
    "logs": ("logging.logEntries.list",),
    "monitor": ("monitoring.timeSeries.list",),
}  # fmt: skip


def role_of(permission: str) -> str | None:
    """The smallest predefined role that holds a permission.

    Example:
        >>> role_of("storage.objects.create"), role_of("storage.buckets.create")
        ('roles/storage.objectUser', 'roles/storage.admin')
    """
    return next((role for start, role in _ROLES if permission.startswith(start)), None)


def needs(permission: str) -> str:
    """What an account lacks, with the role that would give it.

    Example:
        >>> needs("logging.logEntries.list")
        'the account needs logging.logEntries.list, which roles/logging.viewer has'
    """
    role = role_of(permission)
    return f"the account needs {permission}" + (f", which {role} has" if role else "")


def hint_of(operation: str, told: Mapping[str, Any]) -> str:
    """What to do about a call that was refused with 403.

    Args:
        operation: As errors name it.
        told: The ``error`` of the answer.
    """
    reason, about = reason_of(told)
    service, consumer = about.get("service", ""), about.get("consumer", "").rpartition("/")[2]
    message = str(told.get("message") or "")
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
    permission = about.get("permission") or PERMISSIONS.get(operation)
    return f"{needs(permission) if permission else 'the account lacks a right'}; `mlport doctor` shows what is missing"


def reason_of(told: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """Reason and metadata of the ``google.rpc.ErrorInfo`` of an answer; empty where it has none."""
    for detail in _details(told):
        if "reason" in detail:
            about: Any = detail.get("metadata")
            known = cast("dict[str, Any]", about) if isinstance(about, dict) else {}
            return str(detail["reason"]), {name: str(value) for name, value in known.items()}
    return "", {}


def _details(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    details: list[Any] = told.get("details") or []
    return [one for one in details if isinstance(one, dict)]
