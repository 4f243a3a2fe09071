"""Answers of another shape than expected end in our errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_sagemaker import SagemakerAdapter
from sdk_sagemaker.options import SagemakerOptions
from tests.mutating import Mutator, survive

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/mlport"


class Session:
    """What botocore sends with, with answers changed on the way."""

    def __init__(self, inner: Any, mutator: Mutator) -> None:
        self._inner, self._mutator = inner, mutator

    def send(self, request: Any) -> Any:
        """One request."""
        file = request.stream_output
        response = self._inner.send(request)
        if not file:
            response._content = self._mutator(response.content)
        return response

    def close(self) -> None:
        """Let go of the connections."""
        self._inner.close()


def test_answers_of_another_shape(place: Any, tmp_path: Path) -> None:
    client, mutator = place.client(instance="ml.m5.large"), Mutator()
    client.deploy(place.samples.model(1), name="shapes")

    def make() -> SagemakerAdapter:
        options = SagemakerOptions(region="us-east-1", instance="ml.m5.large", role=ROLE)
        adapter = SagemakerAdapter(options, AdapterContext("aws", "me", tmp_path, SystemClock(), Redactor()))
        for service in ("sagemaker", "s3", "ecr", "logs", "cloudwatch", "resourcegroupstaggingapi"):
            endpoint = vars(adapter.aws.client(service))["_endpoint"]
            endpoint.http_session = Session(endpoint.http_session, mutator)
        return adapter

    wrong = survive(mutator, make, "shapes", 12)
    assert [] == wrong, "\n".join(wrong)
    client.delete("shapes")
