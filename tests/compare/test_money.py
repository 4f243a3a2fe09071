"""What a comparison may cost: estimated first, asked for, watched, and counted."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk.errors import ConfigError
from sdk.packaging.model import Model, model
from sdk.util.waiting import SystemClock
from tests.compare.rented import SMALL, TRAINING
from tests.compare.test_whole import SHORT, double

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.executor import Event

RENTED = {"provider": "tests.compare.rented:Rented", "instance": "small"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    env = {**os.environ, "MLPORT_STATE_DIR": str(tmp_path_factory.mktemp("state"))}
    with Client({"default": "rented", "target": {"rented": RENTED}}, env=env) as one:
        yield one


@pytest.fixture(scope="module")
def doubling(client: Client) -> Model:
    del client  # its state folder is where the model goes
    return model(double, name="double", example=[[1.0], [2.5]])


def test_the_estimate_holds_provisioning_and_deleting(client: Client, doubling: Model) -> None:
    """All that runs is paid from the first call to the last deletion; a dearer estimate follows the price."""
    look = client.compare(doubling, workload=SHORT, dry_run=True)
    assert 900 + 300 < look.seconds
    assert look.seconds * SMALL / 3600 == pytest.approx(look.usd)
    assert "at most 5.1 minutes of measuring, besides deploying and deleting (up to 20 minutes on a cloud)" in str(look)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"budget_usd": 0.5}, r"may cost \$\d+\.\d\d, budget_usd is \$0\.50", "raise budget_usd"),
        ({"instances": {"rented": "mystery"}}, "price of rented is unknown", "allow_unknown_price=True"),
    ],
)
def test_nothing_is_made_when_it_may_cost_too_much(
    client: Client, doubling: Model, arguments: dict[str, Any], message: str, hint: str
) -> None:
    """Over the budget, or without a price to hold against it: refused before anything runs."""
    with pytest.raises(ConfigError, match=message) as refused:
        client.compare(doubling, workload=SHORT, **arguments)
    assert hint in str(refused.value.hint)
    assert [] == client.list()


def test_an_unknown_price_can_be_allowed(client: Client, doubling: Model) -> None:
    """It is measured all the same, and every sum of money that depends on it is unknown, not 0."""
    found = client.compare(
        doubling, instances={"rented": "mystery"}, workload=SHORT, allow_unknown_price=True, traffic_per_month=1e6
    )
    assert "" == found.rows[0].failed
    assert (None, None, None) == (found.estimated_usd, found.spent_usd, found.rows[0].cost.usd_per_month)
    assert [] == client.list()


def test_what_was_kept_is_left_and_counted(client: Client, doubling: Model) -> None:
    """``keep`` leaves the endpoint with its ttl; the money until then and what training costs are in the result."""
    found = client.compare(doubling, workload=SHORT, keep=True, ttl="2h", train_hours=2.0)
    row = found.rows[0]
    assert (SMALL, "quoted") == (row.price.amount, row.price.status)
    assert row.training is not None
    assert 2 * TRAINING == pytest.approx(row.training.usd)
    assert 0 < (found.spent_usd or 0) < (found.estimated_usd or 0)
    (left,) = client.list()
    assert row.endpoint == left.name
    assert (left.created_at or 0.0) + 7000 < (left.expires_at or 0.0)
    assert [] == client.gc().orphans, "what was kept on purpose is no waste"
    assert [5.0] == list(client.predict(left.name, [[2.5]]).values)
    client.delete(left.name)


class Skipping(SystemClock):
    """The clock of this machine; somebody may let hours pass."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def monotonic(self) -> float:
        """Seconds, with those that were skipped."""
        return super().monotonic() + self.skipped


def test_it_stops_when_the_money_is_spent(tmp_path: Path, doubling: Model) -> None:
    """When everything takes longer than estimated, what is left of the budget is kept for deleting."""
    clock = Skipping()

    def told(event: Event) -> None:
        if "run 1 of" in event.detail:
            clock.skipped = 7200.0

    env = {**os.environ, "MLPORT_STATE_DIR": str(tmp_path)}
    with Client({"default": "rented", "target": {"rented": RENTED}}, env=env, clock=clock, progress=told) as client:
        found = client.compare(doubling, workload=SHORT, budget_usd=2.0)
        assert [note for note in found.notes if "stopped early: $7.2" in note and "budget of $2.00" in note]
        assert [] == client.list()


CONFIG = """
default = "rented"
[target.rented]
provider = "tests.compare.rented:Rented"
instance = "small"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as a user has it."""
    (tmp_path / "mlport.toml").write_text(CONFIG)
    (tmp_path / "mine.py").write_text("def double(rows):\n    return [2 * row[0] for row in rows]\n")
    return tmp_path


@pytest.mark.parametrize(("terminal", "said"), [(True, "go on? [y/N]"), (False, "give --yes")])
def test_the_command_asks_before_it_spends(project: Path, terminal: bool, said: str) -> None:
    """Without a yes nothing is made; where nobody can be asked, --yes is needed."""
    env = {**os.environ, "MLPORT_STATE_DIR": str(project / "state"), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-m", "sdk", "config", "trust"], cwd=project, env=env, check=True, capture_output=True
    )
    mine, theirs = pty.openpty()
    os.write(mine, b"n\n")
    done = subprocess.run(
        [sys.executable, "-m", "sdk", "compare", "mine:double"],
        cwd=project,
        stdin=theirs if terminal else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    os.close(mine)
    os.close(theirs)
    assert 2 == done.returncode, done.stderr
    assert "at most:" in done.stderr
    assert said in done.stderr + done.stdout
    assert [] == list((project / "state" / "endpoints").glob("*"))
