"""What a kind says about itself: what hangs on an endpoint, and what runs twice during an update."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from sdk.adapter import Kind, Labels, Live, Nature, Ref, Resource
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus
from sdk.executor.change import Change
from sdk.executor.gc import Collector, SweepRules
from sdk.executor.plan import Planner
from sdk.util.waiting import Deadline, SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdk.executor import Plan

LABELS = Labels("churn", "me", "t1")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("Endpoint", Nature.MUTABLE, billed=True, root=True, beside=frozenset({"config"})),
        Kind("Target", Nature.IMMUTABLE, tagged=False, attached=True),
        Kind("Rule", Nature.IMMUTABLE, tagged=False, attached=True),
    )
}
ENDPOINT = Ref("Endpoint", "churn")


def endpoint(config: str, weight: int, usd: float | None) -> Resource:
    return Resource("Endpoint", "churn", {"config": config, "weight": weight}, LABELS, (), usd)


def live(resource: Resource) -> Live:
    return Live(
        resource.kind, resource.id, "ready", spec=resource.spec, labels=LABELS, usd_per_hour=resource.usd_per_hour
    )


def planned(before: Resource, after: Resource) -> Plan:
    planner = Planner(KINDS, Change("deploy", "churn", "t2"), [live(before)], "me")
    return planner.plan([([after], None, True)], "here")


@pytest.mark.parametrize(
    ("after", "peak"),
    [(endpoint("c2", 50, 2.0), 3.0), (endpoint("c1", 50, 2.0), 2.0), (endpoint("c2", 50, None), None)],
    ids=["a new fleet", "the same fleet", "unknown"],
)
def test_what_starts_beside_what_runs_is_in_the_peak(after: Resource, peak: float | None) -> None:
    """While an update replaces what runs, both cost; an update in place costs no more than its result."""
    cost = planned(endpoint("c1", 10, 1.0), after).usd_per_hour
    assert (1.0, peak, after.usd_per_hour) == (cost.before, cost.peak, cost.after)


class Platform:
    """Just enough of a platform for a look at what is needed."""

    kinds = KINDS

    def __init__(self, *lives: Live) -> None:
        self.lives = lives

    def server_time(self) -> float:
        return 1e9

    def status(self, name: str, observed: Sequence[Live]) -> EndpointStatus | None:
        if not any(one.ref == ENDPOINT for one in observed):
            return None
        serving = DeploymentStatus("d1", 100, "ready", "", "", 1)
        return EndpointStatus(name, "here", "fake", EndpointState.READY, "", None, (serving,))

    def list(self, deadline: Deadline) -> Sequence[Live]:
        return self.lives

    def read(self, ref: Ref, deadline: Deadline) -> Live | None:
        return next((one for one in self.lives if one.ref == ref), None)

    def observe(self, name: str, deadline: Deadline) -> Sequence[Live]:
        return self.lives


def test_what_hangs_on_an_endpoint_lives_as_long_as_it_does() -> None:
    """Scaling of an endpoint that is there is no waste, nor what hangs on it; when the endpoint goes, both go first."""
    target = Live("Target", "t", "ready", created_at=0.0, parents=(ENDPOINT,))
    rule = Live("Rule", "r", "ready", created_at=0.0, parents=(target.ref,))
    alive = replace(live(endpoint("c1", 100, 1.0)), created_at=0.0)
    expired = replace(alive, labels=replace(LABELS, expires_at=1))
    orphans = {}
    for name, root in (("alive", alive), ("expired", expired)):
        platform: Any = Platform(root, target, rule)
        rules = SweepRules("me", frozenset(), frozenset(), frozenset(), expired=True)
        collector = Collector(platform, cast("Any", platform), rules, "here", Deadline(SystemClock(), 9))
        collector.mark(())
        orphans[name] = [ref.kind for ref in collector.orphans]
    assert {"alive": [], "expired": ["Rule", "Target", "Endpoint"]} == orphans
