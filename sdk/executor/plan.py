"""Plans: the calls that a change needs, computed from the live state without changing anything."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..adapter import Labels, Live, Nature, Ref, Resource, Trains, spec_hash
from ..errors import ConflictError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..adapter import Adapter, Kind
    from .change import Change

Action = Literal["create", "update", "delete", "probe"]
_NOBODY = Labels(endpoint="", owner="", txn="")
PROBE = "probe"  # the kind in the ref of a probe step, whose id is the deployment


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan: a mutating call, or a probe.

    ``before`` and ``after`` are spec hashes (``None``: absent), ``usd_per_hour`` the price of the resource while it
    exists (``None``: unknown), ``commit`` marks the point of no return. ``resource`` is the desired version,
    ``previous`` the one to restore when the step is undone. ``detach`` marks a delete that comes before the switch,
    because the platform refuses the switch otherwise: undoing recreates the resource.
    """

    action: Action
    ref: Ref
    before: str | None = None
    after: str | None = None
    usd_per_hour: float | None = 0.0
    summary: str = ""
    commit: bool = False
    resource: Resource | None = None
    previous: Resource | None = None
    parents: tuple[Ref, ...] = ()
    detach: bool = False

    @property
    def retires(self) -> bool:
        """Whether the step is a delete after the switch, which is never undone."""
        return self.action == "delete" and not self.detach

    def to_dict(self) -> dict[str, Any]:
        """Return the step as plain values."""
        return {
            "action": self.action,
            "kind": self.ref.kind,
            "id": self.ref.id,
            "before": self.before,
            "after": self.after,
            "usd_per_hour": self.usd_per_hour,
            "summary": self.summary,
            "commit": self.commit,
        }


@dataclass(frozen=True, slots=True)
class HourlyCost:
    """Dollars per hour before a change, at its peak, and after it; ``None`` where a price is unknown."""

    before: float | None
    peak: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered steps of a change, their cost, and a fingerprint of the state they were computed from."""

    change: Change
    target: str
    steps: tuple[Step, ...]
    fingerprint: str
    usd_per_hour: HourlyCost
    observed: tuple[Live, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether applying the plan makes any mutating call."""
        return any(step.action != "probe" for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        cost = self.usd_per_hour
        return {
            "verb": self.change.verb,
            "name": self.change.name,
            "target": self.target,
            "steps": [step.to_dict() for step in self.steps],
            "usd_per_hour": {"before": cost.before, "peak": cost.peak, "after": cost.after},
            "fingerprint": self.fingerprint,
            "notes": list(self.change.notes),
        }

    def __str__(self) -> str:
        head = f"{self.change.verb} {self.change.name} on {self.target}"
        notes = [f"note: {note}" for note in self.change.notes]
        if not self.steps:
            return "\n".join([f"{head}: nothing to do", *notes])
        width = max(len(str(step.ref)) for step in self.steps)
        lines = [f"{head}:", *(_line(number, step, width) for number, step in enumerate(self.steps, 1))]
        cost = self.usd_per_hour
        lines.append(f"cost: {_usd(cost.before)} now, at most {_usd(cost.peak)} during, {_usd(cost.after)} after")
        return "\n".join([*lines, *notes])


def _line(number: int, step: Step, width: int) -> str:
    commit = "  <- no way back from here" if step.commit else ""
    price = "" if step.usd_per_hour == 0 or step.action in {"probe", "delete"} else f"  {_usd(step.usd_per_hour)}"
    return f"{number:3}. {step.action:<6} {step.ref!s:<{width}}  {step.summary}{price}{commit}".rstrip()


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:.4g}/h"


def total(prices: Iterable[float | None]) -> float | None:
    """Return the sum of the prices, or ``None`` if any is unknown."""
    amount = 0.0
    for price in prices:
        if price is None:
            return None
        amount += price
    return amount


def live_hash(live: Live) -> str | None:
    """Return the spec hash of a live resource, from its spec or its labels; ``None`` if it has neither."""
    if live.spec is not None:
        return spec_hash(live.spec)
    return live.labels.spec or None if live.labels else None


