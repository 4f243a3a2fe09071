"""What is planned for SageMaker: by value, through the verbs of the core, without any call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Capability, DeploymentSpec, Live
from sdk.adapter.prices import read_prices
from sdk.adapter.types import Replicas
from sdk.errors import ConfigError
from sdk.executor import lifecycle
from sdk.executor.plan import Plan, Planner
from sdk_sagemaker import SagemakerOptions, _bodies, _plan, _status
from sdk_sagemaker.options import capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter.types import EndpointStatus
    from sdk.executor.change import Change

PRICES = read_prices(Path(_plan.__file__).with_name("prices.csv"))
ROLE = "arn:aws:iam::123456789012:role/mlport"


class World:
    """A target as far as planning sees it: what is live is what was planned last."""

    def __init__(self, **settings: Any) -> None:
        self.options = SagemakerOptions.model_validate({"role": ROLE, "region": "us-east-1", **settings})
        self.live: dict[Any, Live] = {}
        self.number = 0

    @property
    def status(self) -> EndpointStatus | None:
        return _status.status("churn", list(self.live.values()), "aws", PRICES, "us-east-1")

    def context(self) -> lifecycle.ChangeContext:
        self.number += 1
        able = capabilities(self.options)
        return lifecycle.ChangeContext(
            "churn", "me", f"t{self.number}", split=able[Capability.TRAFFIC].ok, dark=able[Capability.DARK_PROBE].ok
        )

    def deploy(self, n: int, share: int = 100, **changed: Any) -> Plan:
        new = replace(deployment(n), **changed)
        return self.apply(lifecycle.deploy(self.status, new, self.context(), share=share))

    def apply(self, change: Change) -> Plan:
        stages = [(_plan.resources(one.spec, self.options), one.probe, one.commit) for one in change.stages]
        plan = Planner(_plan.kinds(), change, list(self.live.values()), "me").plan(stages, "aws")
        for step in plan.steps:
            if step.action == "delete":
                del self.live[step.ref]
            elif step.resource is not None:
                made = step.resource
                labels = replace(made.labels, spec=made.hash[:32])
                self.live[step.ref] = Live(
                    made.kind, made.id, "ready", raw="InService", spec=made.spec, labels=labels,
                    parents=made.parents, usd_per_hour=made.usd_per_hour,
                )  # fmt: skip
        return plan

    @property
    def endpoint(self) -> Mapping[str, Any]:
        return next(one.spec or {} for one in self.live.values() if one.kind == _plan.ENDPOINT)

    def config(self) -> Any:
        return next(one.spec for one in self.live.values() if one.id == self.endpoint["config"])


def deployment(n: int) -> DeploymentSpec:
    return DeploymentSpec(
        id="", model_name="churn", model=f"{n:032x}" * 2, generation=0, instance="ml.m5.large", usd_per_hour=0.1152
    )


def told(plan: Plan) -> list[str]:
    return [f"{step.action} {step.ref.kind}" for step in plan.steps]


def weights(world: World) -> list[int]:
    return list(world.endpoint["weights"].values())


def test_a_first_deploy() -> None:
    """Image, model, configuration, endpoint; a smoke test; then the traffic, which needs no call but a tag."""
    world = World()
    plan = world.deploy(1)
    assert [
        "create Image",
        "create Model",
        "create EndpointConfig",
        "create Endpoint",
        "probe probe",
        "update Endpoint",
    ] == told(plan)
    assert [False, False, False, False, False, True] == [step.commit for step in plan.steps]
    assert [100] == weights(world)
    assert [100] == list(world.config()["weights"].values())
    assert (0.0, 0.1152, 0.1152) == (plan.usd_per_hour.before, plan.usd_per_hour.peak, plan.usd_per_hour.after)


def test_an_update_makes_one_configuration_and_switches_in_place() -> None:
    """The new set comes up dark with the shares there were; the switch is a change of weights, nothing is started."""
    world = World()
    world.deploy(1)
    plan = world.deploy(2)
    assert [
        "create Image",
        "create Model",
        "create EndpointConfig",
        "update Endpoint",
        "probe probe",
        "update Endpoint",
        "delete EndpointConfig",
    ] == told(plan)
    assert [100, 0] == list(world.config()["weights"].values())
    assert [0, 100] == weights(world)
    dark, switch = (step.resource for step in plan.steps if step.action == "update")
    assert dark is not None
    assert switch is not None
    assert (dark.spec or {})["config"] == (switch.spec or {})["config"]


def test_the_peak_counts_the_fleet_that_is_replaced() -> None:
    """While a new set of two starts beside the one that runs, three instances are paid."""
    world = World()
    world.deploy(1)
    cost = world.deploy(2).usd_per_hour
    assert [0.1152, 0.3456, 0.2304] == [round(one or 0, 6) for one in (cost.before, cost.peak, cost.after)]


def test_the_summary_says_how_many_instances_start() -> None:
    """Who reads the plan sees that a second fleet starts."""
    world = World()
    world.deploy(1)
    plan = world.deploy(2, replicas=Replicas(3, 3))
    assert "4 instances start, beside those that run" in str(plan)


def test_the_third_one_retires_the_first() -> None:
    """The last switch goes to a set without the oldest, with the shares that are wanted, in one call."""
    world = World()
    world.deploy(1)
    world.deploy(2)
    before = dict(world.live)
    plan = world.deploy(3)
    switches = [step for step in plan.steps if step.action == "update"]
    assert [False, True] == [step.commit for step in switches]
    assert [0, 100] == weights(world)
    assert [0, 100] == list(world.config()["weights"].values())
    gone = {ref.kind for ref in before if ref not in world.live}
    assert {_plan.MODEL, _plan.CONFIG} == gone
    assert 1 == sum(ref.kind == _plan.CONFIG for ref in world.live)


@pytest.mark.parametrize("verb", [lifecycle.promote, lifecycle.rollback])
def test_moving_traffic_is_one_call(verb: Any) -> None:
    """Promote and rollback change weights of the endpoint and nothing else."""
    world = World()
    world.deploy(1)
    world.deploy(2, share=10)
    assert [90, 10] == weights(world)
    assert ["update Endpoint"] == told(world.apply(verb(world.status, world.context())))
    assert [100] == [weight for weight in weights(world) if weight]


def test_finalize_leaves_one_of_each() -> None:
    """What has no traffic goes, with its model and the configuration that named it."""
    world = World()
    world.deploy(1)
    world.deploy(2)
    world.apply(lifecycle.finalize(world.status, world.context()))
    assert ["Endpoint", "EndpointConfig", "Image", "Image", "Model"] == sorted(ref.kind for ref in world.live)
    assert [100] == weights(world)


def test_the_same_again_is_no_call() -> None:
    """An identical deploy plans nothing; after a canary neither does setting the share that is there."""
    world = World()
    world.deploy(1)
    assert [] == told(world.deploy(1))


def test_what_was_never_probed_serves_nobody() -> None:
    """An endpoint whose first deploy died is told by its shares: gc can remove it, the next deploy can use it."""
    world = World()
    change = lifecycle.deploy(None, deployment(1), world.context())
    world.apply(replace(change, stages=change.stages[:1]))
    assert [0] == weights(world)
    assert "0" == _bodies.endpoint_tags(_plan.resources(change.stages[0].spec, world.options)[-1], {})[_bodies.DARK]
    world.deploy(2)
    assert [100] == weights(world)


def test_ids_are_legal_and_of_this_transaction() -> None:
    """Ids fit SageMaker's rule with the longest name, and another transaction has other ids."""
    name = "a23456789-123456789-123"
    seen = set()
    for txn in ("t1", "t2"):
        context = lifecycle.ChangeContext(name, "me", txn)
        change = lifecycle.deploy(None, deployment(1), context)
        for resource in _plan.resources(change.stages[0].spec, World().options):
            if resource.kind in {_plan.MODEL, _plan.CONFIG}:
                assert len(resource.id) <= 63
                assert resource.id.replace("-", "").isalnum()
                seen.add(resource.id)
    assert 4 == len(seen)


