"""The base class of the client's verbs: the configuration and the open targets."""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING, Any, Self

from ..config import Layer, Settings, load
from ..config.secrets import SecretSource
from ..util.durations import parse_duration
from ..util.redact import Redactor
from ..util.verbose import log_to_stderr
from ..util.waiting import Deadline, StoppableClock, SystemClock
from .callers import Callers
from .pickling import Reduced, reduced
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx

    from ..adapter import Clock
    from ..executor import Event


class ClientBase:
    """The base class of all verbs, which holds the configuration and the open targets."""

    def __init__(
        self,
        config: Settings | Mapping[str, Any] | str | Path | None = None,
        *,
        target: str | None = None,
        env: Mapping[str, str] | None = None,
        progress: Callable[[Event], None] | None = None,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
        seed: int | None = None,
    ) -> None:
        self.redactor = Redactor()
        self._environ = os.environ if env is None else env
        self._settings = _settings(config, self._environ)
        if self._settings.log.source.layer is not Layer.DEFAULT:
            log_to_stderr(self._settings.log.value, self.redactor)
        self._target = target
        self._progress = progress or _silent
        self._clock = clock or SystemClock()
        self._transport = transport
        self._random = random.Random(seed)  # noqa: S311  # jitter and ids, not secrets
        self._secrets = SecretSource(self._environ, self.redactor)
        self._callers = Callers()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def settings(self) -> Settings:
        """The configuration: every value with its source."""
        return self._settings

    def session(self, target: str | None = None, *, sweeps: bool = True) -> Session:
        """Return the session of a target, which is opened on first use.

        Args:
            target: The target's name; by default that of this client, else the default target of the configuration.
            sweeps: Whether opening the target removes temporary files of processes that were killed.

        Raises:
            UnknownKeyError: The target is unknown.
            ConfigError: The target's settings are wrong.
        """
        settings = self._settings.target(target or self._target)
        with self._lock:
            known = self._sessions.get(settings.name)
            if known is None:
                known = self._sessions[settings.name] = Session(
                    self._settings,
                    settings,
                    clock=self._clock,
                    redactor=self.redactor,
                    progress=self._progress,
                    random=self._random,
                    transport=self._transport,
                )
                if sweeps:
                    known.sweep()
        return known

    def sibling(self, target: str, progress: Callable[[Event], None]) -> tuple[Self, StoppableClock]:
        """Return a client of the same configuration for another thread, and the clock that can stop its work."""
        clock = StoppableClock(self._clock)
        client = type(self)(
            self._settings,
            target=target,
            env=self._environ,
            progress=progress,
            clock=clock,
            transport=self._transport,
        )
        return client, clock

    def targets(self) -> tuple[str, ...]:
        """Return the names of the configured targets and of the target that this client uses by default, sorted."""
        return tuple(sorted({*self._settings.targets, self._settings.target(self._target).name}))

    def close(self) -> None:
        """Close connections and adapters; endpoints and jobs keep running."""
        self._callers.close()
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __reduce__(self) -> Reduced:
        """Pickle the configuration and the target; see :mod:`sdk.client.pickling`."""
        for name, own in (("clock", type(self._clock) is not SystemClock), ("transport", self._transport)):
            if own:
                raise TypeError(f"a client with a {name} of its own cannot be pickled: it would not have it elsewhere")
        return reduced(type(self), self._settings, self._target)

    def __repr__(self) -> str:
        return f"Client(target={self._target or self._settings.default.value!r})"


def _settings(config: Settings | Mapping[str, Any] | str | Path | None, environ: Mapping[str, str]) -> Settings:
    if isinstance(config, Settings):
        return config
    if config is None or hasattr(config, "items"):
        arguments: Any = config
        return load(arguments=arguments, env=environ)
    path: Any = config
    return load(config=path, env=environ)


def _silent(_event: Event) -> None:
    pass


def seconds_of(timeout: str | float | None, default: float) -> float:
    """Return a timeout in seconds, from a number of seconds or text such as ``"10m"``; the default for ``None``."""
    return default if timeout is None else parse_duration(timeout, field="timeout")


def deadline_of(session: Session, timeout: str | float | None, default: float) -> Deadline:
    """Return the deadline that a timeout sets from now on; see :func:`seconds_of`."""
    return session.deadline(seconds_of(timeout, default))
