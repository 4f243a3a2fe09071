"""The examples on the mini cloud, as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import examples

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.clouds.azureml import AzureMLCloud

CONFIG = """
[target.azure]
provider = "azureml"
subscription = "{subscription}"
resource_group = "{resource_group}"
workspace = "{workspace}"
region = "{region}"
instance = "Standard_DS2_v2"
"""


@pytest.mark.full
@examples.each
def test_examples_run_unchanged(cloud: AzureMLCloud, tmp_path: Path, example: str) -> None:
    """With only ``MLPORT_TARGET`` switched an example ends well, says once where it ran, and leaves nothing."""
    said = examples.run(
        example, tmp_path, CONFIG.format(**cloud.settings), {**cloud.env, "MLPORT_TARGET": "azure"}, timeout=900
    )
    assert 1 == said.count("the mini cloud at")
    assert [] == [one for one in cloud.inventory() if one.startswith(("deployment", "endpoint", "process"))]
