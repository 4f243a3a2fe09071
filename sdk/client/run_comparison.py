"""The execution of a comparison: deploys in parallel, measures in turns, and deletes in any case."""

from __future__ import annotations

import contextlib
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from ..compare.comparison import Comparison
from ..compare.cost import training_cost
from ..compare.load import Generator
from ..compare.measure import Bench, Stop
from ..compare.measured import Measured
from ..compare.result import Effort, Place, Row
from ..compare.rows import fill, pairs
from ..compare.score import automation, score
from ..compare.subject import side_by_side
from ..compare.traffic import Traffic
from ..errors import NotFoundError, SdkError
from ..executor import Event
from ..packaging.model import Model
from .candidates import DELETE_S, Candidate, Outlook, candidate, check_budget, outlook, price_of, spread, wanted_of
from .comparison_inputs import Listed, payloads_of, subject_of
from .temporary_endpoints import Passing, TemporaryRecords

__all__ = ["Comparing", "wanted_of"]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Generator as Yields

    from ..adapter import Clock
    from ..util.waiting import StoppableClock
    from .comparison_request import ComparisonRequest
    from .deploy import ChangeVerbs
    from .endpoint import Endpoint
    from .session import Session

_STEPS = ("create ", "update ", "switch ", "replace ")  # stages that make or change something on the platform

_NO_SHARE = "the share above the confidence is unknown: the answers are not probabilities; deploy predict_proba"


@dataclass
class Running:
    """A candidate during the comparison, with its own client and its row of results."""

    candidate: Candidate
    client: ChangeVerbs
    clock: StoppableClock
    row: Row
    asked_at: float = 0.0
    gone_at: float | None = None
    steps: set[str] = field(default_factory=set[str])

    def usd(self, now: float) -> float:
        """Return the cost until now; an unknown price counts as 0."""
        until = now if self.gone_at is None else self.gone_at
        return (self.candidate.usd_per_hour or 0.0) * max(0.0, until - self.asked_at) / 3600


