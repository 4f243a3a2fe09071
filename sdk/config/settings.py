"""The configuration as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..adapter.registry import adapters
from ..errors import ConfigError, UnknownKeyError
from ..util.redact import MASK, Redactor, is_secret_name
from ..util.suggest import did_you_mean
from .options import read_options
from .values import Layer, Path, Source, Sourced, dotted

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping

    from ..adapter import Adapter, TargetOptions
    from ..adapter.registry import Registry
    from .rules import Rule

    Options = TypeVar("Options", bound=TargetOptions)


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """One target: its provider, and every setting with its source.

    Args:
        name: The target's name.
        values: The settings by path inside the target's table, such as ``("replicas", "max")``.
        registry: The registry of the providers.
    """

    name: str
    values: Mapping[Path, Sourced[Any]] = field(default_factory=dict[Path, Sourced[Any]])
    registry: Registry = adapters

    @property
    def provider(self) -> str:
        """The provider's name, or ``"module:Class"``; a target named like an installed provider needs no setting.

        Raises:
            ConfigError: The target has no provider.
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
        """Return the adapter class of the provider.

        Raises:
            UnknownKeyError: The provider is unknown; the error suggests the nearest known one.
            MissingExtraError: Its packages are not installed; the error has the pip line.
        """
        provider = self.provider
        if ":" not in provider and provider not in self.registry.names():
            given = self.values.get(("provider",))
            raise self.registry.unknown(provider, where=f"{given.source}: " if given else "")
        return self.registry.load(provider)

    def options(self, kind: type[Options]) -> Options:
        """Return the settings as the adapter's own options.

        Raises:
            UnknownKeyError: The adapter does not have a key; the error suggests the nearest known one.
            ConfigError: A value has the wrong form; the error names the key, its place and the expected form.
        """
        return read_options(self.name, self.values, kind)

    def overlay(self, values: Mapping[str, Any]) -> TargetSettings:
        """Return this target with some settings replaced by arguments; ``None`` leaves a setting unchanged."""
        given = {key: value for key, value in values.items() if value is not None}
        merged = {path: item for path, item in self.values.items() if path[0] not in given}
        for key, value in given.items():
            merged[key,] = Sourced(value, Source(Layer.ARGUMENT, f"{key}="))
        return replace(self, values=without_rival(self.name, merged))


def without_rival(target: str, values: Mapping[Path, Sourced[Any]]) -> dict[Path, Sourced[Any]]:
    """Return the settings with only the stronger of ``instance`` and ``resources``: both select the hardware.

    Raises:
        ConfigError: Both are set in the same layer.
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
    """One line of ``mlport config show``: a key, its value with secrets masked, and its source."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration; made by :func:`sdk.config.load`.

    Args:
        default: Name of the target used when none is named.
        owner: The label value that marks resources as ours.
        state_dir: Folder of the journal, caches and local endpoints.
        log: The lowest level of log lines that are shown.
        offline: Whether the network must not be used.
        p95_ms: Latency objective in milliseconds.
        alarms: Alarm rules of the monitor.
        targets: The configured targets by name.
        files: The files that were read, strongest first.
        registry: The registry of the providers.
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
        """Return a target by name, or the default one. An installed provider is a target of the same name.

        ``NAME@REGION`` is the target ``NAME`` in another region than its settings name.

        Raises:
            UnknownKeyError: The target does not exist; the error suggests the nearest known one.
        """
        wanted = self.default.value if name is None else name
        if wanted in self.targets:
            return self.targets[wanted]
        if wanted in self.registry.names():
            return TargetSettings(wanted, registry=self.registry)
        base, _, region = wanted.rpartition("@")
        if base and region:
            return replace(self.target(base).overlay({"region": region}), name=wanted)
        where = "" if name is not None or self.default.source.layer is Layer.DEFAULT else f"{self.default.source}: "
        known = {*self.targets, *self.registry.names()}
        raise UnknownKeyError(f"{where}unknown target {wanted!r}", hint=did_you_mean(wanted, known))

    def explain(self, redactor: Redactor | None = None) -> tuple[Explained, ...]:
        """Return every value and its source, with secrets masked."""
        hide = redactor or Redactor()
        return tuple(Explained(dotted(path), _shown(path, item.value, hide), str(item.source)) for path, item in self)

    def __iter__(self) -> Iterator[tuple[Path, Sourced[Any]]]:
        """Yield every key of the configuration with its value, the targets' own keys last."""
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
