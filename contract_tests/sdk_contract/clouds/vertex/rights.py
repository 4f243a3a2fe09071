"""Which permission each call needs, and the refusal of a caller who lacks it.

Source: https://cloud.google.com/iam/docs/permissions-reference
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Refusal

if TYPE_CHECKING:
    from ..app import Request
    from .world import Common

_CLIENT = "764086051850"  # the project of gcloud itself, which is used when no quota project is named
PERMISSIONS = {
    "CreateEndpoint": "aiplatform.endpoints.create", "GetEndpoint": "aiplatform.endpoints.get",
    "ListEndpoints": "aiplatform.endpoints.list", "UpdateEndpoint": "aiplatform.endpoints.update",
    "DeleteEndpoint": "aiplatform.endpoints.delete", "DeployModel": "aiplatform.endpoints.deploy",
    "UndeployModel": "aiplatform.endpoints.undeploy", "Predict": "aiplatform.endpoints.predict",
    "RawPredict": "aiplatform.endpoints.predict", "StreamRawPredict": "aiplatform.endpoints.predict",
    "UploadModel": "aiplatform.models.upload",
    "GetModel": "aiplatform.models.get", "ListModels": "aiplatform.models.list",
    "DeleteModel": "aiplatform.models.delete", "CreateCustomJob": "aiplatform.customJobs.create",
    "GetCustomJob": "aiplatform.customJobs.get", "ListCustomJobs": "aiplatform.customJobs.list",
    "CancelCustomJob": "aiplatform.customJobs.cancel", "DeleteCustomJob": "aiplatform.customJobs.delete",
    "CreateRepository": "artifactregistry.repositories.create",
    "GetRepository": "artifactregistry.repositories.get",
    "DeleteRepository": "artifactregistry.repositories.delete", "GetTag": "artifactregistry.tags.get",
    "ListDockerImages": "artifactregistry.dockerimages.list",
    "GetDockerImage": "artifactregistry.dockerimages.get", "DeleteTag": "artifactregistry.tags.delete",
    "DeleteVersion": "artifactregistry.versions.delete",
    "InsertBucket": "storage.buckets.create", "ListBuckets": "storage.buckets.list",
    "GetBucket": "storage.buckets.get", "InsertObject": "storage.objects.create",
    "GetObject": "storage.objects.get", "PatchObject": "storage.objects.update",
    "DeleteObject": "storage.objects.delete", "ListObjects": "storage.objects.list",
    "ListLogEntries": "logging.logEntries.list", "ListTimeSeries": "monitoring.timeSeries.list",
    "AccessSecretVersion": "secretmanager.versions.access", "GetService": "serviceusage.services.get",
    "GetConsumerQuotaMetric": "serviceusage.quotas.get",
}  # fmt: skip


def check_rights(common: Common, request: Request, service: str, operation: str) -> None:
    """Refuse a call whose caller lacks the right, or that of a user without a quota project.

    Raises:
        Refusal: With the message of the platform.
    """
    service = "aiplatform" if service == "prediction" else service
    host = f"{service}.googleapis.com"
    if common.identity.personal and service != "storage" and "x-goog-user-project" not in request.headers:
        text = (
            "Your application is authenticating by using local Application Default Credentials. The "
            f"{host} API requires a quota project, which is not set by default. To learn how to set your quota "
            "project, see https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
        )
        about = {"service": host, "consumer": f"projects/{_CLIENT}"}
        raise Refusal(
            "PERMISSION_DENIED", text, reason="SERVICE_DISABLED", metadata=about, domain="googleapis.com"
        )  # fmt: skip
    permission = PERMISSIONS.get(operation, "")
    if permission in common.identity.missing:
        resource = f"//{host}{request.path.partition('/v1')[2] or request.path}"
        raise Refusal(
            "PERMISSION_DENIED",
            f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
            reason="IAM_PERMISSION_DENIED",
            metadata={"permission": permission, "resource": resource},
        )
