"""The verbs as pure functions: what is live and what is asked, to the stages of a change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.adapter import DeploymentSpec
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus
from sdk.errors import ConfigError, ConflictError, NotFoundError
from sdk.executor import lifecycle

if TYPE_CHECKING:
    from sdk.executor.change import Change

CONTEXT = lifecycle.ChangeContext("churn", "me", "t0")


def model(letter: str) -> DeploymentSpec:
    return DeploymentSpec(id="", model_name="churn", model=letter * 64, generation=0)


def running(letter: str, generation: int, traffic: int, state: str = "ready") -> DeploymentStatus:
    return DeploymentStatus(
        id=f"d{letter}{generation}",
        traffic=traffic,
        state=state,
        model=letter * 64,
        spec_hash=model(letter).spec_hash,
        generation=generation,
    )


def endpoint(*deployments: DeploymentStatus, state: EndpointState = EndpointState.READY) -> EndpointStatus:
    return EndpointStatus("churn", "laptop", "local", state, "up", "http://x", deployments, tags={"team": "a"})


def after(change: Change) -> EndpointStatus | None:
    """What a target makes of a change when nothing goes wrong."""
    if not change.stages:
        return None
    spec = change.stages[-1].spec
    return endpoint(
        *(
            replace(item.kept, traffic=spec.traffic[item.id])
            if item.kept
            else DeploymentStatus(item.id, spec.traffic[item.id], "ready", item.model, item.spec_hash, item.generation)
            for item in spec.deployments
        )
    )


def shares(change: Change) -> list[dict[str, int]]:
    return [dict(stage.spec.traffic) for stage in change.stages]


def test_first_deployment_starts_dark_answers_and_then_gets_everything() -> None:
    """A fresh deploy makes the deployment at 0 %, probes it, and commits by giving it 100 %."""
    change = lifecycle.deploy(None, model("a"), CONTEXT)
    assert change.new is not None
    assert [{change.new: 0}, {change.new: 100}] == shares(change)
    assert [change.new, None] == [stage.probe for stage in change.stages]
    assert [False, True] == [stage.commit for stage in change.stages]
    assert 1 == change.stages[0].spec.deployments[0].generation


def test_without_an_example_there_is_no_smoke_test() -> None:
    """Nothing is probed, and no copy is made for it, on platforms of every kind."""
    first = lifecycle.deploy(None, model("a"), replace(CONTEXT, smoke_test=False))
    assert [None, None] == [stage.probe for stage in first.stages]
    for dark, aside in ((True, False), (False, True)):
        context = replace(CONTEXT, smoke_test=False, dark=dark, aside=aside)
        change = lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), context)
        assert [(None, None)] * 2 == [(stage.probe, stage.spec.aside) for stage in change.stages]


def test_one_that_cannot_be_called_is_tried_aside() -> None:
    """Where the target is set to do so and something serves already; the stage with its share needs it no more."""
    context = replace(CONTEXT, dark=False, aside=True)
    change = lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), context)
    assert [change.new, None] == [stage.spec.aside for stage in change.stages]
    assert [change.new, None] == [stage.probe for stage in change.stages]
    first = lifecycle.deploy(None, model("a"), context)
    assert [None, None] == [stage.spec.aside for stage in first.stages]
    assert [100] == list(first.stages[0].spec.traffic.values()), "it is asked itself"


def test_update_keeps_the_old_deployment_at_zero() -> None:
    """A full update moves all traffic and keeps what served before, so that a rollback is instant."""
    change = lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), CONTEXT)
    assert [{"da1": 100, change.new: 0}, {"da1": 0, change.new: 100}] == shares(change)
    assert ("da1", 2) == (change.old, change.stages[-1].spec.deployments[-1].generation)


def test_next_deploy_retires_what_already_had_zero() -> None:
    """Of three deployments the one that had no traffic before is not in the last stage, so it goes."""
    live = endpoint(running("a", 1, 0), running("b", 2, 100))
    change = lifecycle.deploy(live, model("c"), CONTEXT)
    assert [{"da1": 0, "db2": 100, change.new: 0}, {"db2": 0, change.new: 100}] == shares(change)


def test_canary_takes_its_share_from_the_running_one() -> None:
    """A deploy with traffic=10 leaves 90 % where they are."""
    change = lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), CONTEXT, share=10)
    assert {"da1": 90, change.new: 10} == shares(change)[-1]


@pytest.mark.parametrize("share", [10, 100])
def test_canary_during_a_canary_is_a_conflict(share: int) -> None:
    """While two deployments share the traffic, a third one is refused."""
    live = endpoint(running("a", 1, 90), running("b", 2, 10))
    with pytest.raises(ConflictError, match="in the middle of a canary") as caught:
        lifecycle.deploy(live, model("c"), CONTEXT, share=share)
    assert caught.value.hint == "promote or roll it back first"


def test_going_back_to_the_stable_model_by_deploy_during_a_canary_is_a_conflict() -> None:
    """Deploying the model of the stable side would end the canary silently, so it is refused."""
    live = endpoint(running("a", 1, 90), running("b", 2, 10))
    with pytest.raises(ConflictError):
        lifecycle.deploy(live, model("a"), CONTEXT)


def test_same_deploy_again_changes_nothing() -> None:
    """The one stage of an identical deploy is what is live."""
    for live in (endpoint(running("a", 1, 100)), endpoint(running("z", 1, 0), running("a", 2, 100))):
        change = lifecycle.deploy(live, model("a"), CONTEXT)
        assert [live.traffic] == shares(change)
        assert all(item.kept for item in change.stages[0].spec.deployments)


def test_same_canary_again_can_raise_its_share() -> None:
    """Deploying the canary's model once more with another share moves traffic only."""
    live = endpoint(running("a", 1, 90), running("b", 2, 10))
    assert [{"da1": 50, "db2": 50}] == shares(lifecycle.deploy(live, model("b"), CONTEXT, share=50))


