"""Answers of another shape than expected end in our errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import requests

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_vertex import VertexAdapter
from sdk_vertex.options import VertexOptions
from tests.mutating import Mutator, Transport, survive

if TYPE_CHECKING:
    from pathlib import Path


class Changed(requests.adapters.HTTPAdapter):
    """The connections of Google's library, with answers changed on the way."""

    def __init__(self, mutator: Mutator) -> None:
        self.mutator = mutator
        super().__init__()

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """One request."""
        response = super().send(*args, **kwargs)
        response._content = self.mutator(response.content)
        return response


def test_answers_of_another_shape(place: Any, tmp_path: Path) -> None:
    client, mutator = place.client(), Mutator()
    client.deploy(place.samples.model(1), name="shapes")

    def make() -> VertexAdapter:
        options = VertexOptions(project="mini-project", region="europe-west4")
        transport = Transport(httpx.HTTPTransport(), mutator)
        context = AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor(), transport)
        adapter = VertexAdapter(options, context)
        for service in ("endpoints", "models", "jobs"):
            adapter._control.client(service).transport._session.mount("http://", Changed(mutator))
        return adapter

    wrong = survive(mutator, make, "shapes", 12)
    assert [] == wrong, "\n".join(wrong)
    client.delete("shapes")
