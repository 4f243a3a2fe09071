"""Service Usage: which interfaces are enabled and how much of what may be used; as `mlport doctor` asks for it.

Source: https://cloud.google.com/service-usage/docs/reference/rest
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from .api import Api
from .errors import Refusal

if TYPE_CHECKING:
    from ..app import Request
    from .world import Json, World

SERVICES = ("aiplatform", "artifactregistry", "storage", "monitoring", "logging")


class Usage:
    """What the project may use.

    Attributes:
        disabled: Interfaces that are not enabled.
    """

    def __init__(self, world: World, cpu_quota: int) -> None:
        self.world, self.cpu_quota = world, cpu_quota
        self.disabled: set[str] = set()
        self.api = Api(world, "serviceusage")
        one = "/projects/{project}/services/{service}"
        self.api.on("GET", f"/v1{one}", "GetService")(self.service)
        self.api.on("GET", f"/v1beta1{one}/consumerQuotaMetrics/{{metric:path}}", "GetConsumerQuotaMetric")(self.quota)

    def service(self, request: Request) -> Json:
        """Whether an interface is enabled."""
        name = request.params["service"].removesuffix(".googleapis.com")
        state = "ENABLED" if name in SERVICES and name not in self.disabled else "DISABLED"
        return {"name": f"projects/{self.world.number}/services/{request.params['service']}", "state": state}

    def quota(self, request: Request) -> Json:
        """The limits of one metric."""
        metric = unquote(request.params["metric"])
        if metric != "aiplatform.googleapis.com/custom_model_serving_cpus":
            raise Refusal("NOT_FOUND", f"Quota metric {metric} is not found.")
        bucket = {"effectiveLimit": str(self.cpu_quota), "dimensions": {"region": self.world.region}}
        return {"metric": metric, "consumerQuotaLimits": [{"quotaBuckets": [{"effectiveLimit": "0"}, bucket]}]}