def test_retired_identical_deployment_is_brought_back_after_a_probe() -> None:
    """Deploying the kept model again gives its deployment the traffic instead of making a new one."""
    live = endpoint(running("a", 1, 0), running("b", 2, 100))
    change = lifecycle.deploy(live, model("a"), CONTEXT)
    assert [{"da1": 0, "db2": 100}, {"da1": 100, "db2": 0}] == shares(change)
    assert ["da1", None] == [stage.probe for stage in change.stages]


def test_failed_identical_deployment_is_not_reused() -> None:
    """A deployment that failed is no reason to do nothing."""
    change = lifecycle.deploy(endpoint(running("a", 1, 100, "failed")), model("a"), CONTEXT)
    assert change.new != "da1"


def test_first_deployment_cannot_be_a_canary() -> None:
    """With nothing beside it a share below 100 is an error."""
    with pytest.raises(ConfigError, match="could take the rest"):
        lifecycle.deploy(None, model("a"), CONTEXT, share=10)


@pytest.mark.parametrize("share", [-1, 101, 10.0, "10", True, None])
def test_share_must_be_a_whole_percent(share: object) -> None:
    """Anything but a whole number from 0 to 100 is refused."""
    with pytest.raises(ConfigError, match="no whole percent"):
        lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), CONTEXT, share=share)  # type: ignore[arg-type]  # wrong on purpose


def test_without_traffic_splitting_the_old_one_is_replaced() -> None:
    """Where an endpoint has one deployment only, the change is one committed stage."""
    context = replace(CONTEXT, split=False, dark=False)
    change = lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), context)
    assert [{change.new: 100}] == shares(change)
    fresh = lifecycle.deploy(None, model("b"), context)
    assert [fresh.new, None] == [stage.probe for stage in fresh.stages]


def test_without_dark_deployments_nothing_is_probed_before_the_switch() -> None:
    """Where a deployment with 0 % cannot be called, an update makes it dark and then switches."""
    change = lifecycle.deploy(endpoint(running("a", 1, 100)), model("b"), replace(CONTEXT, dark=False))
    assert [None, None] == [stage.probe for stage in change.stages]


def test_promote_rollback_promote() -> None:
    """Promote and rollback move all traffic between the newest and the one before it."""
    live = endpoint(running("a", 1, 90), running("b", 2, 10))
    promoted = after(lifecycle.promote(live, CONTEXT))
    assert promoted is not None
    assert {"da1": 0, "db2": 100} == promoted.traffic
    back = after(lifecycle.rollback(promoted, CONTEXT))
    assert back is not None
    assert {"da1": 100, "db2": 0} == back.traffic
    again = after(lifecycle.promote(back, CONTEXT))
    assert again is not None
    assert {"da1": 0, "db2": 100} == again.traffic


def test_finalize_keeps_only_what_has_traffic() -> None:
    """After finalize nothing idle is left."""
    live = endpoint(running("a", 1, 0), running("b", 2, 100))
    assert [{"db2": 100}] == shares(lifecycle.finalize(live, CONTEXT))


def test_rollback_needs_an_earlier_deployment() -> None:
    """With a single deployment there is nothing to go back to."""
    with pytest.raises(ConflictError, match="no earlier deployment"):
        lifecycle.rollback(endpoint(running("a", 1, 100)), CONTEXT)


