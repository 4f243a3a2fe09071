"""The registry: the only place that maps provider names to adapter classes.

Adapters are found through the entry points of installed distributions, the built-in ones too. Finding an adapter never
imports it. An import string ``"module:Class"`` works as well; :mod:`sdk.config.trust` decides which files may
contain one.
"""

from __future__ import annotations

import importlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError, MissingExtraError, UnknownKeyError
from ..util.foreign import understanding
from ..util.suggest import did_you_mean
from .interface import Adapter, TargetOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

GROUP = "mlport.adapters"

_IMPORT_STRING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_PROVIDER = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class InstalledAdapter:
    """An adapter that is installed but not yet imported.

    Args:
        name: The provider's name.
        value: The location of its class, as ``"module:Class"``.
        distribution: The distribution that provides it; ``None`` if it was registered by code.
        version: The version of that distribution.
    """

    name: str
    value: str
    distribution: str | None = None
    version: str | None = None


def installed() -> Iterator[InstalledAdapter]:
    """Yield the adapters of all installed distributions.

    Packages in the current directory do not count as installed, because a cloned repository could contain its own
    adapter.
    """
    here = Path.cwd()
    seen: set[str] = set()
    for distribution in metadata.distributions():
        if GROUP not in (distribution.read_text("entry_points.txt") or ""):
            continue  # reading the other metadata of every distribution would take ten times as long
        name = (distribution.metadata["Name"] or "unknown").lower().replace("_", "-")
        if name in seen or Path(str(distribution.locate_file(""))).resolve() == here:
            continue
        seen.add(name)
        for point in distribution.entry_points:
            if point.group == GROUP:
                yield InstalledAdapter(point.name, point.value, name, distribution.version)


class Registry:
    """The providers by name.

    Args:
        find: Returns the installed adapters; called once, at the first use.

    Example:
        >>> adapters.load("local").provider
        'local'
    """

    def __init__(self, find: Callable[[], Iterable[InstalledAdapter]] = installed) -> None:
        self._find = find
        self._installed: dict[str, list[InstalledAdapter]] | None = None
        self._registered: dict[str, type[Adapter]] = {}

    def known(self) -> Mapping[str, InstalledAdapter]:
        """Return all providers by name, without importing any, as a read-only view.

        Raises:
            ConfigError: Two distributions provide the same provider.
        """
        found = {name: self._only(name) for name in self._by_name()}
        found |= {
            name: InstalledAdapter(name, f"{c.__module__}:{c.__qualname__}") for name, c in self._registered.items()
        }
        return MappingProxyType(dict(sorted(found.items())))

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle the process's registry as a reference to the receiver's one, plus the adapters added by code here."""
        return (_received, (self._registered,)) if self is adapters else super().__reduce_ex__(2)

    def names(self) -> tuple[str, ...]:
        """Return the names of all providers, sorted."""
        return tuple(sorted({*self._by_name(), *self._registered}))

    def register(self, name: str, adapter: type[Adapter], *, replace: bool = False) -> None:
        """Add an adapter for this process.

        Args:
            name: The provider's name.
            adapter: Its class.
            replace: Whether it may replace another adapter of this name.

        Raises:
            ConfigError: The name is taken or not valid, or the class is not an adapter.
        """
        if not _PROVIDER.fullmatch(name):
            raise ConfigError(f"provider name {name!r} is not valid", hint="use lower-case letters, digits, - and _")
        if not replace and name in self.names() and self._registered.get(name) is not adapter:
            raise ConfigError(f"a provider {name!r} exists already", hint="pass replace=True to take its place")
        self._registered[name] = _checked(adapter, name)

    def load(self, provider: str) -> type[Adapter]:
        """Return the adapter class of a provider: a registered or installed name, or ``"module:Class"``.

        Raises:
            UnknownKeyError: The name is unknown; the error suggests the nearest known one.
            MissingExtraError: The adapter's packages are missing; the error shows the pip line.
            ConfigError: Two distributions claim the name, or its class is not an adapter.
        """
        if provider in self._registered:
            return self._registered[provider]
        if provider in self._by_name():
            return _checked(_import(self._only(provider)), provider)
        if _IMPORT_STRING.fullmatch(provider):
            return _checked(_import(InstalledAdapter(provider, provider)), provider)
        raise self.unknown(provider)

    def unknown(self, provider: str, *, where: str = "") -> UnknownKeyError:
        """Return the error for an unknown provider."""
        names = self.names()
        hint = did_you_mean(provider, names) if names else "no adapter is installed: run `pip install -e .` first"
        return UnknownKeyError(f"{where}unknown provider {provider!r}", hint=hint)

    def _by_name(self) -> dict[str, list[InstalledAdapter]]:
        if self._installed is None:
            self._installed = {}
            for found in self._find():
                self._installed.setdefault(found.name, []).append(found)
        return self._installed

    def _only(self, name: str) -> InstalledAdapter:
        claims = self._by_name()[name]
        if len(claims) > 1:
            claimants = " and ".join(sorted(f"{c.distribution} ({c.value})" for c in claims))
            raise ConfigError(f"provider {name!r} is claimed by {claimants}", hint="uninstall one of them")
        return claims[0]


def missing_extra(
    provider: str, module: str | None, distribution: str | None = None, *, subject: str = "", extra: str = ""
) -> MissingExtraError:
    """Return the error for packages that are not installed, with the command that installs them.

    Args:
        provider: The provider whose adapter needs them.
        module: The module that could not be imported.
        distribution: The distribution with the extra that provides them; ``mlport`` by default.
        subject: The part that needs them, if not the adapter itself.
        extra: The name of the extra, if it differs from the provider's.

    Example:
        >>> print(missing_extra("sagemaker", "boto3"))
        provider 'sagemaker' needs the module 'boto3', which is not installed; pip install "mlport[sagemaker]"
    """
    what = f"the module {module!r}" if module else "a package"
    hint = f'pip install "{distribution or "mlport"}[{extra or provider}]"'
    message = f"{subject or f'provider {provider!r}'} needs {what}, which is not installed"
    return MissingExtraError(message, provider=provider, hint=hint)


@contextmanager
def extra_of(provider: str, *, subject: str = "", extra: str = "") -> Generator[None]:
    """Report a module that is missing in the block as missing from an extra of the provider.

    Raises:
        MissingExtraError: Replaces ``ModuleNotFoundError`` if the provider's distribution has such an extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        found = adapters.known().get(provider)
        distribution = (found and found.distribution) or "mlport"
        if not {*(extra or provider).split(",")} <= {*_extras(distribution)}:
            raise
        raise missing_extra(provider, error.name, distribution, subject=subject, extra=extra) from error


