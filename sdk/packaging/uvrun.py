"""Run ``uv`` (only this module does), and turn its messages into our errors."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import uvconfig
from sdk.util import children
from sdk.util.redact import Redactor

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
    r"memory allocation of \d+ bytes failed|a file has more than": (
        "an answer of the package index is larger than any that is meant: name another index in index_url="
    ),
    "No solution found": "relax or correct requirements=",
    "no virtual environment|No interpreter found": "install that Python, for instance with: uv python install",
}
"""Advice on failures, by patterns in the message; the first match counts."""
_PIP_SETTINGS = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
}
_INDEX_LOGIN = re.compile(r"UV_INDEX_.+_(USERNAME|PASSWORD)")
_USERINFO = re.compile(r"([a-z+]+://)[^/\s]*@", re.IGNORECASE)
_PASSED_ON = (
    *("HOME", "USER", "LOGNAME", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "NETRC"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_BIN_HOME", "XDG_RUNTIME_DIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("UV_CACHE_DIR", "UV_NO_CACHE", "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_LINK_MODE", "UV_OFFLINE"),
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_INDEX_STRATEGY", "UV_KEYRING_PROVIDER", "UV_CREDENTIALS_DIR", "UV_INSECURE_HOST", "UV_EXCLUDE_NEWER"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT"),
    *("UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_BUILDS", "UV_CONCURRENT_INSTALLS"),
    *("UV_PYTHON_INSTALL_DIR", "UV_PYTHON_PREFERENCE", "UV_PYTHON_DOWNLOADS", "UV_PRERELEASE"),
    *("UV_TORCH_BACKEND", "SOURCE_DATE_EPOCH"),
)
_PASSED_ON_TOO = re.compile(rf"LC_[A-Z]+|{_INDEX_LOGIN.pattern}")
_UV_NAMES = {
    "UV_DEFAULT_INDEX": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "UV_INDEX": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "UV_FIND_LINKS": ("UV_FIND_LINKS",),
}


@cache
def uv_binary() -> str:
    """Return the path of the ``uv`` program that is installed with mlport."""
    import uv

    return uv.find_uv_bin()


@cache
def uv_version() -> str:
    """Return the version of :func:`uv_binary`, such as ``"0.13.9"``."""
    return run(["--version"], what="ask uv for its version").split()[1]


@dataclass(frozen=True, slots=True)
class UvLimits:
    """The limits for one run of ``uv``: an index can answer slowly, or without end, and ``uv`` keeps reading.

    Args:
        seconds: Seconds until it must have ended.
        memory: Bytes of its address space.
        file: Bytes of the largest file that it writes.
    """

    seconds: float = 7200.0
    memory: int = 8 << 30
    file: int = 32 << 30


def run(
    arguments: Sequence[str | Path],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    building: bool = False,
    limits: UvLimits = UvLimits(),
) -> str:
    """Run ``uv`` and return its standard output.

    Args:
        arguments: The command line after ``uv``; never with credentials, as every user of the machine can see it.
        what: The task, for the error.
        env: The environment; :func:`allowed_environment` if omitted.
        building: Whether ``uv`` runs compilers, whose memory and files are not limited; only the time is limited then.
        limits: The limits of the run.

    Raises:
        PackagingError: ``uv`` failed; the error distinguishes the network, a conflict of versions and other causes.
    """
    environment = dict(allowed_environment() if env is None else env) | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    with uvconfig.harmless(environment) as configured:
        command = [uv_binary(), *configured, *map(str, arguments)]
        # Run in the root folder, so that a uv.toml in a cloned project cannot name an index.
        status, out, said = _ended(command, environment, limits, building=building)
    if status is None:
        hint = "the package index answers too slowly: name another one in index_url=, or try again"
        message = f"cannot {what}: uv had not ended after {limits.seconds:g} s"
        raise PackagingError(message, operation=what, retryable=True, hint=hint)
    if status:
        said = said if status != -signal.SIGXFSZ else f"a file has more than {limits.file:,} bytes"
        raise _failure(what, Redactor()(said.strip()))
    return out


def _ended(
    command: list[str], env: Mapping[str, str], limits: UvLimits, *, building: bool
) -> tuple[int | None, str, str]:
    """Return the exit status of ``uv`` and its output; the status is ``None`` if the time limit was reached."""
    with children.started(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd="/"
    ) as process:
        if not building:
            _limit(process.pid, limits)
        try:
            out, said = process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            return None, "", ""
        return process.returncode, out, said


def _limit(process: int, limits: UvLimits) -> None:
    """Limit a process that has just started; where the system cannot do that, only its time is limited."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError, PermissionError):
            for kind, most in ((resource.RLIMIT_AS, limits.memory), (resource.RLIMIT_FSIZE, limits.file)):
                resource.prlimit(process, kind, (most, most))


def allowed_environment() -> dict[str, str]:
    """Return our environment without variables that only we need, above all the keys of clouds and registries.

    This is an allow list, so that keys of services unknown to mlport are not passed on either. ``uv``, and interpreters
    that process an untrusted bundle, get this environment.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed | {name: value for name, value in os.environ.items() if _PASSED_ON_TOO.fullmatch(name)}


def environment(sources: Sources, find_links: Sequence[Path] = (), *, building: bool = False) -> dict[str, str]:
    """Return the environment for ``uv``: the variables of ours that it needs, and the origin of packages.

    pip's variables apply where uv's own are not set, so that a machine set up for pip needs no second set-up.

    Args:
        sources: Package indexes named by the user or the model.
        find_links: Folders of wheels.
        building: Whether build scripts of packages run, which see the environment: credentials of package indexes
            are left out of it. ``uv`` itself still finds those in ``~/.netrc``.
    """
    env = allowed_environment()
    for pip_name, uv_name in _PIP_SETTINGS.items():
        if os.environ.get(pip_name) and not any(os.environ.get(name) for name in _UV_NAMES[uv_name]):
            value = os.environ[pip_name]
            env[uv_name] = ",".join(value.split()) if uv_name == "UV_FIND_LINKS" else value
    if sources.index:
        env.pop("UV_INDEX_URL", None)
        env["UV_DEFAULT_INDEX"] = sources.index
    if sources.extra_indexes:
        env["UV_INDEX"] = " ".join([*sources.extra_indexes, env.get("UV_INDEX", "")]).strip()
    if find_links:
        env["UV_FIND_LINKS"] = ",".join([*map(str, find_links), *filter(None, [env.get("UV_FIND_LINKS")])])
    if offline():
        env["UV_OFFLINE"] = "1"
    return _without_credentials(env) if building else env


def _without_credentials(env: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if not _INDEX_LOGIN.fullmatch(name)}
    return {name: _USERINFO.sub(r"\1", value) for name, value in kept.items()}


def has_links() -> bool:
    """Check whether the environment names folders of wheels or more indexes."""
    names = (*_PIP_SETTINGS, *(name for names in _UV_NAMES.values() for name in names))
    return any(os.environ.get(name) for name in names)


def offline() -> bool:
    """Check whether the user forbids the network: ``offline`` of the configuration, or ``MLPORT_OFFLINE``."""
    from sdk.config import load

    return load().offline.value


def check_index(field: str, url: str) -> str:
    """Return the URL of a package index, if it may be stored.

    Raises:
        ConfigError: It is not an http(s) URL, or has credentials, which would end up in files that are shared.
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