def test_nothing_is_sent_to_a_deployment_that_is_not_ready() -> None:
    """Promote, rollback and traffic refuse a deployment that failed."""
    live = endpoint(running("a", 1, 100), running("b", 2, 0, "failed"))
    with pytest.raises(ConflictError, match="db2 of 'churn' is failed"):
        lifecycle.promote(live, CONTEXT)
    with pytest.raises(ConflictError, match="db2 of 'churn' is failed"):
        lifecycle.traffic(live, 10, CONTEXT)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"da1": 60, "db2": 60}, "sums to 120"),
        ({"dx": 100}, "no deployment 'dx'"),
        ({"da1": 99.5, "db2": 0.5}, "whole"),
    ],
)
def test_traffic_is_checked(wanted: dict[str, int], message: str) -> None:
    """Shares must be whole, sum to 100 and name deployments that exist."""
    live = endpoint(running("a", 1, 90), running("b", 2, 10))
    with pytest.raises(ConfigError, match=message):
        lifecycle.traffic(live, wanted, CONTEXT)


def test_traffic_left_out_is_zero() -> None:
    """Deployments that are not named get nothing, and stay."""
    live = endpoint(running("a", 1, 90), running("b", 2, 10))
    assert [{"da1": 0, "db2": 100}] == shares(lifecycle.traffic(live, {"db2": 100}, CONTEXT))
    assert [{"da1": 75, "db2": 25}] == shares(lifecycle.traffic(live, 25, CONTEXT))


def test_verbs_on_nothing_say_so() -> None:
    """Promote, rollback, finalize and traffic need an endpoint; delete does not."""
    for verb in (lifecycle.promote, lifecycle.rollback, lifecycle.finalize):
        with pytest.raises(NotFoundError, match="there is no endpoint 'churn'"):
            verb(None, CONTEXT)
    with pytest.raises(NotFoundError):
        lifecycle.traffic(None, 10, CONTEXT)
    assert () == lifecycle.delete(None, CONTEXT).stages


def test_an_endpoint_that_is_being_deleted_is_left_alone() -> None:
    """A deploy during a delete is a conflict that may be tried again."""
    with pytest.raises(ConflictError) as caught:
        lifecycle.deploy(endpoint(running("a", 1, 100), state=EndpointState.DELETING), model("b"), CONTEXT)
    assert caught.value.retryable


def test_tags_and_expiry_survive_later_verbs() -> None:
    """What the user set at deploy is not lost by a promote."""
    live = replace(endpoint(running("a", 1, 90), running("b", 2, 10)), expires_at=5000.0)
    spec = lifecycle.promote(live, CONTEXT).stages[-1].spec
    assert ({"team": "a"}, 5000) == (spec.tags, spec.labels.expires_at)


VERBS = st.one_of(
    st.tuples(st.just("deploy"), st.sampled_from("abc"), st.integers(0, 100)),
    st.tuples(st.sampled_from(["promote", "rollback", "finalize", "delete"]), st.just(""), st.just(0)),
    st.tuples(st.just("traffic"), st.just(""), st.integers(0, 100)),
)


def step(live: EndpointStatus | None, verb: str, letter: str, share: int, turn: int) -> Change:
    context = replace(CONTEXT, txn=f"t{turn}")
    if verb == "deploy":
        return lifecycle.deploy(live, model(letter), context, share=share)
    if verb == "traffic":
        return lifecycle.traffic(live, share, context)
    return {
        "promote": lifecycle.promote,
        "rollback": lifecycle.rollback,
        "finalize": lifecycle.finalize,
        "delete": lifecycle.delete,
    }[verb](live, context)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(VERBS, max_size=12))
def test_any_sequence_of_verbs_keeps_the_rules(verbs: list[tuple[str, str, int]]) -> None:
    """Traffic sums to 100, at most two deployments rest and three exist during a change, each verb is idempotent."""
    live: EndpointStatus | None = None
    for turn, (verb, letter, share) in enumerate(verbs):
        try:
            change = step(live, verb, letter, share, turn)
        except (ConfigError, ConflictError, NotFoundError):
            continue
        serving = bool(live and any(live.traffic.values()))
        for stage in change.stages:
            assert sum(stage.spec.traffic.values()) == 100 or not serving
            assert len(stage.spec.deployments) <= 3
            assert set(stage.spec.traffic) == {item.id for item in stage.spec.deployments}
        live = after(change)
        if live is not None:
            assert sum(live.traffic.values()) == 100
            assert len(live.deployments) <= 2
            if verb != "rollback" or len(live.deployments) > 1:
                assert after(step(live, verb, letter, share, turn)) == live
