"""Service Quotas for SageMaker: the limits that this account really has, and the defaults of AWS.

``ListServiceQuotas`` omits quotas without a value of the account's own, ``ListAWSDefaultServiceQuotas`` contains
them.
Source: https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..app import Match, Request, Response
from .errors import AwsError, answered, trouble
from .members import QUOTAS
from .shapes import check, check_played, object_of, service_model
from .state import piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..faults import Fault
    from .keys import Spot
    from .sigv4 import Signature
    from .world import World

_TARGET = "ServiceQuotasV20190624."
_SHAPES = {
    "endpoint": "ProductionVariantInstanceType",
    "training job": "TrainingInstanceType",
    "spot training job": "TrainingInstanceType",
}


class Quotas:
    """The Service Quotas service.

    Args:
        world: Has the limits.
        signature: Reads and checks the signature of a request.

    Attributes:
        without_value: Names of quotas that have no value of the account's own, only the default.
        unknown: Names of quotas that are not listed at all.
    """

    def __init__(self, world: World, signature: Callable[[Request], Signature | None]) -> None:
        self._world, self._signature = world, signature
        self.without_value: set[str] = set()
        self.unknown: set[str] = set()

    def find(self, request: Request) -> Match | None:
        """Match a request for this service."""
        target = request.headers.get("x-amz-target", "")
        if not target.startswith(_TARGET):
            return None
        return Match("servicequotas", target.removeprefix(_TARGET), self._handle)

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in the format of JSON 1.1."""
        return trouble(request, match, fault)

    def _handle(self, request: Request) -> Response:
        return answered("servicequotas", self._answer, request)

    def _answer(self, request: Request) -> dict[str, Any]:
        signature = self._signature(request)
        if signature is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 400)
        operation = request.headers["x-amz-target"].removeprefix(_TARGET)
        if operation not in QUOTAS:
            raise AwsError("UnknownOperationException", f"This mini cloud plays {sorted(QUOTAS)} only.", 404)
        body = object_of(request)
        check("service-quotas", operation, body)
        check_played(operation, QUOTAS[operation], body)
        if body["ServiceCode"] != "sagemaker":
            raise AwsError("NoSuchResourceException", f"There is no service {body['ServiceCode']}.")
        hidden = self.unknown if operation != "ListServiceQuotas" else self.unknown | self.without_value
        every = [one for one in self._every(signature.spot) if one["QuotaName"] not in hidden]
        return piece(body, every, "Quotas")

    def _every(self, spot: Spot) -> Iterator[dict[str, Any]]:
        for kind, shape in _SHAPES.items():
            for number, instance in enumerate(service_model("sagemaker").shape_for(shape).enum):
                code = f"L-{kind[:1].upper()}{number:07d}"
                yield {
                    "ServiceCode": "sagemaker",
                    "ServiceName": "Amazon SageMaker",
                    "QuotaArn": f"arn:aws:servicequotas:{spot.region}:{spot.account}:sagemaker/{code}",
                    "QuotaCode": code,
                    "QuotaName": f"{instance} for {kind} usage",
                    "Value": float(self._world.quota(instance)),
                    "Unit": "None",
                    "Adjustable": True,
                    "GlobalQuota": False,
                }
