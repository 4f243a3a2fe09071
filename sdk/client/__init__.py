"""The client: every verb, on every target."""

from __future__ import annotations

import functools

from .build import BuildVerbs
from .change import ChangeVerbs
from .compare import CompareVerbs
from .look import LookVerbs
from .rights import RightsVerbs
from .telling import to_stderr
from .train import TrainVerbs


class Client(ChangeVerbs, TrainVerbs, LookVerbs, BuildVerbs, CompareVerbs, RightsVerbs):
    """Trains, deploys, calls and watches models on the targets of one configuration.

    The module-level verbs (``sdk.deploy`` and so on) are those of :func:`default_client`. All of them block, also
    inside a notebook's running event loop, but for ``apredict``. Share a client between threads; close it at the end.
    A pickled client is its configuration and target: the receiving process uses credentials and secrets of its own.

    Args:
        config: A project file, settings in the form of one (a mapping), or :class:`sdk.config.Settings`; found and
            read from files and environment when left out.
        target: Target that is used when a verb names none.
        env: The environment to read settings and secrets from; the process's own when left out.
        progress: Told what happens during a change, beside the log lines of level "info".
        clock: The source of time, for tests.
        transport: Used for predictions instead of the network, for tests.
        seed: Makes jitter and ids reproducible, for tests.

    Raises:
        ConfigError: The configuration is wrong; names file, key and fix.

    Example:
        >>> with Client({"default": "local"}, env={}) as client:
        ...     client.capabilities()["local"]["deploy"].ok
        True
    """


@functools.cache
def default_client() -> Client:
    """The client behind the module-level verbs: reads its configuration at first use, tells stages in a terminal."""
    return Client(progress=to_stderr)


__all__ = ["Client", "default_client"]
