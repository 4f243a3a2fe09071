"""Answers of another shape than expected end in our errors."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import AzureMLAdapter, AzureMLOptions
from tests.mutating import Mutator, Transport, survive

if TYPE_CHECKING:
    from pathlib import Path


def test_answers_of_another_shape(client: Any, cloud: Any, samples: Any, tmp_path: Path) -> None:
    mutator = Mutator()
    client.deploy(samples.model(1), name="shapes")

    def make() -> AzureMLAdapter:
        options = AzureMLOptions.model_validate({"instance": "Standard_DS2_v2", **cloud.settings})
        network = httpx.HTTPTransport(verify=ssl.create_default_context(cafile=cloud.tls.ca_file))
        transport = Transport(network, mutator)
        return AzureMLAdapter(options, AdapterContext("t", "me", tmp_path, SystemClock(), Redactor(), transport))

    wrong = survive(mutator, make, "shapes", 12)
    assert [] == wrong, "\n".join(wrong)
    client.delete("shapes")
