"""Pure functions that compute the :class:`~sdk.executor.change.Change` of each verb from the live state of an endpoint.

The traffic rule: a new deployment starts at 0 %, passes a smoke test where the platform can call a deployment with
0 %, and then gets its share. The deployment it replaces keeps running at 0 %, so that a rollback is instant, until
:func:`finalize` or the next :func:`deploy`. The newest deployment is the *candidate*, an older one the *fallback*. They
are distinguished by their generation, so the same rules hold in every process on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..adapter import DeploymentSpec, EndpointSpec, Labels
from ..adapter.types import DeploymentStatus, EndpointState, EndpointStatus
from ..errors import ConfigError, ConflictError, NotFoundError
from ..util.suggest import did_you_mean
from .change import Change, Stage, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """The owner, the endpoint, the transaction of a change, and the abilities of its target.

    ``split`` is whether several deployments can share an endpoint. ``dark`` is whether one with 0 % can be called.
    ``aside`` is whether one that cannot be called is to run a second time for its smoke test. ``smoke_test`` is whether
    there is an example for that test. ``expires_at`` is in Unix seconds, 0 for never. ``target`` is for messages.
    """

    name: str
    owner: str
    txn: str
    split: bool = True
    dark: bool = True
    aside: bool = False
    smoke_test: bool = True
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    expires_at: int = 0
    target: str = ""


def deployment_id(spec_hash: str, txn: str) -> str:
    """Return the id of a new deployment: nine characters that every platform accepts.

    Example:
        >>> deployment_id("0" * 32, "t1")
        'dd04a840e'
    """
    return "d" + hashlib.sha256(f"{spec_hash}/{txn}".encode()).hexdigest()[:8]


def deploy(
    live: EndpointStatus | None, new: DeploymentSpec, context: ChangeContext, *, share: int = 100, adopt: bool = False
) -> Change:
    """Deploy a model to the endpoint, which is created if it does not exist.

    Args:
        live: The current endpoint, if it exists.
        new: The deployment to run; its id and generation are set here.
        context: The owner, the endpoint and the target.
        share: Whole percents of the traffic for the new deployment; less than 100 is a canary.
        adopt: Whether an endpoint of another owner may be taken over.

    Raises:
        ConfigError: ``share`` is not possible for this endpoint.
        ConflictError: A canary is running, or the endpoint is being deleted.
    """
    _check_share(share)
    deployments = _deployments(live)
    _not_deleting(live)
    same = _latest(item for item in deployments if item.spec_hash == new.spec_hash and item.state == "ready")
    active = [item for item in deployments if item.traffic]
    if same is not None and (same.traffic == share or active == [same]):
        return _unchanged(live, context, same.id, share=share, adopt=adopt)
    if len(active) > 1 and (same is None or same != _latest(deployments)):
        raise ConflictError(
            f"endpoint {context.name!r} is in the middle of a canary ({_shares(active)})",
            resource=context.name,
            hint="promote or roll it back first",
        )
    if not active and share != 100:
        raise ConfigError(
            f"traffic = {share}: no other deployment of {context.name!r} could take the rest", hint="leave traffic out"
        )
    if same is not None and (share == 100 or same == _latest(deployments)):
        change = _again(live, same, context, share=share, adopt=adopt)
    else:
        change = _fresh(live, new, context, share=share, adopt=adopt)
    if context.smoke_test:
        return change
    return replace(change, stages=tuple(replace(stage, probe=None) for stage in change.stages))


def _fresh(
    live: EndpointStatus | None, new: DeploymentSpec, context: ChangeContext, *, share: int, adopt: bool
) -> Change:
    """Return the change for a new deployment: dark, probed, then its share. Deployments at 0 % are removed."""
    deployments = _deployments(live)
    active = [item for item in deployments if item.traffic]
    new = replace(
        new,
        id=deployment_id(new.spec_hash, context.txn),
        generation=max((item.generation for item in deployments), default=0) + 1,
    )
    labels = _labels(context, live, new.generation, new.model)
    kept = [_keep(item, context.name) for item in active] if context.split else []
    shares = {**_scaled(active, 100 - share), new.id: share}
    final = _spec(context, live, labels, [*kept, new], shares if context.split else {new.id: 100})
    before = [_keep(item, context.name) for item in deployments]
    dark = _spec(context, live, labels, [*before, new], _shares_of(live))
    if context.aside and context.smoke_test and active and not context.dark:
        dark = replace(dark, aside=new.id)
    return Change(
        verb="deploy",
        name=context.name,
        txn=context.txn,
        stages=tuple(_rollout(context, dark, final, new.id)),
        live=live,
        old=active[-1].id if active else None,
        new=new.id,
        adopt=adopt,
    )


def _rollout(context: ChangeContext, dark: EndpointSpec, final: EndpointSpec, new: str) -> Iterable[Stage]:
    serving = any(dark.traffic.values())
    if context.split and (context.dark or serving):
        yield Stage(dark, probe=new if context.dark or dark.aside else None)
        yield Stage(final, commit=True)
    elif serving:
        yield Stage(final, commit=True)  # the platform replaces one deployment by another in a single step
    else:
        yield Stage(final, probe=new)  # nothing serves yet, so a failure rolls everything back
        yield Stage(final, commit=True)


def _again(
    live: EndpointStatus | None, same: DeploymentStatus, context: ChangeContext, *, share: int, adopt: bool
) -> Change:
    """Return the change for a deployment that still runs: only its share changes."""
    others = [item for item in _deployments(live) if item.id != same.id]
    serving = [item for item in others if item.traffic]
    shares = {**_scaled(serving, 100 - share), same.id: share}
    stages = _shift(live, context, shares, probe=None if same.traffic or not context.dark else same.id)
    old = serving[-1].id if serving else None
    return Change("deploy", context.name, context.txn, stages, live=live, old=old, new=same.id, adopt=adopt)


def traffic(live: EndpointStatus | None, shares: int | Mapping[str, int], context: ChangeContext) -> Change:
    """Set the traffic: whole percents by deployment id (0 if left out), or one number for the newest deployment.

    Raises:
        NotFoundError: The endpoint does not exist.
        ConfigError: The shares are not whole percents that sum to 100, or a deployment is unknown.
        ConflictError: A deployment that is not ready would get traffic.
    """
    endpoint = _existing(live, context)
    wanted = _newest_gets(endpoint, shares) if isinstance(shares, int) else dict(shares)
    known = {item.id: item for item in endpoint.deployments}
    for deployment, share in wanted.items():
        if deployment not in known:
            raise ConfigError(
                f"endpoint {context.name!r} has no deployment {deployment!r}", hint=did_you_mean(deployment, known)
            )
        _check_share(share)
        if share:
            _must_be_ready(known[deployment], context)
    if sum(wanted.values()) != 100:
        raise ConfigError(
            f"traffic sums to {sum(wanted.values())}, not 100", hint="give whole percents that sum to 100"
        )
    return _moved("traffic", endpoint, wanted, context)


def _newest_gets(endpoint: EndpointStatus, share: int) -> dict[str, int]:
    _check_share(share)
    ordered = _deployments(endpoint)
    rest = [item for item in ordered[:-1] if item.traffic] or ordered[:-1][-1:]
    return {**_scaled(rest, 100 - share), ordered[-1].id: share}


def promote(live: EndpointStatus | None, context: ChangeContext) -> Change:
    """Give the newest deployment all traffic; the others keep running at 0 %. Repeating it changes nothing.

    Raises:
        NotFoundError: The endpoint does not exist.
        ConflictError: The newest deployment is not ready.
    """
    endpoint = _existing(live, context)
    newest = _deployments(endpoint)[-1]
    _must_be_ready(newest, context)
    return _moved("promote", endpoint, {newest.id: 100}, context)


def rollback(live: EndpointStatus | None, context: ChangeContext) -> Change:
    """Give all traffic back to the earlier deployment with the most traffic. Repeating it changes nothing.

    Raises:
        NotFoundError: The endpoint does not exist.
        ConflictError: An earlier deployment does not exist, or it is not ready.
    """
    endpoint = _existing(live, context)
    older = _deployments(endpoint)[:-1]
    if not older:
        raise ConflictError(
            f"endpoint {context.name!r} has no earlier deployment to go back to",
            resource=context.name,
            hint="deploy the earlier model again",
        )
    stable = max(older, key=lambda item: (item.traffic, item.generation))
    _must_be_ready(stable, context)
    return _moved("rollback", endpoint, {stable.id: 100}, context)


def finalize(live: EndpointStatus | None, context: ChangeContext) -> Change:
    """Remove every deployment that has 0 %. Afterwards no rollback is possible, and nothing idle costs money.

    Raises:
        NotFoundError: The endpoint does not exist.
        ConflictError: No deployment has traffic, so all would be removed.
    """
    endpoint = _existing(live, context)
    active = [item for item in _deployments(endpoint) if item.traffic]
    if not active:
        raise ConflictError(
            f"no deployment of {context.name!r} has traffic", resource=context.name, hint="set traffic, or delete it"
        )
    kept = [_keep(item, context.name) for item in active]
    labels = _labels(context, endpoint, active[-1].generation, active[-1].model)
    spec = _spec(context, endpoint, labels, kept, {item.id: item.traffic for item in active})
    return Change("finalize", context.name, context.txn, (Stage(spec, commit=True),), live=endpoint)


def delete(live: EndpointStatus | None, context: ChangeContext, *, adopt: bool = False) -> Change:
    """Delete the endpoint and everything that belongs to it; succeed if it does not exist."""
    return Change("delete", context.name, context.txn, live=live, adopt=adopt)


# --- pieces -----------------------------------------------------------------------------------------------------


def _deployments(live: EndpointStatus | None) -> list[DeploymentStatus]:
    """Return the deployments, oldest first."""
    return sorted(live.deployments, key=lambda item: (item.generation, item.id)) if live else []


def _latest(items: Iterable[DeploymentStatus]) -> DeploymentStatus | None:
    return max(items, key=lambda item: (item.generation, item.id), default=None)


def _shares_of(live: EndpointStatus | None) -> dict[str, int]:
    return live.traffic if live else {}


def _shares(items: Iterable[DeploymentStatus]) -> str:
    return ", ".join(f"{item.id} {item.traffic} %" for item in items)


def _scaled(items: Sequence[DeploymentStatus], total: int) -> dict[str, int]:
    """Scale the current shares so that they sum to ``total``; the first one gets the rounding difference."""
    if not items:
        return {}
    weight = sum(item.traffic for item in items)
    if not weight:
        return {item.id: total if item is items[-1] else 0 for item in items}
    shares = {item.id: item.traffic * total // weight for item in items}
    shares[items[0].id] += total - sum(shares.values())
    return shares


def _keep(item: DeploymentStatus, name: str) -> DeploymentSpec:
    return DeploymentSpec(
        id=item.id,
        model_name=str(item.settings.get("model_name", name)),
        model=item.model,
        generation=item.generation,
        instance=item.instance,
        replicas=item.replicas,
        usd_per_hour=item.usd_per_hour,
        kept=item,
    )


def _labels(context: ChangeContext, live: EndpointStatus | None, generation: int, model: str) -> Labels:
    lived = int(live.expires_at) if live and live.expires_at else 0
    return Labels(
        endpoint=context.name,
        owner=context.owner,
        txn=context.txn,
        generation=generation,
        model=model[:32],
        expires_at=context.expires_at or lived,
    )


def _spec(
    context: ChangeContext,
    live: EndpointStatus | None,
    labels: Labels,
    deployments: Sequence[DeploymentSpec],
    shares: Mapping[str, int],
) -> EndpointSpec:
    tags = {**(live.tags if live else {}), **context.tags}
    whole = {item.id: shares.get(item.id, 0) for item in deployments}
    return EndpointSpec(context.name, tuple(deployments), whole, labels, tags=tags)


def _shift(
    live: EndpointStatus | None, context: ChangeContext, shares: Mapping[str, int], *, probe: str | None = None
) -> tuple[Stage, ...]:
    """Return the stages that change only the shares."""
    ordered = _deployments(live)
    labels = _labels(context, live, ordered[-1].generation, ordered[-1].model)
    kept = [_keep(item, context.name) for item in ordered]
    last = Stage(_spec(context, live, labels, kept, shares), commit=True)
    if probe is None:
        return (last,)
    return Stage(_spec(context, live, labels, kept, _shares_of(live)), probe=probe), last


def _moved(verb: Verb, endpoint: EndpointStatus, shares: Mapping[str, int], context: ChangeContext) -> Change:
    ordered = _deployments(endpoint)
    serving = max(ordered, key=lambda item: item.traffic)
    target = max(shares, key=lambda item: shares[item])
    stages = _shift(endpoint, context, shares)
    return Change(verb, context.name, context.txn, stages, live=endpoint, old=serving.id, new=target)


def _unchanged(live: EndpointStatus | None, context: ChangeContext, same: str, *, share: int, adopt: bool) -> Change:
    stages = _shift(live, replace(context, expires_at=0), _shares_of(live))
    notes = [_ttl_stays(live)] if context.expires_at else []
    if share != (has := _shares_of(live)[same]):
        notes.append(f"this model alone serves already, so traffic = {share} changes nothing: it keeps {has} %")
    return Change(
        "deploy", context.name, context.txn, stages, live=live, old=same, new=same, adopt=adopt, notes=tuple(notes)
    )


def _ttl_stays(live: EndpointStatus | None) -> str:
    """Return the note that a requested ttl has no effect: an identical deploy makes no call, so it cannot set it."""
    until = "none"
    if live and live.expires_at:
        until = datetime.fromtimestamp(live.expires_at, UTC).strftime("until %Y-%m-%d %H:%M UTC")
    return f"this model is deployed like this already, and its ttl stays as it is: {until}"


def _check_share(share: object) -> None:
    if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 100:
        raise ConfigError(f"traffic = {share!r} is no whole percent", hint="give a whole number from 0 to 100")


def _not_deleting(live: EndpointStatus | None) -> None:
    if live is not None and live.state is EndpointState.DELETING:
        raise ConflictError(
            f"endpoint {live.name!r} is being deleted",
            resource=live.name,
            retryable=True,
            hint="try again when it is gone",
        )


def _existing(live: EndpointStatus | None, context: ChangeContext) -> EndpointStatus:
    if live is None or not live.deployments:
        where = f" on target {context.target!r}" if context.target else ""
        option = f" -t {context.target}" if context.target else ""
        raise NotFoundError(
            f"there is no endpoint {context.name!r}{where}",
            resource=context.name,
            hint=f"`mlport list{option}` shows those there are",
        )
    _not_deleting(live)
    return live


def _must_be_ready(item: DeploymentStatus, context: ChangeContext) -> None:
    if item.state != "ready":
        raise ConflictError(
            f"deployment {item.id} of {context.name!r} is {item.state}, so it can take no traffic",
            resource=item.id,
            hint="look at its logs, or deploy again",
        )