def _extras(distribution: str) -> list[str]:
    try:
        return metadata.metadata(distribution).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []


def _import(found: InstalledAdapter) -> Any:
    module, _, attribute = found.value.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or found.distribution is None or module.startswith(error.name):
            raise ConfigError(f"provider {found.name!r}: no module named {error.name!r}") from error
        raise missing_extra(found.name, error.name, found.distribution) from error
    except AttributeError as error:
        raise ConfigError(f"provider {found.name!r}: {module} has no {attribute!r}") from error
    except Exception as error:  # an adapter is foreign code: whatever it raises, name the provider
        raise ConfigError(f"provider {found.name!r}: importing {module} failed: {error}") from error


def _checked(candidate: Any, provider: str) -> type[Adapter]:
    """Return the candidate if it is a complete adapter; wrap its operations so that parsing errors become ours."""
    wanted = sorted(name for name in {*vars(Adapter), *Adapter.__annotations__} if not name.startswith("_"))
    missing = [name for name in wanted if not hasattr(candidate, name)]
    if not isinstance(candidate, type) or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else "is not a class"
        raise ConfigError(f"provider {provider!r} is not an adapter: {candidate!r} {lacks}")
    options = getattr(candidate, "Options", None)
    if not (isinstance(options, type) and issubclass(options, TargetOptions)):
        raise ConfigError(f"provider {provider!r}: Options must extend sdk.adapter.TargetOptions")
    return understanding(cast("type[Adapter]", candidate))


adapters = Registry()


def _received(registered: Mapping[str, type[Adapter]]) -> Registry:
    """Return the registry of this process, after adding the sender's adapters that are missing in it."""
    for name, adapter in registered.items():
        if name not in adapters.names():
            adapters.register(name, adapter)
    return adapters


def register_adapter(name: str, adapter: type[Adapter], *, replace: bool = False) -> None:
    """Add an adapter for this process; see :meth:`Registry.register`."""
    adapters.register(name, adapter, replace=replace)
