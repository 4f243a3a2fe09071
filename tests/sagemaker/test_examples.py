"""The examples on the mini cloud, as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests import examples

if TYPE_CHECKING:
    from pathlib import Path


@examples.each
def test_examples_run_unchanged(place: Any, tmp_path: Path, example: str) -> None:
    """With only ``MLPORT_TARGET`` switched an example ends well, says once where it ran, and leaves nothing."""
    config = f'[target.sagemaker]\nprovider = "sagemaker"\nbase = "{place.base}"\n'
    said = examples.run(example, tmp_path, config, {"MLPORT_TARGET": "sagemaker"}, timeout=600)
    assert 1 == said.count("use the mini cloud at")
    assert [] == [one for one in place.cloud.inventory() if one.startswith(("endpoint", "model", "process"))]
