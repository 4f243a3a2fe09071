"""The client, which has every verb for every target."""

from __future__ import annotations

import functools

from .build import BuildVerbs
from .compare_verb import CompareVerbs
from .gc import GcVerbs
from .policy import RightsVerbs
from .progress import to_stderr
from .train import TrainVerbs


class Client(GcVerbs, TrainVerbs, BuildVerbs, CompareVerbs, RightsVerbs):
    """A client that trains, deploys, calls and monitors models on the targets of one configuration.

    The module-level verbs (``sdk.deploy`` and so on) are the methods of :func:`default_client`. All verbs except
    ``apredict`` block, even inside a notebook's running event loop. A client can be shared between threads; close it
    at the end. Pickling a client sends only its configuration and target: the receiving process uses its own
    credentials and secrets.

    Args:
        config: The path of a project file, a mapping with the same structure, or :class:`sdk.config.Settings`; read
            from files and the environment when left out.
        target: The target to use when a call does not name one.
        env: The environment to read settings and secrets from; that of the process when left out.
        progress: Called with each event of a change, in addition to the log lines of level "info".
        clock: The source of time, for tests.
        transport: The transport that predictions use instead of the network, for tests.
        seed: A seed that makes jitter and ids reproducible, for tests.

    Raises:
        ConfigError: The configuration is wrong; the error names the file, the key and the fix.

    Example:
        >>> with Client({"default": "local"}, env={}) as client:
        ...     client.capabilities()["local"]["deploy"].ok
        True
    """


@functools.cache
def default_client() -> Client:
    """Return the client of the module-level verbs; it reads its configuration on first use and reports on stderr."""
    return Client(progress=to_stderr)


__all__ = ["Client", "default_client"]
