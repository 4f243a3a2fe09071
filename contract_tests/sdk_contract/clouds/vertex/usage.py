"""Service Usage: which APIs are enabled, and quota; as `mlport doctor` requests it.

Source: https://cloud.google.com/service-usage/docs/reference/rest
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from .api import Api
from .errors import Refusal

if TYPE_CHECKING:
    from ..app import Request
    from .spots import Spots
    from .values import Json

# Source: https://cloud.google.com/vertex-ai/docs/general/locations
REGIONS = frozenset((
    "africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3",
    "asia-south1", "asia-southeast1", "asia-southeast2", "australia-southeast1", "australia-southeast2",
    "europe-central2", "europe-north1", "europe-southwest1", "europe-west1", "europe-west12", "europe-west2",
    "europe-west3", "europe-west4", "europe-west6", "europe-west8", "europe-west9", "me-central1", "me-central2",
    "me-west1", "northamerica-northeast1", "northamerica-northeast2", "southamerica-east1", "southamerica-west1",
    "us-central1", "us-east1", "us-east4", "us-east5", "us-south1", "us-west1", "us-west2", "us-west3", "us-west4",
))  # fmt: skip
SERVICES = ("aiplatform", "artifactregistry", "storage", "monitoring", "logging", "secretmanager")


class Usage:
    """The enabled APIs and quotas of projects.

    Attributes:
        disabled: APIs that are not enabled.
    """

    def __init__(self, spots: Spots, cpu_quota: int) -> None:
        self._spots, self.cpu_quota = spots, cpu_quota
        self.disabled: set[str] = set()
        self.api = Api(spots, "serviceusage")
        one = "/projects/{project}/services/{service}"
        self.api.on("GET", f"/v1{one}", "GetService")(self.service)
        self.api.on("GET", f"/v1beta1{one}/consumerQuotaMetrics/{{metric:path}}", "GetConsumerQuotaMetric")(self.quota)

    def service(self, request: Request) -> Json:
        """Return whether an API is enabled."""
        name = request.params["service"].removesuffix(".googleapis.com")
        state = "ENABLED" if name in SERVICES and name not in self.disabled else "DISABLED"
        number = self._spots.number(request.params["project"])
        return {"name": f"projects/{number}/services/{request.params['service']}", "state": state}

    def quota(self, request: Request) -> Json:
        """Return the limits of one metric."""
        metric = unquote(request.params["metric"])
        if metric != "aiplatform.googleapis.com/custom_model_serving_cpus":
            raise Refusal("NOT_FOUND", f"Quota metric {metric} is not found.")
        used = {spot.world.region for spot in self._spots.of(self._spots.project(request.params["project"]))}
        buckets = [
            {"effectiveLimit": str(self.cpu_quota), "dimensions": {"region": region}}
            for region in sorted(used | REGIONS)
        ]
        return {"metric": metric, "consumerQuotaLimits": [{"quotaBuckets": [{"effectiveLimit": "0"}, *buckets]}]}
