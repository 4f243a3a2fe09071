"""The configuration as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import ConfigError, UnknownKeyError
from ..redact import MASK, Redactor, is_secret_name
from ..registry import adapters
from ..suggest import did_you_mean
from .options import read_options
from .values import Layer, Path, Source, Sourced, dotted

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping

    from ..adapter import Adapter, TargetOptions
    from ..registry import Registry
    from .rules import Rule

    Options = TypeVar("Options", bound=TargetOptions)


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """One target: which provider, and every setting with its source.

    Args:
        name: The target's name.
        values: The settings by path inside the target's table, such as ``("replicas", "max")``.
        registry: Where providers are looked up.
    """

    name: str
    values: Mapping[Path, Sourced[Any]] = field(default_factory=dict[Path, Sourced[Any]])
    registry: Registry = adapters

    @property
    def provider(self) -> str:
        """The provider's name, or ``"module:Class"``; a target named like an installed one needs no setting.

        Raises:
            ConfigError: When there is none.
        """
        given = self.values.get(("provider",))
        if given is not None and isinstance(given.value, str):
            return given.value
        if given is None and self.name in self.registry.names():
            return self.name
        wrong = f"{given.source}: " if given else ""
        known = ", ".join(self.registry.names())
        raise ConfigError(f"{wrong}target.{self.name} needs a provider", hint=f'write provider = "…", one of: {known}')

    def adapter(self) -> type[Adapter]:
        """The adapter class of its provider.

        Raises:
            UnknownKeyError: When the provider is not known; with what was meant.
            MissingExtraError: When its packages are not installed; with the pip line.
        """
        provider = self.provider
        if ":" not in provider and provider not in self.registry.names():
            given = self.values.get(("provider",))
            raise self.registry.unknown(provider, where=f"{given.source}: " if given else "")
        return self.registry.load(provider)

    def options(self, kind: type[Options]) -> Options:
        """The settings as the adapter's own options.

        Raises:
            UnknownKeyError: A key the adapter does not have; with what was meant.
            ConfigError: A value of the wrong form; with the key, where it stands and what is expected.
        """
        return read_options(self.name, self.values, kind)

    def overlay(self, values: Mapping[str, Any]) -> TargetSettings:
        """The same target with some settings replaced by arguments; ``None`` leaves a setting as it is."""
        given = {key: value for key, value in values.items() if value is not None}
        merged = {path: item for path, item in self.values.items() if path[0] not in given}
        for key, value in given.items():
            merged[key,] = Sourced(value, Source(Layer.ARGUMENT, f"{key}="))
        return replace(self, values=without_rival(self.name, merged))


def without_rival(target: str, values: Mapping[Path, Sourced[Any]]) -> dict[Path, Sourced[Any]]:
    """Keeps the stronger of ``instance`` and ``resources``: they answer the same question.

    Raises:
        ConfigError: When both stand in the same place.
    """
    instance, resources = values.get(("instance",)), values.get(("resources",))
    if instance is None or resources is None:
        return dict(values)
    order = list(Layer)
    ranks = order.index(instance.source.layer), order.index(resources.source.layer)
    if ranks[0] == ranks[1]:
        raise ConfigError(f"{instance.source}: target.{target} has both instance and resources", hint="keep one")
    loser = "resources" if ranks[0] < ranks[1] else "instance"
    return {path: item for path, item in values.items() if path != (loser,)}


@dataclass(frozen=True, slots=True)
class Explained:
    """One line of ``mlport config show``: a key, its value with secrets masked, and where it came from."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the configuration says; made by :func:`sdk.config.load`.

    Args:
        default: Name of the target used when none is named.
        owner: Label value that marks what is ours.
        state_dir: Folder of the journal, caches and local endpoints.
        log: Least level of log lines.
        offline: Whether the network may not be used.
        p95_ms: Latency objective in milliseconds.
        alarms: Rules of the monitor.
        targets: The configured targets by name.
        files: The files that were read, strongest first.
        registry: Where providers are looked up.
    """

    default: Sourced[str]
    owner: Sourced[str]
    state_dir: Sourced[pathlib.Path]
    log: Sourced[str]
    offline: Sourced[bool]
    p95_ms: Sourced[float | None]
    alarms: Sourced[tuple[Rule, ...]]
    targets: Mapping[str, TargetSettings]
    files: tuple[pathlib.Path, ...]
    registry: Registry = adapters

    def target(self, name: str | None = None) -> TargetSettings:
        """A target by name, or the default one. An installed provider is a target of its own name.

        Raises:
            UnknownKeyError: When there is no such target; with what was meant.
        """
        wanted = self.default.value if name is None else name
        if wanted in self.targets:
            return self.targets[wanted]
        if wanted in self.registry.names():
            return TargetSettings(wanted, registry=self.registry)
        where = "" if name is not None or self.default.source.layer is Layer.DEFAULT else f"{self.default.source}: "
        known = {*self.targets, *self.registry.names()}
        raise UnknownKeyError(f"{where}unknown target {wanted!r}", hint=did_you_mean(wanted, known))

    def explain(self, redactor: Redactor | None = None) -> tuple[Explained, ...]:
        """Every value and where it came from, secrets masked."""
        hide = redactor or Redactor()
        return tuple(Explained(dotted(path), _shown(path, item.value, hide), str(item.source)) for path, item in self)

    def __iter__(self) -> Iterator[tuple[Path, Sourced[Any]]]:
        """Every key of the configuration with its value, the targets' own last."""
        yield ("default",), self.default
        yield ("owner",), self.owner
        yield ("state_dir",), self.state_dir
        yield ("log",), self.log
        yield ("offline",), self.offline
        yield ("objective", "p95_ms"), self.p95_ms
        yield ("monitor", "alarms"), self.alarms
        for name in sorted(self.targets):
            for path, item in sorted(self.targets[name].values.items()):
                yield ("target", name, *path), item

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{row.key}={row.value}' for row in self.explain())})"


def _shown(path: Path, value: Any, hide: Redactor) -> str:
    if value is not None and any(map(is_secret_name, path)):
        return MASK
    if isinstance(value, dict | list):
        return str(hide.data(cast("Any", value)))
    if isinstance(value, tuple):
        return "; ".join(map(str, cast("Any", value))) or "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "none" if value is None else hide.safe(text)
