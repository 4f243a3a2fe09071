"""The resolution of a caller's request and the target's settings to what exactly will run and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ..adapter import Capability, KnowsInstances, KnowsVariables, PricesByRegion, TargetOptions
from ..adapter.instances import is_for_other_use, spelled
from ..adapter.prices import cheapest, find_price
from ..config.secrets import CLOUD, check_env, secret_names
from ..errors import ConfigError
from ..util.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ..adapter.prices import PriceRow, Usage
    from ..adapter.types import Json, Replicas, Resources
    from ..config.secrets import SecretSource
    from .session import Session

_REGION_S = 60.0  # limit for finding out the region that a platform bills


@dataclass(frozen=True, slots=True)
class RequestedSettings:
    """The arguments of a caller of ``deploy`` or ``train``; ``None`` means the target's setting."""

    env: Mapping[str, str] | None = None
    secrets: Mapping[str, str] | Iterable[str] | None = None
    replicas: int | Replicas | Mapping[str, int] | None = None
    resources: Resources | Mapping[str, float] | None = None
    instance: str | None = None
    tags: Mapping[str, str] | None = None
    ttl: str | float | None = None


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The resolved, checked and priced request.

    ``usd_per_hour`` is for the minimum number of replicas together; ``None`` when unknown. ``notes`` explain what was
    chosen and why.
    """

    env: dict[str, str]
    secrets: dict[str, str]
    replicas: Replicas
    resources: Resources | None
    instance: str | None
    tags: dict[str, str]
    ttl_s: float | None
    options: dict[str, Json]
    usd_per_hour: float | None
    notes: tuple[str, ...] = field(default=())

    def expires_at(self, now: float) -> int:
        """Return the Unix seconds after which ``gc`` may remove the endpoint; 0 for never."""
        return int(now + self.ttl_s) if self.ttl_s else 0


def resolve(session: Session, wishes: RequestedSettings, *, usage: Usage) -> ResolvedSettings:
    """Resolve, check and price a caller's wishes for this target.

    Raises:
        ConfigError: A value is wrong, or no instance fits.
        UnsupportedError: The target does not support a wish.
    """
    options = _options(session, wishes)
    env, secrets = check_env(wishes.env), secret_names(wishes.secrets)
    if both := sorted(set(env) & set(secrets)):
        raise ConfigError(f"{both[0]} is in env and in secrets", hint="keep one")
    _require(session, options, env=bool(env), secrets=bool(secrets))
    _check_tags(options.tags)
    instance, resources, notes = _instance(session, options, usage, named=wishes.instance is not None)
    return ResolvedSettings(
        env=env,
        secrets=secrets,
        replicas=options.replicas,
        resources=resources,
        instance=instance,
        tags=dict(options.tags),
        ttl_s=None if options.ttl is None else parse_duration(options.ttl, field="ttl"),
        options=_own_options(options),
        usd_per_hour=_price(session, instance, options.replicas, usage),
        notes=notes,
    )


def _check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that no platform takes, and those that would be mistaken for the labels of mlport.

    Raises:
        ConfigError: Names the tag.
    """
    for name, value in tags.items():
        if not name or not f"{name}{value}".isprintable():
            raise ConfigError(f"tags: {name!r} = {value!r} is not a tag", hint="use a name, and printable characters")
        if name.lower() == "mlport" or name.lower().startswith("mlport-"):
            raise ConfigError(
                f"tags: {name!r} is reserved for the labels of mlport", hint='use a name without "mlport-"'
            )


def check_secrets(session: Session, order: ResolvedSettings, source: SecretSource, usage: Usage) -> None:
    """Read the user's own secrets now, and let the target reject those that it cannot pass to a container.

    Raises:
        ConfigError: A secret is missing, or too long for the platform.
    """
    source.check(order.secrets)
    adapter = session.adapter
    if isinstance(adapter, KnowsVariables):
        found = {variable: source(name) for variable, name in order.secrets.items() if not name.startswith(CLOUD)}
        adapter.check_variables({**order.env, **found}, usage)


def _options(session: Session, wishes: RequestedSettings) -> TargetOptions:
    given: dict[str, Any] = {
        "instance": wishes.instance,
        "resources": _plain(wishes.resources),
        "replicas": _replicas(wishes.replicas),
        "tags": None if wishes.tags is None else {**session.options.tags, **wishes.tags},
        "ttl": None if wishes.ttl is None else str(wishes.ttl) if isinstance(wishes.ttl, str) else f"{wishes.ttl:g}s",
    }
    return session.settings.overlay(given).options(session.kind.Options)