class Comparing:
    """One comparison.

    Args:
        client: The client that the comparison was started on.
        ask: The arguments of the comparison.
    """

    def __init__(self, client: ChangeVerbs, ask: ComparisonRequest) -> None:
        self._client = client
        self._ask = ask
        self._run = client.session(ask.wanted.targets[0]).new_txn()

    @property
    def _clock(self) -> Clock:
        return self._client.session(self._ask.wanted.targets[0]).clock

    # --- preparation --------------------------------------------------------------------------------------------

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The subjects of the comparison."""
        subject = self._ask.subject
        if isinstance(subject, Model):
            return tuple(self._new(*one) for one in spread(self._ask.wanted))
        return tuple(self._existing(key, endpoint) for key, endpoint in subject.items())

    def _new(self, target: str, instance: str | None, several: bool) -> Candidate:
        session = self._client.session(target)
        hardware = self._ask.hardware.get(target, self._ask.hardware.get(target.partition("@")[0]))
        name = f"cmp-{session.new_txn()}"
        return candidate(session, name, instance, ttl=self._ask.ttl, hardware_usd=hardware, several=several)

    def _existing(self, key: str, endpoint: Endpoint) -> Candidate:
        session = self._client.session(endpoint.target)
        status = endpoint.refresh()
        serving = max(status.deployments, key=lambda one: one.traffic, default=None)
        listed = Listed(session, None if serving is None else serving.instance)
        hardware = self._ask.hardware.get(endpoint.target)
        return Candidate(
            key=key,
            target=endpoint.target,
            name=endpoint.name,
            instance=listed.instance,
            price=price_of(listed.row("inference"), hardware, own=listed.own),
            host=session.adapter.service_host(),
            region=listed.region,
        )

    def outlook(self) -> Outlook:
        """Return the planned deployments with the maximum time and cost."""
        return outlook(self.candidates, self._ask.workload)

    # --- execution ----------------------------------------------------------------------------------------------

    def run(self) -> Comparison:
        """Run the comparison and return its result.

        Raises:
            ConfigError: The estimate is over the budget, a price is unknown, or there are no payloads.
        """
        ask, look = self._ask, self.outlook()
        check_budget(look, ask.budget_usd, allow_unknown_price=ask.allow_unknown_price)
        payloads = payloads_of(self._client, ask.subject, ask.payloads, ask.labels)
        running = [self._running(one) for one in self.candidates]
        self._lead.tell(Event("compare", look.title))
        try:
            with self._endpoints(running):
                bench, notes = self._measured(running, payloads)
        finally:
            for one in running:
                one.client.close()
        return self._comparison(running, bench, payloads, look, notes)

    def _running(self, one: Candidate) -> Running:
        steps: set[str] = set()

        def passed(event: Event) -> None:
            if event.stage.startswith(_STEPS):
                steps.add(event.stage)
            self._lead.relay(Event(one.key, str(event), event.elapsed_s))

        client, clock = self._client.sibling(one.target, passed)
        session = client.session()
        row = Row(
            key=one.key,
            target=one.target,
            provider=session.provider,
            endpoint=one.name,
            host=one.host.address,
            official=one.host.official,
            billed=one.host.billed,
            region=one.region,
            instance=one.instance,
            price=one.price,
            replicas=_replicas(one),
        )
        return Running(one, client, clock, row, steps=steps)

    @property
    def _lead(self) -> Session:
        """The session that reports the progress of the whole comparison."""
        return self._client.session(self._ask.wanted.targets[0])

    @contextlib.contextmanager
    def _endpoints(self, running: Sequence[Running]) -> Yields[None]:
        """Deploy the endpoints and delete them at the end; a record of them is kept until all are deleted."""
        if not isinstance(self._ask.subject, Model):
            yield
            return
        passing = [] if self._ask.keep else [Passing(one.candidate.target, one.candidate.name) for one in running]
        records = TemporaryRecords(self._client.settings.state_dir.value)
        with records.kept(self._run, passing):
            try:
                self._at_once(running, self._deploy, stopping="stopping: what was begun is undone")
                yield
            finally:
                if not self._ask.keep:
                    self._at_once(running, self._delete)

    def _at_once(self, running: Sequence[Running], step: Callable[[Running], None], *, stopping: str = "") -> None:
        """Run a step for all candidates at the same time.

        Args:
            running: The candidates.
            step: The step.
            stopping: The message when Ctrl-C stops the step; a step without this text continues to its end.
        """
        for one in running:
            one.clock.resume()
        with ThreadPoolExecutor(max_workers=len(running)) as pool:
            try:
                for done in [pool.submit(step, one) for one in running]:
                    done.result()
            except KeyboardInterrupt:
                for one in running:
                    self._lead.tell(Event(one.candidate.key, stopping or "deleting first: nothing may stay behind"))
                    if stopping:
                        one.clock.stop()
                raise

    def _deploy(self, one: Running) -> None:
        wanted, model = one.candidate, self._ask.subject
        if not isinstance(model, Model):
            raise TypeError("endpoints that exist are not deployed")
        begin, one.asked_at = self._clock.monotonic(), self._clock.monotonic()
        try:
            one.client.deploy(
                model, name=wanted.name, instance=wanted.instance, ttl=self._ask.ttl, timeout=self._ask.timeout
            )
        except SdkError as error:
            one.row = msgspec.structs.replace(one.row, failed=f"not deployed: {error.message}")
            return
        took = self._clock.monotonic() - begin
        one.row = msgspec.structs.replace(one.row, deploy_s=took, effort=Effort(len(one.steps), took))

    def _delete(self, one: Running) -> None:
        begin = self._clock.monotonic()
        with contextlib.suppress(NotFoundError):
            one.client.delete(one.candidate.name, timeout=self._ask.timeout)
        one.gone_at = self._clock.monotonic()
        one.row = msgspec.structs.replace(one.row, delete_s=one.gone_at - begin)

    # --- measuring ----------------------------------------------------------------------------------------------

    def _measured(self, running: Sequence[Running], payloads: Sequence[Any]) -> tuple[Bench | None, list[str]]:
        up = [one for one in running if not one.row.failed]
        notes: list[str] = []
        if not up:
            return None, notes
        subjects = [subject_of(one.candidate, one.client) for one in up]
        with contextlib.ExitStack() as stack:
            bench = Bench(
                [stack.enter_context(Generator()) for _ in side_by_side(subjects)],
                self._ask.workload,
                payloads,
                p95_ms=self._ask.p95_ms,
                clock=self._clock,
                progress=lambda key, text: self._lead.tell(Event(key, text)),
                go_on=lambda: self._spend(running),
            )
            try:
                bench.run(subjects)
            except Stop as stop:
                notes.append(f"stopped early: {stop}")
        for one in up:
            one.row = self._scored(one, payloads)
        return bench, notes

    def _spend(self, running: Sequence[Running]) -> None:
        now = self._clock.monotonic()
        hourly = sum(one.candidate.usd_per_hour or 0.0 for one in running)
        spent = sum(one.usd(now) for one in running)
        if spent + hourly * DELETE_S / 3600 > self._ask.budget_usd:
            raise Stop(f"${spent:.2f} of the budget of ${self._ask.budget_usd:.2f} are spent, the rest is for deleting")

    def _scored(self, one: Running, payloads: Sequence[Any]) -> Row:
        """Return the row with the scores of the answers and the cost of training, where these were requested."""
        row, ask = one.row, self._ask
        if ask.labels is not None or ask.confidence is not None:
            answers: list[Any] = []
            for payload in payloads:
                answers += one.client.predict(one.candidate.name, payload).values
            scored = None if ask.labels is None else score(answers, ask.labels)
            share = None if ask.confidence is None else automation(answers, ask.labels, ask.confidence)
            flags = (*row.flags, _NO_SHARE) if ask.confidence is not None and share is None else row.flags
            row = msgspec.structs.replace(row, score=scored, automation=share, flags=flags)
        if ask.train_hours is not None and row.instance is not None:
            listed = Listed(one.client.session(), row.instance)
            price = price_of(listed.row("training"), ask.hardware.get(row.target), own=listed.own)
            row = msgspec.structs.replace(row, training=training_cost(price, row.instance, ask.train_hours))
        return row

    # --- result -------------------------------------------------------------------------------------------------

    def _comparison(
        self,
        running: Sequence[Running],
        bench: Bench | None,
        payloads: Sequence[Any],
        look: Outlook,
        notes: Sequence[str],
    ) -> Comparison:
        ask, now = self._ask, self._clock.monotonic()
        found, rules = ({}, ask.workload.rules) if bench is None else (bench.found, bench.rules)
        traffic = None if ask.traffic_per_month is None else Traffic.of(ask.traffic_per_month, ask.profile)
        rows = [fill(one.row, found.get(one.row.key, Measured()), rules) for one in running]
        known = all(one.candidate.usd_per_hour is not None for one in running)
        subject = ask.subject
        return Comparison(
            created=datetime.fromtimestamp(self._clock.time(), UTC).isoformat(timespec="seconds"),
            model=f"{subject.name} {subject.digest[:12]}" if isinstance(subject, Model) else ", ".join(subject),
            payload=f"{len(payloads)} payloads in turn",
            place=Place(platform.node(), platform.platform(terse=True), os.cpu_count() or 0, version("mlport")),
            p95_ms=ask.p95_ms,
            traffic=traffic,
            headroom=ask.headroom,
            workload=ask.workload,
            rows=tuple(rows),
            pairs=tuple(pairs(found, rules)),
            estimated_usd=look.usd,
            spent_usd=sum(one.usd(now) for one in running) if known else None,
            notes=tuple(notes),
        ).judged()


def _replicas(one: Candidate) -> tuple[int, int]:
    return (1, 1) if one.order is None else (one.order.replicas.min, one.order.replicas.max)
