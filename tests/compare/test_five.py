"""One run of the example compares all five targets; the three clouds answer as late as they were told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.compare.comparison import Comparison
from sdk_contract.docker_rig import require_engine
from tests.clouds.rigs import AzureML, Sagemaker, Vertex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk_contract.rig import Rig

EXAMPLE = Path(__file__).parents[2] / "examples" / "compare.py"
TARGETS = ("local", "docker", "sagemaker", "vertex", "azureml")
LATE = {"sagemaker": ("InvokeEndpoint", 0.02), "vertex": ("RawPredict", 0.04), "azureml": ("Score", 0.08)}  # seconds


def write(folder: Path, targets: Mapping[str, Mapping[str, Any]]) -> None:
    """The project file of a team that has all five."""
    tables = [
        "\n".join([f"[target.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())])
        for name, settings in targets.items()
    ]
    (folder / "mlport.toml").write_text("\n\n".join(['default = "local"', *tables]) + "\n")


@pytest.mark.full
@pytest.mark.docker
def test_all_five_in_one_run(tmp_path: Path) -> None:
    """Each is deployed, measured, scored, priced and deleted; a cloud that answers late is shown to."""
    require_engine().close()
    rigs: dict[str, Rig] = {}
    with ExitStack() as stack:
        for one in (Sagemaker(tmp_path / "s"), Vertex(tmp_path / "v"), AzureML(tmp_path / "a")):
            rigs[one.adapter.provider] = stack.enter_context(one)
        own = {"local": {"provider": "local"}, "docker": {"provider": "docker", "base": "debian-packages"}}
        write(tmp_path, {**own, **{name: {"provider": name, **rig.settings()} for name, rig in rigs.items()}})
        clouds: dict[str, Any] = {name: rig.cloud for name, rig in rigs.items()}  # type: ignore[attr-defined]  # minis
        for name, (operation, seconds) in LATE.items():
            clouds[name].faults.add(operation, "slow", times=10**9, seconds=seconds)
        env = {**os.environ, **{key: value for cloud in clouds.values() for key, value in cloud.env.items()}}
        env["MLPORT_STATE_DIR"] = str(tmp_path / "state")
        trust = [sys.executable, "-m", "sdk", "config", "trust"]  # the file says where to connect
        subprocess.run(trust, cwd=tmp_path, env=env, check=True, capture_output=True)
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), *TARGETS], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stderr[-3000:]
        assert {name: [] for name in rigs} == {name: rig.left() for name, rig in rigs.items()}
    check(Comparison.load(tmp_path / "comparison.json"), done.stdout)
    assert (tmp_path / "comparison.html").stat().st_size < 1_500_000


def check(found: Comparison, table: str) -> None:
    """What the run says."""
    assert sorted(TARGETS) == sorted(row.key for row in found.rows)
    for row in found.rows:
        assert ("", {}) == (row.failed, row.errors), row.key
        assert row.score is not None
        assert 0.9 < row.score.value <= 1.0, "the same model everywhere"
        assert row.key in table
        assert row.price.amount, f"{row.key}: {row.price}"
    assert 1 == len({row.score for row in found.rows})
    median = {row.key: row.ms("p50") or 0.0 for row in found.rows}
    for name, (_, seconds) in LATE.items():
        assert 1000 * seconds < median[name], median
    slower = [(pair.one, pair.other) for pair in found.pairs if (pair.difference.low or 0.0) > 0]
    slower += [(pair.other, pair.one) for pair in found.pairs if (pair.difference.high or 0.0) < 0]
    assert {("azureml", "local"), ("azureml", "sagemaker")} <= set(slower)
    assert 0 < (found.spent_usd or 0) < (found.estimated_usd or 0) < 2.0
