"""The one place that runs ``uv``, and turns what it says into our errors."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sdk.errors import ConfigError, PackagingError
from sdk.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sdk.packaging.manifest import Sources

_NETWORK = re.compile(r"error sending request|dns error|tcp connect|timed out|network (was|is) disabled", re.IGNORECASE)
_OTHER_SOURCE = "name an index that has it in UV_INDEX, a folder with it in UV_FIND_LINKS, or package the model again"
_HINTS = {
    r"\b(401|403)\b|Unauthorized|Forbidden": "put the credentials of the package index into ~/.netrc or into UV_INDEX",
    _NETWORK.pattern: (
        "the package index cannot be reached: check the network, index_url= and the proxy, then try again"
    ),
    "hash mismatch": f"the file is not the one that was locked, so it is not installed: {_OTHER_SOURCE}",
    r"^cannot install the.*(No solution found|\b404\b|\b410\b)": (
        f"a locked file is not on the package index (any more): {_OTHER_SOURCE}"
    ),
    "No solution found": "relax or correct requirements=",
    "no virtual environment|No interpreter found": "install that Python, for instance with: uv python install",
}
"""What may be done about a failure, by what its message holds; the first one counts."""
_PIP_SETTINGS = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
}
_UV_NAMES = {
    "UV_DEFAULT_INDEX": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "UV_INDEX": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "UV_FIND_LINKS": ("UV_FIND_LINKS",),
}


@cache
def uv_binary() -> str:
    """Path of the ``uv`` program that came with mlport."""
    import uv

    return uv.find_uv_bin()


@cache
def uv_version() -> str:
    """The version of :func:`uv_binary`, such as ``"0.13.9"``."""
    return run(["--version"], what="ask uv for its version").split()[1]


def run(arguments: Sequence[str | Path], *, what: str, env: Mapping[str, str] | None = None) -> str:
    """What ``uv`` prints on standard output.

    Args:
        arguments: The command line after ``uv``; never with credentials, as every user of the machine can see it.
        what: What is being done, for the error.
        env: The environment; the own one when left out.

    Raises:
        PackagingError: ``uv`` failed; says whether it was the network, a conflict of versions or something else.
    """
    command = [uv_binary(), *map(str, arguments)]
    environment = dict(os.environ if env is None else env) | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    environment.pop("VIRTUAL_ENV", None)
    # From the root folder, so that a uv.toml in a cloned project cannot name an index.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")  # noqa: S603  no shell
    if done.returncode:
        raise _failure(what, Redactor()(done.stderr.strip()))
    return done.stdout


def environment(sources: Sources, find_links: Sequence[Path] = ()) -> dict[str, str]:
    """Our environment plus where packages come from.

    pip's variables count where uv's own are not set, so that a machine set up for pip needs no second set-up.
    """
    env = dict(os.environ)
    for pip_name, uv_name in _PIP_SETTINGS.items():
        if os.environ.get(pip_name) and not any(os.environ.get(name) for name in _UV_NAMES[uv_name]):
            env[uv_name] = ",".join(env[pip_name].split()) if uv_name == "UV_FIND_LINKS" else env[pip_name]
    if sources.index:
        env.pop("UV_INDEX_URL", None)
        env["UV_DEFAULT_INDEX"] = sources.index
    if sources.extra_indexes:
        env["UV_INDEX"] = " ".join([*sources.extra_indexes, env.get("UV_INDEX", "")]).strip()
    if find_links:
        env["UV_FIND_LINKS"] = ",".join([*map(str, find_links), *filter(None, [env.get("UV_FIND_LINKS")])])
    if offline():
        env["UV_OFFLINE"] = "1"
    return env


def has_links() -> bool:
    """Whether the environment names folders of wheels or more indexes."""
    names = (*_PIP_SETTINGS, *(name for names in _UV_NAMES.values() for name in names))
    return any(os.environ.get(name) for name in names)


def offline() -> bool:
    """Whether the user forbids the network: ``offline`` of the configuration, or ``MLPORT_OFFLINE``."""
    from sdk.config import load

    return load().offline.value


def check_index(field: str, url: str) -> str:
    """The URL of a package index, if it may be stored.

    Raises:
        ConfigError: It is no http(s) URL, or holds credentials, which would end up in files that are passed on.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{field} {Redactor()(url)!r} is no http(s) URL", hint="give the URL of a simple index")
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            f"{field} for host {parts.hostname} holds credentials",
            hint="leave them out and put them into ~/.netrc, or set UV_INDEX to the whole URL in the environment",
        )
    return url


def _failure(what: str, said: str) -> PackagingError:
    message = f"cannot {what}:\n{said}"
    found = (hint for pattern, hint in _HINTS.items() if re.search(pattern, message, re.IGNORECASE | re.DOTALL))
    hint = next(found, "the lines above say why")
    return PackagingError(message, operation=what, retryable=bool(_NETWORK.search(said)), hint=hint)
