"""One run over this machine and a mini cloud: its own signing, its own prices, and nothing billed left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sdk.client import Client
from sdk.packaging.model import model
from sdk_contract.clouds import mini_cloud
from tests.compare.test_whole import SHORT, double

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.full
def test_this_machine_and_a_mini_azure(tmp_path: Path) -> None:
    """The same model on both; requests carry Azure's own key, the price comes from its table, the money is counted."""
    with mini_cloud("azureml", runner="process", folder=tmp_path / "azure") as azure:
        settings = azure.settings  # type: ignore[attr-defined]  # this cloud has them
        targets = {
            "here": {"provider": "local"},
            "azure": {"provider": "sdk_azureml:AzureMLAdapter", **settings, "instance": "Standard_DS2_v2"},
        }
        env = {**os.environ, **azure.env, "MLPORT_STATE_DIR": str(tmp_path / "state")}
        with Client({"default": "here", "target": targets}, env=env) as client:
            found = client.compare(
                model(double, name="double", example=[[1.0], [2.5]]), targets=["here", "azure"], workload=SHORT
            )
        there = found.row("azure")
        assert ["", ""] == [row.failed for row in found.rows]
        assert [{}, {}] == [row.errors for row in found.rows]
        assert (0.136, "quoted", "westeurope") == (there.price.amount, there.price.status, there.region)
        assert 99.28 == pytest.approx(there.cost.idle_usd_per_month)
        assert (False, False) == (there.official, there.billed)
        assert there.host == found.row("azure").host == azure.settings["endpoint"].partition("://")[2]  # type: ignore[attr-defined]  # see above
        assert (0.0, 0.0) == (found.spent_usd, found.estimated_usd)
        assert "here" == (found.best.key if found.best else "here")
        assert "nothing was billed for this comparison" in str(found)
        running = [item for item in azure.inventory() if item.startswith(("endpoint", "deployment", "process"))]
        assert [] == running
