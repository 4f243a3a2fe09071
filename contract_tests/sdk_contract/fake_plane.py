"""The data plane of the fake: predictions without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import httpx

from sdk.adapter import Invoker, Limits, ModelFault, Ref
from sdk.errors import UnavailableError

from .fake_cloud import cloud_named

if TYPE_CHECKING:
    from sdk.adapter.types import EndpointStatus

PIN = "x-fake-deployment"

Predict = Callable[[Sequence[Any]], Sequence[Any]]


def invoker(status: EndpointStatus) -> Invoker:
    """Return the invoker of a fake endpoint; needs :class:`Plane` as the transport."""
    return Invoker(
        url=status.url or "",
        limits=Limits(request_bytes=1_000_000, timeout_s=60.0),
        fault=_fault,
        error=lambda answer: UnavailableError(f"the fake answered {answer.status_code}", status=answer.status_code),
        pin=lambda deployment: {PIN: deployment},
        deployment=lambda answer: answer.headers.get(PIN),
    )


def _fault(answer: httpx.Response) -> ModelFault | None:
    if "x-model-error" not in answer.headers:
        return None
    return ModelFault(answer.status_code, answer.json()["error"], body=answer.text)


class Plane(httpx.BaseTransport):
    """Answers predictions of all fake clouds of one shape; ``models`` maps 32 hex of a digest to its function.

    Shares are exact: a fixed order of a hundred tickets assigns request ``n`` of an endpoint to a deployment.
    """

    def __init__(self, shape: type[Any], models: dict[str, Predict] | None = None) -> None:
        self._shape = shape
        self.models = models or {}
        self._count: dict[str, int] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one prediction."""
        _, cloud_name, name, _ = request.url.path.split("/")
        cloud = cloud_named(cloud_name)
        with cloud.lock:
            cloud.settle()
            weights: dict[str, int] | None = self._shape.serving(cloud, name)
            chosen = request.headers.get(PIN) or self._draw(name, weights)
            model = self._model(cloud, name, chosen)
        if model is None:
            return httpx.Response(503, json={"error": "nobody answers"}, request=request)
        rows = json.loads(request.read())["instances"]
        try:
            predict: Predict = self.models.get(model, _sum)
            answers = predict(rows)
        except Exception as error:  # noqa: BLE001  # every exception of a model is a model error
            headers = {"x-model-error": "1", PIN: str(chosen)}
            return httpx.Response(500, json={"error": str(error)}, headers=headers, request=request)
        return httpx.Response(200, json={"predictions": list(answers)}, headers={PIN: str(chosen)}, request=request)

    def _draw(self, name: str, weights: dict[str, int] | None) -> str | None:
        if not weights:
            return None
        ticket = self._count[name] = (self._count.get(name, -1) + 1) % 100
        ticket = ticket * 37 % 100  # spread evenly
        for deployment, weight in weights.items():
            ticket -= weight
            if ticket < 0:
                return deployment
        return None

    def _model(self, cloud: Any, name: str, deployment: str | None) -> str | None:
        if deployment is None:
            return None
        refs = (Ref("Model", f"{name}-m-{deployment}"), Ref("Deployment", f"{name}/{deployment}"))
        item = next((cloud.items[ref] for ref in refs if ref in cloud.items), None)
        return None if item is None else str(item.spec["model"])


def _sum(rows: Sequence[Any]) -> list[float]:
    totals: list[float] = []
    for row in rows:
        values = cast("list[float]", row) if isinstance(row, list) else [row]
        totals.append(float(sum(values)))
    return totals
