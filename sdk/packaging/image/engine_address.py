"""Find the Docker Engine in the order of Docker's own command line: ``DOCKER_HOST``, context, default socket.

Source: https://docs.docker.com/engine/manage-resources/contexts/
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from sdk.errors import ConfigError
from sdk.util import foreign
from sdk.util.hosts import on_this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an engine.

    Args:
        host: ``unix:///path``, ``tcp://host:port`` or ``ssh://user@host``.
        certificates: Folder with ``ca.pem``, ``cert.pem`` and ``key.pem``; if given, TLS is used.
    """

    host: str
    certificates: Path | None = None

    @property
    def is_here(self) -> bool:
        """Whether the engine is on this machine, judging by its address; if so, its published ports can be reached."""
        parts = urlsplit(self.host)
        return parts.scheme == "unix" or (parts.scheme != "ssh" and on_this_machine(parts.hostname))

    @property
    def url(self) -> str:
        """The base address for HTTP."""
        parts = urlsplit(self.host)
        if parts.scheme == "unix":
            return "http://docker"
        return f"{'https' if self.certificates else 'http'}://{parts.netloc}"

    def probe(self) -> None:
        """Connect to the socket once, because only that distinguishes a missing engine from a missing permission.

        Raises:
            OSError: The socket does not exist, no process listens, or access is denied.
        """
        parts = urlsplit(self.host)
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(10)
                probe.connect(parts.path)

    def transport(self) -> httpx.HTTPTransport:
        """Return an HTTP transport to the engine.

        Raises:
            ConfigError: The address has an unsupported scheme.
        """
        parts = urlsplit(self.host)
        if parts.scheme == "unix":
            return httpx.HTTPTransport(uds=parts.path)
        if parts.scheme in {"tcp", "http", "https"} and parts.hostname:
            return httpx.HTTPTransport(verify=_tls(self.certificates) if self.certificates else False)
        raise ConfigError(
            f"Docker address {self.host!r} cannot be used",
            hint="use unix://, tcp:// or ssh://",
        )


def find_address(env: Mapping[str, str] = os.environ, *, named: str | None = None) -> Address:
    """Return the engine that Docker's command line would use.

    Args:
        env: The environment.
        named: An address, or the name of a context, that takes precedence over the environment.

    Raises:
        ConfigError: The named context does not exist.
    """
    if named is not None and "://" not in named:
        return _context(named, _config_folder(env) / "contexts")
    host = named or env.get("DOCKER_HOST")
    if host:
        folder = env.get("DOCKER_CERT_PATH") or str(_config_folder(env))
        return Address(host, Path(folder) if env.get("DOCKER_TLS_VERIFY") else None)
    name = env.get("DOCKER_CONTEXT") or _current(env)
    if name and name != "default":
        return _context(name, _config_folder(env) / "contexts")
    places = (
        Path("/var/run/docker.sock"),
        Path(env.get("HOME", "/")) / ".docker" / "run" / "docker.sock",
        Path(env.get("XDG_RUNTIME_DIR", "/run")) / "docker.sock",
    )
    return Address(f"unix://{next((path for path in places if path.exists()), places[0])}")


def _config_folder(env: Mapping[str, str]) -> Path:
    return Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME", "/")) / ".docker")


def _current(env: Mapping[str, str]) -> str:
    try:
        config: dict[str, Any] = foreign.table((_config_folder(env) / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(config.get("currentContext") or "")


def _context(name: str, contexts: Path) -> Address:
    key = hashlib.sha256(name.encode()).hexdigest()
    try:
        meta: dict[str, Any] = foreign.table((contexts / "meta" / key / "meta.json").read_bytes())
        host = str(meta["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"Docker context {name!r} does not exist", hint="see `docker context ls`") from None
    certificates = contexts / "tls" / key / "docker"
    return Address(host, certificates if certificates.is_dir() else None)


def _tls(folder: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the Docker certificates in {folder} cannot be used: {error}") from error
    return context
