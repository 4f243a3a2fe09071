"""The examples on the mini cloud, as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk_contract.clouds.vertex.cloud import PROJECT, REGION
from tests import examples

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.clouds.vertex import VertexCloud

CONFIG = f"""
[target.gcp]
provider = "vertex"
project = "{PROJECT}"
region = "{REGION}"
instance = "n1-standard-2"
"""
KINDS = ("deployed", "endpoint", "model", "process")


@pytest.fixture
def runner() -> str:
    """The quickest one."""
    return "fork"


@pytest.mark.full
@examples.each
def test_examples_run_unchanged(cloud: VertexCloud, tmp_path: Path, example: str) -> None:
    """With only ``MLPORT_TARGET`` switched an example ends well, says once where it ran, and leaves nothing."""
    said = examples.run(example, tmp_path, CONFIG, {**cloud.env, "MLPORT_TARGET": "gcp"}, timeout=900)
    assert 1 == said.count("the mini cloud at")
    assert [] == [one for one in cloud.inventory() if one.startswith(KINDS)]
