"""What an adapter declares about itself, and its planning, which makes no call."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sdk import adapter as protocol
from sdk.adapter import Capability, DeploymentSpec, EndpointSpec, Kind, Labels, Limits, Live, Nature, Ref, Resource

from .spy import effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdk.adapter.types import DeploymentStatus

    from .rig import Rig

ROLES = {
    Capability.TRAIN: protocol.Trains,
    Capability.METRICS: protocol.Monitors,
    Capability.LOGS: protocol.StreamsLogs,
    Capability.LEASE: protocol.Leases,
}
LONGEST = "a23456789-123456789-123"
CANARY = "CANARY-7f2c91d4"
_TAG = re.compile(r"[a-z0-9_-]{0,63}")


def deployment(rig: Rig, n: int = 1, **changed: Any) -> DeploymentSpec:
    """Return deployment number ``n`` as the core would request it."""
    settings = dict(rig.settings())
    made = DeploymentSpec(
        id=f"d{n:08x}",
        model_name="contract",
        model=f"{n:064x}",
        generation=n,
        image=f"registry.example/contract@sha256:{n:064x}" if rig.can(Capability.IMAGES) else None,
        instance=settings.get("instance"),
    )
    return replace(made, **changed)


def endpoint(
    *deployments: DeploymentSpec, name: str = "contract", owner: str = "contract", **changed: Any
) -> EndpointSpec:
    """Return an endpoint with these deployments, all traffic on the last one."""
    newest = deployments[-1]
    labels = Labels(name, owner, "t123456789", newest.generation, newest.model[:32], expires_at=1_900_000_000)
    traffic = {item.id: 100 if item is newest else 0 for item in deployments}
    return replace(EndpointSpec(name, deployments, traffic, labels), **changed)


def alive(resources: Sequence[Resource]) -> list[Live]:
    """Return the resources as a platform would show them once they are ready."""
    return [
        Live(
            r.kind, r.id, "ready", spec=r.spec, labels=replace(r.labels, spec=r.hash[:32]), etag="1", created_at=1e9,
            parents=r.parents, usd_per_hour=r.usd_per_hour,
        )
        for r in resources
    ]  # fmt: skip


class CapabilitiesSuite:
    """Declarations match the implementation; planning is pure."""

    def test_every_capability_is_declared(self, rig: Rig) -> None:
        """Each member of Capability is supported, or declared with a reason why not."""
        for options in (None, rig.options()):
            declared = rig.adapter.capabilities(options)
            assert set(Capability) == set(declared)
            for capability, support in declared.items():
                assert support.ok == (support.reason == ""), f"{capability}: {support}"
                assert support.ok or support.text, f"{capability} is unsupported without a word of explanation"

    def test_declared_is_implemented(self, rig: Rig) -> None:
        """What is declared has its methods, and existing methods are declared."""
        adapter = rig.make()
        for capability, role in ROLES.items():
            assert rig.can(capability) == isinstance(adapter, role), f"{capability} and {role.__name__} disagree"
        assert not rig.can(Capability.STOP_JOB) or rig.can(Capability.TRAIN)
        assert not rig.can(Capability.DARK_PROBE) or rig.can(Capability.PIN), "a dark deployment needs a way to name it"
        adapter.close()

    def test_signatures_are_those_of_the_protocol(self, rig: Rig) -> None:
        """Every method takes the arguments that the core passes, by the same names."""
        roles = [protocol.Adapter, *(role for role in ROLES.values() if issubclass_of(rig.adapter, role))]
        for role in roles:
            for name, wanted in inspect.getmembers(role, inspect.isfunction):
                if name.startswith("_"):
                    continue
                assert shape(wanted) == shape(getattr(rig.adapter, name)), f"{role.__name__}.{name}"

    def test_class_attributes(self, rig: Rig) -> None:
        """Provider, options and kinds exist; each kind is registered under its own name."""
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", rig.adapter.provider)
        assert issubclass(rig.adapter.Options, protocol.TargetOptions)
        assert rig.adapter.kinds
        for name, kind in rig.adapter.kinds.items():
            assert isinstance(kind, Kind)
            assert name == kind.name
            assert kind.settle_s >= 0

    def test_unknown_settings_are_refused(self, rig: Rig) -> None:
        """A misspelt setting of a target is an error, not a surprise later."""
        with pytest.raises(ValueError, match="instanse"):
            rig.adapter.Options.model_validate({**rig.settings(), "instanse": "x"})

    def test_limits(self, rig: Rig) -> None:
        """The limits of a predict are positive, and are those of the invoker too."""
        adapter = rig.make()
        limits = adapter.limits()
        assert isinstance(limits, Limits)
        assert limits.request_bytes > 1024
        assert limits.timeout_s > 0
        adapter.close()

    def test_where_names_the_target_and_no_credential(self, rig: Rig) -> None:
        """The target's identity is a few short values, the same every time."""
        adapter = rig.make()
        where = adapter.where()
        assert where
        assert where == adapter.where()
        assert all(isinstance(value, str) and len(value) < 200 for value in where.values())
        adapter.close()

    def test_the_service_host_is_known_without_a_call(self, rig: Rig) -> None:
        """A substitute for the platform declares that it is one, and nothing is billed there."""
        adapter = rig.make()
        with effects() as seen:
            host = adapter.service_host()
        assert seen == []
        assert host.address
        assert (rig.official or rig.live) == host.official, f"{host.address} passes for what it is not"
        assert host.official or not host.billed, f"{host.address} is a substitute, and bills nothing"
        assert host == adapter.service_host()
        adapter.close()

    def test_planning_is_pure(self, rig: Rig) -> None:
        """resources() and status() connect to nothing, start nothing and write nothing."""
        adapter = rig.make()
        spec = endpoint(deployment(rig, 1), deployment(rig, 2)) if rig.can(Capability.TRAFFIC) else endpoint(
            deployment(rig)
        )  # fmt: skip
        with effects() as seen:
            adapter.status("contract", alive(adapter.resources(spec)))
        assert seen == []
        adapter.close()

    def test_planning_is_deterministic(self, rig: Rig) -> None:
        """Two adapters, called twice, plan the same ids, specs and parents."""
        first, second = rig.make(), rig.make()
        spec = endpoint(deployment(rig))
        assert list(first.resources(spec)) == list(first.resources(spec))
        assert list(first.resources(spec)) == list(second.resources(spec))
        first.close()
        second.close()

    def test_resources_are_of_declared_kinds_and_in_order(self, rig: Rig) -> None:
        """Each resource has a declared kind and a unique address; the resources it needs come before it."""
        resources = self.plan(rig, endpoint(deployment(rig)))
        assert resources
        refs = [resource.ref for resource in resources]
        assert sorted(set(refs)) == sorted(refs)
        seen: set[Ref] = set()
        for resource in resources:
            assert resource.kind in rig.adapter.kinds
            assert not (set(resource.parents) & set(refs)) - seen, f"{resource.ref} comes before what it needs"
            seen.add(resource.ref)

    def test_everything_is_needed_by_a_root(self, rig: Rig) -> None:
        """From the root kinds the parents lead to every resource, so gc can recognize unused ones."""
        resources = self.plan(rig, endpoint(deployment(rig)))
        parents = {resource.ref: resource.parents for resource in resources}
        reached = {resource.ref for resource in resources if rig.adapter.kinds[resource.kind].root}
        assert resources[-1].ref in reached, "what holds the traffic must be a root"
        frontier = list(reached)
        while frontier:
            new = set(parents.get(frontier.pop(), ())) - reached
            reached |= new
            frontier += new
        assert [] == [str(ref) for ref in parents if ref not in reached]

    def test_specs_are_plain_data(self, rig: Rig) -> None:
        """A spec survives a trip through JSON, so hashes and journals see what the platform gets."""
        for resource in self.plan(rig, endpoint(deployment(rig))):
            assert resource.spec is not None
            assert json.loads(json.dumps(resource.spec, allow_nan=False)) == resource.spec

    def test_ids_fit_and_differ(self, rig: Rig) -> None:
        """With the longest name ids stay legal, and no two deployments share an immutable one."""
        first = self.plan(rig, endpoint(deployment(rig, 1), name=LONGEST))
        second = self.plan(rig, endpoint(deployment(rig, 2), name=LONGEST))
        for resource in [*first, *second]:
            assert re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_./:-]{0,61}[A-Za-z0-9])?", resource.id), resource.id
        assert not self.immutable(rig, first) & self.immutable(rig, second)

    def test_every_setting_of_a_deployment_reaches_a_spec(self, rig: Rig) -> None:
        """A different model, variable or secret name makes a different spec: nothing that was requested is dropped."""
        plain = self.hashes(rig, deployment(rig))
        changes: dict[Capability, dict[str, Any]] = {
            Capability.DEPLOY: {"model": f"{9:064x}"},
            Capability.ENV: {"env": {"CONTRACT_VALUE": "1"}},
            Capability.SECRETS: {"secrets": {"CONTRACT_SECRET": "some-name"}},
            Capability.REPLICAS: {"replicas": protocol.Replicas(2, 2)},
            Capability.RESOURCES: {"resources": protocol.Resources(cpu=1, memory_gib=1)},
        }
        for capability, changed in changes.items():
            if rig.can(capability):
                assert plain != self.hashes(rig, deployment(rig, **changed)), f"{sorted(changed)} changes nothing"

    def test_traffic_reaches_a_mutable_spec(self, rig: Rig) -> None:
        """A different split changes the resource with the traffic; one that cannot change in place gets a new id."""
        rig.need(Capability.TRAFFIC)
        both = (deployment(rig, 1), deployment(rig, 2))
        one = endpoint(*both)
        other = replace(one, traffic={both[0].id: 70, both[1].id: 30})
        before, after = self.plan(rig, one), self.plan(rig, other)
        changed = [new for old, new in zip(before, after, strict=True) if (old.id, old.hash) != (new.id, new.hash)]
        assert changed, "the traffic is in no spec"
        assert [] == [str(r.ref) for r in changed if not self.mutable(rig, r) and r.ref in {old.ref for old in before}]
        assert before[-1].ref in {resource.ref for resource in changed}, "what holds the traffic must come last"

    def test_labels_are_on_everything(self, rig: Rig) -> None:
        """Each resource carries endpoint, owner, transaction and expiry, in text that any platform accepts as a tag."""
        spec = endpoint(deployment(rig), name=LONGEST)
        for resource in self.plan(rig, spec):
            labels = resource.labels
            assert (LONGEST, "contract", "t123456789") == (labels.endpoint, labels.owner, labels.txn), resource.ref
            if rig.adapter.kinds[resource.kind].nature is not Nature.SHARED:
                assert 1_900_000_000 == labels.expires_at, resource.ref
            for key, value in resource.tags.items():
                assert _TAG.fullmatch(key), f"{resource.ref}: {key}"
                assert _TAG.fullmatch(value), f"{resource.ref}: {key}={value}"

    def test_what_is_kept_is_not_made_again(self, rig: Rig) -> None:
        """A kept deployment has the same ids as before, and no spec for resources that cannot change."""
        new = deployment(rig)
        before = self.plan(rig, endpoint(new))
        spec = replace(new, kept=self.status(rig, endpoint(new))[0], model=new.model[:32])
        after = self.plan(rig, endpoint(spec))
        hashes = {r.ref: r.hash for r in before if not self.mutable(rig, r)}
        assert self.immutable(rig, before) <= {r.ref for r in after}
        assert [] == [str(r.ref) for r in after if r.spec is not None and r.hash != hashes.get(r.ref, r.hash)]

    def test_status_reads_back_what_was_planned(self, rig: Rig) -> None:
        """From the planned resources status() recovers ids, traffic, models, spec hashes and generations."""
        planned = [deployment(rig, 1), deployment(rig, 2)] if rig.can(Capability.TRAFFIC) else [deployment(rig)]
        spec = endpoint(*planned)
        if len(planned) == 2:
            spec = replace(spec, traffic={planned[0].id: 70, planned[1].id: 30})
        found = {item.id: item for item in self.status(rig, spec)}
        assert {item.id for item in planned} == set(found)
        for item in planned:
            status = found[item.id]
            assert spec.traffic[item.id] == status.traffic
            assert item.model[:32] == status.model[:32]
            assert item.spec_hash == status.spec_hash
            assert item.generation == status.generation

    def test_status_of_nothing_is_nothing(self, rig: Rig) -> None:
        """Without live resources there is no endpoint."""
        adapter = rig.make()
        assert adapter.status("contract", []) is None
        adapter.close()

    def test_no_secret_in_a_plan(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A resource contains only the name of a secret, never its value."""
        rig.need(Capability.SECRETS)
        monkeypatch.setenv("CONTRACT_SECRET", CANARY)
        planned = self.plan(rig, endpoint(deployment(rig, secrets={"CONTRACT_SECRET": "CONTRACT_SECRET"})))
        assert CANARY not in repr(planned)

    # --- helpers

    @staticmethod
    def plan(rig: Rig, spec: EndpointSpec) -> list[Resource]:
        adapter = rig.make()
        try:
            return list(adapter.resources(spec))
        finally:
            adapter.close()

    def status(self, rig: Rig, spec: EndpointSpec) -> Sequence[DeploymentStatus]:
        adapter = rig.make()
        try:
            found = adapter.status(spec.name, alive(adapter.resources(spec)))
        finally:
            adapter.close()
        assert found is not None
        assert spec.name == found.name
        return found.deployments

    def hashes(self, rig: Rig, spec: DeploymentSpec) -> set[str]:
        return {resource.hash for resource in self.plan(rig, endpoint(spec))}

    @staticmethod
    def mutable(rig: Rig, resource: Resource) -> bool:
        return rig.adapter.kinds[resource.kind].nature is Nature.MUTABLE

    @staticmethod
    def immutable(rig: Rig, resources: Sequence[Resource]) -> set[Ref]:
        return {r.ref for r in resources if rig.adapter.kinds[r.kind].nature is Nature.IMMUTABLE}


def issubclass_of(adapter: type, role: type) -> bool:
    """Return whether a class has all methods of a protocol."""
    return all(hasattr(adapter, name) for name, _ in inspect.getmembers(role, inspect.isfunction) if name[0] != "_")


def shape(function: Any) -> list[tuple[str, Any, bool]]:
    """Return names, kinds and optionality of the parameters, without ``self`` or ``cls``."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default is p.empty) for p in parameters if p.name not in {"self", "cls"}]
