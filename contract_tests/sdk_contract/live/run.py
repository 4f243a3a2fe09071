"""The live run: refuse what the budget cannot pay, stop when it is used up, and leave nothing behind."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from sdk.adapter import change_times
from sdk.cli.signals import Raising
from sdk.client.temporary_endpoints import Passing, TemporaryRecords
from sdk.errors import ConfigError, Interrupted
from sdk.util.exchanges import listening
from sdk.util.waiting import SystemClock

from ..samples import Samples
from .ending import Ending, shielded
from .life import STAGES, Life
from .money import DELETE_S, Meter, MeteredClock
from .report import Report, Step, told
from .shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sdk.adapter import Clock
    from sdk.client import Client
    from sdk.executor import Event, Plan

    from .life import Stage
    from .report import Outcome

    MakeClient: TypeAlias = "Callable[[Clock, Callable[[Event], None]], Client]"

LEAST_S = 900.0  # enough to create, change and delete an endpoint on the fastest cloud


class _Unproved(Exception):
    """Something may be left."""


class LiveRun:
    """One live run.

    Args:
        make_client: Makes the client of the target from its clock and a listener for progress.
        budget_usd: Dollars that the run may cost.
        folder: For files of the run.
        clock: The source of time.
        say: Shows a line to the user.
        samples: The models.
        stages: The steps.
    """

    def __init__(
        self,
        make_client: MakeClient,
        budget_usd: float,
        folder: Path,
        *,
        clock: Clock | None = None,
        say: Callable[[str], None] = print,
        samples: Samples | None = None,
        stages: Sequence[Stage] = STAGES,
    ) -> None:
        if not 0 < budget_usd < float("inf"):
            raise ConfigError(f"budget-usd = {budget_usd:g} is not above 0", hint="name what the run may cost")
        clock = clock or SystemClock()
        self.meter, self.shapes = Meter(clock, budget_usd), Shapes()
        self.clock = MeteredClock(clock, self.meter)
        self.client = make_client(self.clock, self._progress)
        self._say, self._stages = say, stages
        run = self.client.session().new_txn()
        names = f"live-{run}", f"livejob-{run}"
        self.life = Life(self.client, self.clock, self.meter, samples or Samples(), *names, folder)
        self._run, self._stage = run, ""

    # --- before -------------------------------------------------------------------------------------------------

    def check(self) -> Report:
        """Refuse a run that must not start; nothing is created.

        Raises:
            ConfigError: `doctor` reports a problem, a price is unknown, or the budget is too small.
        """
        session = self.client.session()
        checks = self.client.doctor(target=session.target)[session.target]
        for one in checks:
            self._say(f"doctor: {'ok  ' if one.ok else 'FAIL'} {one.name}: {one.detail}")
        if bad := [one for one in checks if not one.ok]:
            hint = "; ".join(one.hint or one.detail for one in bad)
            raise ConfigError(f"doctor finds {', '.join(one.name for one in bad)} missing", hint=hint)
        plan = self.client.plan(**self.life.deploying(1))
        hourly, budget = plan.usd_per_hour.peak, self.meter.budget_usd
        if hourly is None or self._job_price() is None:
            raise ConfigError(
                "the price of the endpoint or of the job is unknown, so no budget can be kept",
                hint="run `mlport prices refresh`, or set an instance whose price is known",
            )
        least, times = hourly * (LEAST_S + DELETE_S) / 3600, change_times(session.adapter)
        most = 2 * hourly * (2 * times.deploy_s + times.undo_s) / 3600
        self._say(f"expected: at least ${least:.2f}, at most about ${most:.2f}; the budget of ${budget:.2f} stops it")
        if least > budget:
            raise ConfigError(
                f"the run costs ${least:.2f} at least, budget-usd is ${budget:.2f}",
                hint="raise the budget, or set a cheaper instance",
            )
        return Report(session.provider, None, session.adapter.service_host().billed, budget)

    def _job_price(self) -> float | None:
        """Return the maximum price of an hour of the job; 0 where nothing is trained."""
        trains = next((stage for stage in self._stages if stage.name == "train"), None)
        if trains is None or not self.life.can(*trains.needs):
            return 0.0
        plan: Plan = self.client.train(**self.life.training(), dry_run=True)
        return plan.usd_per_hour.peak

    # --- the whole ----------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Carry out the whole run and close the client; call it in the main thread, where signals arrive.

        Raises:
            ConfigError: It must not start; nothing was created.
        """
        with self.client:
            return self._carry_out()

    def _carry_out(self) -> Report:
        report = self.check()
        session, life = self.client.session(), self.life
        passing = [Passing(session.target, life.endpoint)]  # a job that a SIGKILL leaves ends at its own time limit
        records = TemporaryRecords(self.client.settings.state_dir.value)
        ending = Ending(life, self._say)
        shared = ending.shared()
        kept = records.kept(self._run, passing)
        with contextlib.suppress(_Unproved), Raising(), listening(self.shapes.add), kept:
            try:
                self._lead(report)
            finally:
                with shielded(self._say):
                    ending.clean(report)
                    report.kept = ending.shared() - shared
            if report.left or not report.proved:
                raise _Unproved  # the record stays, so that `gc` finishes the work
        report.usd, report.answers, report.instance = self.meter.usd, self.shapes.to_dict(), life.instance
        report.made = Counter(life.made)
        return report

    def _lead(self, report: Report) -> None:
        """Run the steps; stop after a vital one has failed."""
        for stage in self._stages:
            step = Step(stage.name)
            report.steps.append(step)
            if not self.life.can(*stage.needs):
                step.outcome = "skipped"
                continue
            try:
                self._timed(step, stage)
            except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  # library errors belong in the report
                step.outcome = report.outcome = self._outcome(error)
                step.error = told(error)
                self._say(f"{stage.name}: {step.outcome}: {error or type(error).__name__}")
                if stage.vital or step.outcome != "failed":
                    return

    def _timed(self, step: Step, stage: Stage) -> None:
        begin, usd = self.clock.monotonic(), self.meter.usd
        self._say(f"{stage.name} ...")
        try:
            self.clock.check()
            step.facts = stage.do(self.life)
            self.clock.check()
        finally:
            step.seconds, step.usd = self.clock.monotonic() - begin, self.meter.usd - usd
            self._say(f"{stage.name}: {step.seconds:.0f} s, ${step.usd:.4f}; ${self.meter.usd:.4f} so far")

    def _outcome(self, stop: BaseException) -> Outcome:
        if self.meter.spent:
            return "budget used up"
        return "stopped" if isinstance(stop, KeyboardInterrupt | Interrupted) else "failed"

    def _progress(self, event: Event) -> None:
        if event.stage != self._stage:  # an upload reports each percent
            self._stage = event.stage
            self._say(f"  {event}")
        self.clock.check()
