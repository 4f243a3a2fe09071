"""A live run starts only if it can be paid, ends when the budget is used up, and deletes whatever happens."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.types import Check
from sdk.errors import ConfigError
from sdk_contract.fake_cloud import CALM, VirtualClock
from sdk_contract.live.life import STAGES, Stage
from sdk_contract.live.money import DELETE_S, BudgetSpent, Meter, MeteredClock
from sdk_contract.live.run import LEAST_S
from tests.live.imaginary import PRICE, Account, Priced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAST = PRICE * (LEAST_S + DELETE_S) / 3600
SLOW = replace(CALM, create_s=1300.0, delete_s=30.0)


def test_a_life_in_virtual_time(tmp_path: Path) -> None:
    """What runs is paid from its plan: the time of the life times the price, and nothing is left."""
    account = Account(tmp_path, replace(CALM, create_s=300.0))
    report = account.run().run()
    assert "ok" == report.outcome, account.said
    assert report.ok
    assert [] == account.left()
    paid = sum(step.usd for step in report.steps)
    assert paid == pytest.approx(report.usd)
    assert PRICE * 300 / 3600 <= report.steps[0].usd <= PRICE * 400 / 3600
    assert 2 * PRICE * 300 / 3600 <= report.steps[2].usd, "both deployments are paid during the change"
    assert report.made["Deployment"] == 2
    assert any("nothing is left" in line for line in account.said)


def test_the_budget_ends_a_wait(tmp_path: Path) -> None:
    """A deploy that takes too long is undone when the budget is used up, and the report says why it ended."""
    account = Account(tmp_path, SLOW)
    report = account.run(LEAST).run()
    assert "budget used up" == report.outcome
    assert ["deploy", "clean up"] == [step.name for step in report.steps]
    assert [] == account.left()
    assert report.proved
    assert not report.ok
    assert report.usd <= LEAST


def test_the_budget_ends_between_steps(tmp_path: Path) -> None:
    """A step that waits for nothing, but lasts, is the last one."""

    def lasting(life: Any) -> dict[str, Any]:
        account.clock.sleep(7200.0)
        return {}

    account = Account(tmp_path)
    stages = [STAGES[0], Stage("lasting", lasting), STAGES[1]]
    report = account.run(LEAST, stages=stages).run()
    assert ["ok", "budget used up", "ok"] == [step.outcome for step in report.steps]
    assert [] == account.left()


@pytest.mark.parametrize(
    ("budget", "instance", "named"),
    [
        (LEAST * 0.99, "big", "budget-usd"),
        (0.0, "big", "budget-usd"),
        (float("nan"), "big", "budget-usd"),
        (100.0, "huge", "price"),
    ],
)
def test_what_cannot_be_paid_does_not_start(tmp_path: Path, budget: float, instance: str, named: str) -> None:
    """Below the least cost, without a budget or a price nothing is asked of the platform that changes it."""
    account = Account(tmp_path)
    with pytest.raises(ConfigError, match=named) as refused:
        account.run(budget, instance=instance).run()
    assert refused.value.hint
    assert [] == [call for call in account.calls if call.startswith(("create", "update"))]


class Unready(Priced):
    """An account on which something is missing."""

    def doctor(self) -> Iterator[Check]:
        yield Check("rights deploy", ok=False, detail="sagemaker:CreateEndpoint is missing", hint="ask for it")


def test_it_does_not_start_where_doctor_fails(tmp_path: Path) -> None:
    """The error names what is missing and how to mend it."""
    account = Account(tmp_path, shape=Unready)
    with pytest.raises(ConfigError, match="rights deploy") as refused:
        account.run().run()
    assert "ask for it" == refused.value.hint
    assert [] == account.calls


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["wait Deployment", "live change", "metrics"])
def test_a_signal_deletes(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """Ctrl-C and SIGTERM in a deploy, an update and between changes leave nothing, and the run says so."""
    account = Account(tmp_path, replace(CALM, create_s=300.0, delete_s=60.0))
    sent: list[str] = []

    def told(line: str) -> None:
        account.said.append(line)
        if moment in line and not sent:
            sent.append(line)
            os.kill(os.getpid(), number)

    account.told = told
    report = account.run().run()
    assert sent, account.said
    assert "stopped" == report.outcome
    assert [] == account.left()
    assert report.proved


def test_a_second_signal_does_not_stop_deleting(tmp_path: Path) -> None:
    """Another Ctrl-C while everything is deleted is answered, and deleting goes on."""
    account = Account(tmp_path, replace(CALM, create_s=300.0, delete_s=60.0))

    def told(line: str) -> None:
        account.said.append(line)
        if "predict ..." in line or line.strip().startswith("retire"):
            os.kill(os.getpid(), signal.SIGINT)

    account.told = told
    report = account.run().run()
    assert "stopped" == report.outcome
    assert [] == account.left()
    assert any("deleting first" in line for line in account.said)


def test_a_failed_step_deletes(tmp_path: Path) -> None:
    """A surprise of a library is in the report by its class, and everything is deleted."""

    def broken(life: Any) -> dict[str, Any]:
        raise KeyError("arn:aws:iam::999988887777:role/planted")

    account = Account(tmp_path)
    report = account.run(stages=[STAGES[0], Stage("broken", broken, vital=True), STAGES[1]]).run()
    assert "failed" == report.outcome
    assert ["ok", "failed", "ok"] == [step.outcome for step in report.steps]
    assert {"class": "KeyError"} == report.steps[1].error
    assert [] == account.left()


def test_other_threads_are_not_stopped() -> None:
    """Only the thread that owns the clock gets the exception, once; then it may wait to clean up."""
    clock = VirtualClock()
    meter = Meter(clock, 1.0)
    metered = MeteredClock(clock, meter)
    meter.set("endpoint", 3600.0)
    with pytest.raises(BudgetSpent):
        metered.sleep(10.0)
    metered.sleep(10.0)
    assert meter.spent
