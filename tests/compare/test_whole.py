"""The verb on real endpoints of the local target, and what is left when it is killed: nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdk.client import Client
from sdk.compare.comparison import Comparison
from sdk.errors import ConfigError
from sdk.packaging.model import Model, model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.client.candidates import Outlook

SHORT = {
    "runs": 2, "requests": 40, "warm_requests": 50, "warm_s": 0.0, "scenarios": ["single"], "single_requests": 40,
    "rate": 40.0,
}  # fmt: skip
CONFIG = {"default": "here", "target": {"here": {"provider": "local"}, "there": {"provider": "local"}}}


STAGES: set[str] = set()


def double(rows: list[list[float]]) -> list[float]:
    return [2 * row[0] for row in rows]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def client(state: Path) -> Iterator[Client]:
    with Client(CONFIG, env=_env(state), progress=lambda event: STAGES.add(event.stage)) as one:
        yield one


@pytest.fixture(scope="module")
def doubling(state: Path) -> Model:
    return model(double, name="double", example=[[1.0], [2.5]])


def _env(state: Path) -> dict[str, str]:
    return {**os.environ, "MLPORT_STATE_DIR": str(state)}


def test_side_by_side(client: Client, doubling: Model, caplog: pytest.LogCaptureFixture) -> None:
    """Two targets: deployed, measured, scored, priced, and gone."""
    caplog.set_level(logging.INFO, "sdk")
    found: Comparison = client.compare(
        doubling,
        targets=["here", "there"],
        workload=SHORT,
        payloads=[[[1.0], [2.5]], [[3.0]]],
        labels=[2.0, 5.5, 6.0],
        traffic_per_month=1e6,
        hardware={"here": 0.05, "there": 0.06},
        p95_ms=60_000,
    )
    assert ["here", "there"] == [row.key for row in found.rows]
    for row in found.rows:
        assert "" == row.failed
        assert {} == row.errors
        assert 80 == row.requests
        assert (row.deploy_s or 0) > 0
        assert (row.delete_s or 0) > 0
        assert (row.floor_ms or 0) > 0
        assert (row.ms("p50") or 0) > 0
        assert row.served is not None
        assert row.score is not None
        assert "r2" == row.score.name
        assert 0.9 < row.score.value < 1.0  # 5.0 instead of 5.5
    assert {"here", "there"} <= STAGES  # each line of progress names its subject
    made = [line.split(":")[0] for line in caplog.messages if "create Gateway " in line]
    assert ["here", "there"] == sorted(made), "each stage is logged once, with its target"
    assert 0.05 == found.row("here").price.amount
    assert 36.5 == pytest.approx(found.row("here").cost.idle_usd_per_month)
    assert 0.0 == found.spent_usd
    assert [] == client.list(target="here") + client.list(target="there")
    assert [] == client.gc(target="here").orphans + client.gc(target="there").orphans


def test_endpoints_that_exist(client: Client, doubling: Model) -> None:
    """They are measured and left as they are; their model's example is what is sent."""
    endpoint = client.deploy(doubling, name="mine", target="here")
    found = client.compare({"mine": endpoint}, workload=SHORT)
    assert [("mine", None, 80)] == [(row.key, row.deploy_s, row.requests) for row in found.rows]
    assert ["mine"] == [status.name for status in client.list(target="here")]
    endpoint.delete()


def test_what_it_would_do(client: Client, doubling: Model) -> None:
    """A dry run changes nothing, and costs nothing on one's own machine."""
    look: Outlook = client.compare(doubling, targets=["here", "there"], time_budget="2m", dry_run=True)
    assert (0.0, 130.0) == (look.usd, look.measuring_s)
    assert "2 subjects: at most 2.2 minutes of measuring, besides deploying and deleting, for nothing" in str(look)
    with pytest.raises(ConfigError, match="time_budget = 'soon' is not a duration"):
        client.compare(doubling, targets=["here"], time_budget="soon", dry_run=True)
    assert ["here", "there"] == [one.key for one in look.candidates]
    assert [] == client.list(target="here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"payloads": []}, "payloads is empty"),
        ({"labels": [1.0]}, "labels needs payloads"),
        ({"targets": ["here", "here"]}, "names one twice"),
        ({"instances": {"else": "m5"}}, "'else', which is not among the targets"),
        ({"workload": {"run": 1}}, "did you mean 'runs'"),
    ],
)
def test_refused_before_anything_is_made(
    client: Client, doubling: Model, arguments: dict[str, Any], message: str
) -> None:
    """Wrong arguments cost nothing."""
    with pytest.raises(ConfigError, match=message):
        client.compare(doubling, **{"targets": ["here"], **arguments})
    with pytest.raises(ConfigError, match="a str cannot be compared"):
        client.compare("model")  # type: ignore[call-overload]
    assert [] == client.list(target="here")