# --- options ------------------------------------------------------------------------------------------------------


def test_serverless_has_one_deployment() -> None:
    """A serverless endpoint swaps its one deployment in a single step, and has no instance."""
    world = World(serverless={"memory_mb": 4096, "concurrency": 7})
    world.deploy(1, instance=None, usd_per_hour=None)
    plan = world.deploy(2, instance=None, usd_per_hour=None)
    assert [100] == weights(world)
    (variant,) = world.config()["variants"].values()
    assert (4096, 7) == (variant["memory_mb"], variant["concurrency"])
    assert plan.usd_per_hour.after is None
    assert "MemorySizeInMB" in str(_bodies.variant_body("d1", variant, 100))


def test_capabilities_follow_the_options() -> None:
    """What serverless or a shadow cannot do is unsupported on such targets only, with a word of advice."""
    plain, serverless = capabilities(World().options), capabilities(World(serverless={}).options)
    assert all(support.ok for support in plain.values())
    assert not serverless[Capability.TRAFFIC].ok
    assert "one deployment only" in serverless[Capability.TRAFFIC].text
    assert [Capability.DARK_PROBE] == [one for one, can in capabilities(World(shadow=20).options).items() if not can.ok]


def test_a_shadow_gets_copies_until_it_is_promoted() -> None:
    """With `shadow` the newest deployment without traffic is a shadow variant; promoting it makes it a real one."""
    world = World(shadow=20)
    world.deploy(1)
    world.deploy(2, share=0)
    config = world.config()
    old, new = world.endpoint["weights"]
    assert (new, 20, [100, 0]) == (config["shadow"], config["shadow_percent"], weights(world))
    resource = _plan.resources(lifecycle.promote(world.status, world.context()).stages[-1].spec, world.options)
    plan = world.apply(lifecycle.promote(world.status, world.context()))
    assert ["create EndpointConfig", "update Endpoint", "delete EndpointConfig"] == told(plan)
    assert world.config()["shadow"] is None
    assert {old: 0, new: 100} == world.endpoint["weights"] == world.config()["weights"]
    assert resource


