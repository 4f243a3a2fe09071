"""Parse the addresses of images: ``HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdk.errors import ConfigError
from sdk.util.hosts import on_this_machine

_HOST = r"(?:localhost|\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
_REFERENCE = re.compile(
    rf"(?P<host>{_HOST})/(?P<repository>{_PATH})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """The address of an image in a registry."""

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse an address.

        Raises:
            ConfigError: The text is not an address, or names no registry.

        Example:
            >>> Reference.parse("localhost:5000/churn:v1").repository
            'churn'
        """
        match = _REFERENCE.fullmatch(text)
        if match is None or not _looks_like_host(match["host"]):
            raise ConfigError(
                f"{text!r} is no image reference", hint="write HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…"
            )
        return cls(match["host"], match["repository"], match["tag"], match["digest"])

    @property
    def name(self) -> str:
        """The digest if the address has one, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def api(self, *, plain: bool) -> str:
        """Return the base address of the repository in the registry's HTTP API, without TLS if ``plain``."""
        host = "registry-1.docker.io" if self.host == "docker.io" else self.host
        return f"{'http' if plain else 'https'}://{host}/v2/{self.repository}"

    @property
    def loopback(self) -> bool:
        """Whether the registry runs on this machine, so that plain HTTP is safe."""
        return on_this_machine(self.host.rsplit(":", 1)[0])

    def at(self, digest: str) -> str:
        """Return the address of this digest in the same repository."""
        return f"{self.host}/{self.repository}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"


def _looks_like_host(text: str) -> bool:
    return text.startswith(("localhost", "[")) or "." in text or ":" in text