KILLED = """
import sys
from sdk.client import Client
from sdk.packaging.model import Model
def told(event):
    print(event.detail, flush=True)
with Client({config}, progress=told) as client:
    client.compare(Model.load({path!r}), targets=["here", "there"], ttl="1s", workload={workload})
"""


def _killed(state: Path, packed: Model, when: str) -> None:
    """Starts a comparison in a process of its own and kills it at a certain line of its progress."""
    long = {**SHORT, "requests": 100_000}
    code = KILLED.format(config=CONFIG, path=str(packed.path), workload=long)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=_env(state))
    assert process.stdout is not None
    for line in process.stdout:
        if when in line:
            break
    children = psutil.Process(process.pid).children(recursive=False)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=5)


def _nothing_left(client: Client) -> None:
    for target in ("here", "there"):
        assert [] == client.list(target=target)
        assert [] == client.gc(target=target).orphans


def test_gc_removes_what_a_killed_comparison_made(client: Client, state: Path, doubling: Model) -> None:
    """Killed while it measures: gc on this machine knows at once whose the endpoints were."""
    _killed(state, doubling, "run 1 of")
    left = client.gc(target="here").orphans
    assert ["the run that made it is no more"] == [item.reason for item in left]
    assert [1, 1] == [len(client.gc(target=target, apply=True).removed) for target in ("here", "there")]
    _nothing_left(client)
    assert [] == list((state / "passing").glob("*.json"))


@pytest.mark.full
def test_killed_while_it_deploys(client: Client, state: Path, doubling: Model) -> None:
    """Killed with endpoints half made: the journal ends what was begun, the record what was done."""
    for when in ("create Gateway", "create Process", "create Traffic", "switch Traffic", "warming up"):
        _killed(state, doubling, when)
        for target in ("here", "there"):
            client.gc(target=target, apply=True)
        _nothing_left(client)


class Slow:
    """A model that takes its time to load."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        time.sleep(60)

    def __getstate__(self) -> dict[str, Any]:
        return {"loads": "slowly"}

    def __call__(self, rows: list[list[float]]) -> list[float]:
        return [row[0] for row in rows]


def test_ctrl_c_while_it_deploys_stops_all_deploys(client: Client, state: Path, tmp_path: Path) -> None:
    """Both deploys are undone at once instead of finished first, and the user reads it."""
    slow = model(Slow(), name="slow", example=[[1.0]])
    code = KILLED.format(config=CONFIG, path=str(slow.path), workload=SHORT)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_env(state)
    )
    assert process.stdout is not None
    lines = [next(line for line in process.stdout if "create Process" in line)]
    process.send_signal(signal.SIGINT)
    lines += process.communicate(timeout=50)[0].splitlines()
    assert 2 == lines.count("stopping: what was begun is undone")
    assert 2 == len([line for line in lines if "interrupted" in line])
    assert [] == [line for line in lines if "switch" in line]
    _nothing_left(client)


def test_another_machine_removes_it_by_its_ttl(client: Client, state: Path, doubling: Model) -> None:
    """Without the record and the journal of the machine that made it, the ttl on the endpoint is enough."""
    _killed(state, doubling, "run 1 of")
    for record in (state / "passing").glob("*.json"):
        record.unlink()
    assert len(client.list(target="here")) == 2  # both targets are this machine
    for target in ("here", "there"):
        client.gc(target=target, apply=True, expired=True)
    _nothing_left(client)


def test_kept_and_read_again(tmp_path: Path, client: Client, doubling: Model) -> None:
    """A result is the same after a trip through its file."""
    found = client.compare(doubling, targets=["here"], workload=SHORT, hardware={"here": 0.05})
    found.to_json(tmp_path / "r.json")
    assert found == Comparison.load(tmp_path / "r.json")
    assert "mlport.compare/1" == json.loads((tmp_path / "r.json").read_text())["schema"]