def fingerprint(observed: Iterable[Live]) -> str:
    """Hash the observed state: which resources exist, their state and spec, and their owner and transaction."""
    alive = {"creating", "ready", "updating"}
    rows = [
        [
            live.kind,
            live.id,
            "alive" if live.state in alive else live.state,
            live_hash(live),
            live.labels.owner if live.labels else None,
            live.labels.txn if live.labels else None,
        ]
        for live in observed
    ]
    text = json.dumps(sorted(rows, key=str), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def desired(adapter: Adapter, change: Change) -> list[tuple[Sequence[Resource], str | None, bool]]:
    """Return the resources of every stage, each with its probe and whether it is the commit stage."""
    if change.job is not None:
        if not isinstance(adapter, Trains):
            raise UnsupportedError(f"{adapter.provider} cannot train", capability="train", provider=adapter.provider)
        return [(adapter.job_resources(change.job), None, False)]
    return [(adapter.resources(stage.spec), stage.probe, stage.commit) for stage in change.stages]


class Planner:
    """Plans the steps from the live state to each stage in turn, then deletes what the last stage does not name."""

    def __init__(self, kinds: Mapping[str, Kind], change: Change, observed: Sequence[Live], owner: str) -> None:
        self._kinds = kinds
        self._change = change
        self._owner = owner
        self._observed = observed
        self._live = {live.ref: live for live in observed}
        self._specs: dict[Ref, str | None] = {ref: live_hash(live) for ref, live in self._live.items()}
        self._parents = {ref: live.parents for ref, live in self._live.items()}
        self._prices = {ref: live.usd_per_hour for ref, live in self._live.items()}
        self._images: dict[Ref, Resource | None] = {ref: _image(live) for ref, live in self._live.items()}
        self._steps: list[Step] = []
        self._costs = [total(self._prices.values())]

    def plan(self, stages: Sequence[tuple[Sequence[Resource], str | None, bool]], target: str) -> Plan:
        """Compute the plan.

        Raises:
            ConflictError: A resource of that name belongs to another owner, or has another content than its id says.
        """
        own = [ref for ref, live in self._live.items() if self._kinds[ref.kind].root and self._is_own(live)]
        taken = closure(own, self._parents)  # what an adopted endpoint needs still carries its creator's label
        for live in self._observed:
            if live.ref not in taken:
                self._check_owner(live)
        wanted: set[Ref] = set()
        for resources, probe, commit in stages:
            self._stage(resources, probe, commit=commit)
            wanted = {resource.ref for resource in resources}
        if self._change.job is None:
            self._retire(wanted)
        costs = self._costs
        peak = None if any(cost is None for cost in costs) else max(cost for cost in costs if cost is not None)
        return Plan(
            change=self._change,
            target=target,
            steps=tuple(self._steps),
            fingerprint=fingerprint(self._observed),
            usd_per_hour=HourlyCost(costs[0], peak, costs[-1]),
            observed=tuple(self._observed),
        )

    def _is_own(self, live: Live) -> bool:
        return live.labels is not None and live.labels.owner == self._owner

    def _check_owner(self, live: Live) -> None:
        kind = self._kinds[live.kind]
        if kind.nature is Nature.SHARED or not kind.tagged:
            return
        if live.labels is None:
            raise ConflictError(
                f"{live.ref} exists and was not made by mlport", resource=live.id, hint="use another name"
            )
        if live.labels.owner != self._owner and not self._change.adopt:
            raise ConflictError(
                f"{live.ref} belongs to {live.labels.owner!r}, not to {self._owner!r}",
                resource=live.id,
                holder=live.labels.owner,
                hint="use another name, or take it over with adopt=True",
            )

    def _stage(self, resources: Sequence[Resource], probe: str | None, *, commit: bool) -> None:
        first = len(self._steps)
        wanted = {resource.ref for resource in resources}
        for resource in resources:
            step = self._step(resource)
            if step is None:
                continue
            if step.action == "update" and self._kinds[step.ref.kind].root:
                self._detach(step.ref, wanted)
            self._add(step, resource.usd_per_hour)
        if commit and len(self._steps) > first:
            at = self._switch(first)
            self._steps[at] = replace(self._steps[at], commit=True)
        if probe is not None:
            self._steps.append(Step("probe", Ref(PROBE, probe), summary="must answer a smoke test"))

    def _detach(self, root: Ref, wanted: set[Ref]) -> None:
        """Delete unwanted resources attached to a root, before the update of the root removes what they attach to."""
        hanging = hanging_on(root, self._parents, self._kinds)
        for ref in deletion_order(hanging - wanted, self._parents, self._kinds):
            previous = self._images.pop(ref)
            self._steps.append(
                Step(
                    "delete", ref, self._specs.pop(ref), None, self._prices.pop(ref),
                    "before the update; made again if that fails",
                    resource=Resource(ref.kind, ref.id, None, previous.labels if previous else _NOBODY),
                    previous=previous, parents=self._parents.pop(ref), detach=True,
                )
            )  # fmt: skip

    def _switch(self, first: int) -> int:
        """Return the step of the commit stage that is the point of no return: the first root, else the last step."""
        stage = range(first, len(self._steps))
        roots = [index for index in stage if self._kinds[self._steps[index].ref.kind].root]
        return roots[0] if roots else stage[-1]

    def _step(self, resource: Resource) -> Step | None:
        ref, live = resource.ref, self._live.get(resource.ref)
        if ref not in self._specs:
            if resource.spec is None:
                raise ConflictError(f"{ref} should be there and is not", resource=ref.id, retryable=True)
            return self._make("create", resource, None)
        if resource.spec is None:
            return None
        if self._kinds[ref.kind].nature is Nature.MUTABLE:
            adopted = live is not None and live.labels is not None and live.labels.owner != resource.labels.owner
            if self._specs[ref] == resource.hash and not adopted:
                return None
            return replace(self._make("update", resource, self._specs[ref]), previous=self._images[ref])
        self._check_same(resource, live)
        return None

    def _check_same(self, resource: Resource, live: Live | None) -> None:
        if live is None:
            return
        if live.state == "deleting":
            raise ConflictError(
                f"{live.ref} is being deleted", resource=live.id, retryable=True, hint="try again later"
            )
        if live.labels is not None and live.labels.spec and live.labels.spec != resource.hash[:32]:
            hint = f"choose another name, or delete it first: mlport delete {live.labels.endpoint or live.id}"
            what = f"{live.ref} exists with another content"
            raise ConflictError(what, resource=live.id, holder=live.labels.owner, hint=hint)

    def _make(self, action: Action, resource: Resource, before: str | None) -> Step:
        return Step(
            action,
            resource.ref,
            before,
            resource.hash,
            resource.usd_per_hour,
            resource.summary,
            resource=resource,
            parents=resource.parents,
        )

    def _add(self, step: Step, price: float | None) -> None:
        if self._runs_both(step):
            self._costs.append(total([*self._prices.values(), price]))
        self._steps.append(step)
        self._specs[step.ref] = step.after
        self._parents[step.ref] = step.parents
        self._images[step.ref] = step.resource
        self._prices[step.ref] = price
        self._costs.append(total(self._prices.values()))

    def _runs_both(self, step: Step) -> bool:
        """Check whether the platform starts the new version of an update beside the running one."""
        old, new = step.previous, step.resource
        if old is None or new is None or old.spec is None or new.spec is None:
            return False
        before, after = old.spec, new.spec
        return any(before.get(name) != after.get(name) for name in self._kinds[step.ref.kind].beside)

    def _retire(self, wanted: set[Ref]) -> None:
        needed = closure(wanted, self._parents)
        unwanted = [
            ref for ref in self._specs if ref not in needed and self._kinds[ref.kind].nature is not Nature.SHARED
        ]
        committed = any(step.commit for step in self._steps)
        for ref in deletion_order(unwanted, self._parents, self._kinds):
            live = self._live.get(ref)
            image = self._images[ref]
            labels = image.labels if image else (live.labels if live else None) or _NOBODY
            gone = Resource(ref.kind, ref.id, None, labels)
            step = Step(
                "delete", ref, self._specs[ref], None, self._prices[ref], resource=gone, parents=self._parents[ref],
                previous=image if self._kinds[ref.kind].attached and not self._kinds[ref.kind].tagged else None,
            )  # fmt: skip
            self._steps.append(replace(step, commit=not committed, summary=live.raw if live else ""))
            committed = True
            del self._prices[ref]
            self._costs.append(total(self._prices.values()))


def _image(live: Live) -> Resource | None:
    """Convert a live resource to a resource, so that it can be restored."""
    if live.spec is None:
        return None
    return Resource(live.kind, live.id, live.spec, live.labels or _NOBODY, live.parents, live.usd_per_hour)


def closure(roots: Iterable[Ref], parents: Mapping[Ref, Iterable[Ref]]) -> set[Ref]:
    """Return the roots and everything that they need, directly or indirectly."""
    seen: set[Ref] = set()
    todo = list(roots)
    while todo:
        ref = todo.pop()
        if ref not in seen:
            seen.add(ref)
            todo.extend(parents.get(ref, ()))
    return seen


def hanging_on(root: Ref, parents: Mapping[Ref, Iterable[Ref]], kinds: Mapping[str, Kind]) -> set[Ref]:
    """Return the resources attached to a root, directly or indirectly, such as its scaling."""
    attached = {ref: tuple(of) for ref, of in parents.items() if kinds[ref.kind].attached}
    return {ref for ref in attached if root in closure([ref], attached)}


def deletion_order(refs: Iterable[Ref], parents: Mapping[Ref, Iterable[Ref]], kinds: Mapping[str, Kind]) -> list[Ref]:
    """Return the resources in deletion order: each before those that it needs."""
    rank = {kind: number for number, kind in enumerate(kinds)}
    rest = sorted(refs, key=lambda ref: (-rank.get(ref.kind, 0), ref.id))
    order: list[Ref] = []
    while rest:
        needed = {parent for ref in rest for parent in parents.get(ref, ()) if parent != ref}
        free = next((ref for ref in rest if ref not in needed), rest[0])
        rest.remove(free)
        order.append(free)
    return order