def test_a_deploy_with_all_traffic_passes_through_a_shadow() -> None:
    """A target with shadows still deploys in full: dark as a shadow, then switched to."""
    world = World(shadow=20)
    world.deploy(1)
    world.deploy(2)
    assert [0, 100] == weights(world) == list(world.config()["weights"].values())


def test_autoscaling_hangs_on_the_endpoint() -> None:
    """Replicas from 1 to 3 are a scalable target and a policy, made after the endpoint and kept with it."""
    world = World(scale_at=300)
    plan = world.deploy(1, replicas=Replicas(1, 3))
    assert ["create ScalableTarget", "create ScalingPolicy"] == told(plan)[4:6]
    world.deploy(2)
    assert 2 == sum(ref.kind in {_plan.TARGET, _plan.POLICY} for ref in world.live)
    world.apply(lifecycle.finalize(world.status, world.context()))
    assert [] == [ref for ref in world.live if ref.kind in {_plan.TARGET, _plan.POLICY}]


@pytest.mark.parametrize(
    ("settings", "changed", "text"),
    [
        ({}, {"instance": None}, "instance is not set"),
        ({}, {"env": {"LONG": "x" * 1025}}, "LONG has 1025 bytes"),
        ({}, {"env": {f"V{n}": "" for n in range(91)}}, "more than 90 variables"),
        ({}, {"replicas": Replicas(0, 2)}, "replicas.min = 0"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(settings: Any, changed: Any, text: str) -> None:
    """A limit of the API is an error that names the setting, before any call."""
    with pytest.raises(ConfigError, match=text):
        World(**settings).deploy(1, **changed)


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-east-1", "ap-southeast-7", "eusc-de-east-1", "us-isob-west-1"])
def test_regions_of_all_partitions_are_taken(region: str) -> None:
    assert region == SagemakerOptions.model_validate({"role": ROLE, "region": region}).region


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "mlport"},
        {"region": "us-east-1.evil.example#"},
        {"region": "us-east-1\n"},
        {"region": "../us-east-1"},
        {"subnets": ["s-1"]},
        {"serverless": {"memory_mb": 1500}},
        {"serverless": {}, "shadow": 10},
        {"serverless": {}, "network_isolation": True},
        {"start_s": 10},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    """Options that SageMaker would refuse never reach it."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SagemakerOptions.model_validate({"role": ROLE, **wrong})


# --- back ---------------------------------------------------------------------------------------------------------


def variants(*weights: float) -> Sequence[Mapping[str, Any]]:
    return [{"VariantName": f"d{number}", "CurrentWeight": weight} for number, weight in enumerate(weights)]


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ((100,), [100]),
        ((1,), [100]),
        ((30, 70), [30, 70]),
        ((1, 1, 1), [34, 33, 33]),
        ((0, 0), [0, 0]),
        ((0, 5), [0, 100]),
    ],
)
def test_shares_are_whole_percents(given: tuple[float, ...], shares: list[int]) -> None:
    """Whatever weights somebody set, shares are whole percents of the sum."""
    assert shares == list(_status.whole_percents(variants(*given)).values())


@pytest.mark.parametrize(("raw", "state"), sorted(_status.STATES.items()))
def test_every_state_of_sagemaker_has_a_neutral_one(raw: str, state: Any) -> None:
    """All nine words are known; the one in which the old configuration serves on is degraded."""
    world = World()
    world.deploy(1)
    ref = next(ref for ref in world.live if ref.kind == _plan.ENDPOINT)
    world.live[ref] = replace(world.live[ref], state=state, raw=raw)
    status = world.status
    assert status is not None
    expected = "degraded" if raw == "UpdateRollbackFailed" else state
    assert (expected, raw) == (status.state, status.raw)