def _replicas(given: int | Replicas | Mapping[str, int] | None) -> Any:
    return {"min": given, "max": given} if isinstance(given, int) else _plain(given)


def _plain(given: Any) -> Any:
    """Return a value of an mlport type as the equivalent table of a file; the options model checks all others."""
    return {key: value for key, value in given.to_dict().items() if value} if hasattr(given, "to_dict") else given


def _require(session: Session, options: TargetOptions, *, env: bool, secrets: bool) -> None:
    low, high = options.replicas.min, options.replicas.max
    resources = options.resources
    needs = (
        (Capability.AUTOSCALE, low != high, f"replicas from {low} to {high}"),
        (Capability.REPLICAS, (low, high) != (1, 1), f"replicas = {high}"),
        (Capability.GPU, bool(resources and resources.gpu), "resources.gpu"),
        (Capability.RESOURCES, resources is not None, "resources"),
        (Capability.INSTANCES, options.instance is not None, "instance"),
        (Capability.ENV, env, "env"),
        (Capability.SECRETS, secrets, "secrets"),
        (Capability.TAGS, bool(options.tags), "tags"),
        (Capability.TTL, options.ttl is not None, "ttl"),
    )
    for capability, wanted, what in needs:
        if wanted:
            session.require(capability, what, options)


def _instance(
    session: Session, options: TargetOptions, usage: Usage, *, named: bool
) -> tuple[str | None, Resources | None, tuple[str, ...]]:
    """Return instance type, resources and notes: the named type, or the cheapest that provides the resources."""
    if options.instance is not None:
        instance, notes = _known(session, options, options.instance, usage, named=named)
        return instance, options.resources, notes
    if options.resources is None or not session.can(Capability.INSTANCES, options):
        return None, options.resources, ()
    choice = cheapest(_offered(session, usage), options.resources, region=region_of(session), usage=usage)
    return choice.instance, None, (choice.reason,)


def _known(
    session: Session, options: TargetOptions, instance: str, usage: Usage, *, named: bool
) -> tuple[str, tuple[str, ...]]:
    """Return the instance type in the platform's spelling, and notes; refuse unknown types without ``any_instance``.

    A type from the configuration that only supports the other use is replaced by the default type of this use.
    """
    adapter = session.adapter
    if options.any_instance or not isinstance(adapter, KnowsInstances):
        return instance, ()
    types: dict[Usage, Collection[str]] = {
        "inference": adapter.instance_types("inference"),
        "training": adapter.instance_types("training"),
    }
    try:
        return spelled(instance, usage, types, session.provider), ()
    except ConfigError as error:
        default = adapter.default_instance(usage)
        if named or default is None or not is_for_other_use(instance, usage, types):
            raise
        return default, (f"{error.message}; {default} is used",)


def _offered(session: Session, usage: Usage) -> list[PriceRow]:
    """Return the prices of the types that the platform accepts for this use; a price list may contain others."""
    adapter = session.adapter
    rows = list(adapter.prices())
    if not isinstance(adapter, KnowsInstances):
        return rows
    known = adapter.instance_types(usage)
    return [row for row in rows if row.usage != usage or row.instance_type.partition("+")[0] in known]


def _price(session: Session, instance: str | None, replicas: Replicas, usage: Usage) -> float | None:
    """Return the hourly price of the minimum number of replicas; 0 for a target with an empty price table."""
    table = tuple(session.adapter.prices())
    if instance is None:
        return None if table else 0.0
    row = find_price(table, instance, region=region_of(session), usage=usage)
    return None if row is None or row.usd_per_hour is None else row.usd_per_hour * replicas.min


def region_of(session: Session) -> str:
    """Return the platform's name of the region that a target is billed in."""
    adapter = session.adapter
    if isinstance(adapter, PricesByRegion):
        return session.call(lambda _left: adapter.price_region(), session.deadline(_REGION_S))
    return adapter.where().get("region", "")


def _own_options(options: TargetOptions) -> dict[str, Json]:
    """Return the adapter's own settings that are part of a deployment: those marked with ``{"deployment": True}``."""
    own: dict[str, Json] = {}
    for name, info in type(options).model_fields.items():
        extra: Any = info.json_schema_extra
        if isinstance(extra, dict) and cast("dict[str, Any]", extra).get("deployment"):
            own[name] = cast("Json", options.model_dump(mode="json", include={name})[name])
    return own
