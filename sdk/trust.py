"""What a project file may not set until its owner has looked at it: ``mlport config trust``.

A configuration file in a cloned repository is somebody else's text. It may choose among installed providers and fill
in their settings; it may not name code to import, an address to send credentials to, a certificate to believe, a
command to run, or where state is kept. Trust is given to the bytes of a file, so any change asks again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = re.compile(
    r"(?i)(?:^|[_-])(?:ur[li]s?|endpoints?|host|proxy|proxies|ca|cafile|certs?|certificate|verify|hooks?|command|cmd"
    r"|shell|python|interpreter|registry|registries|index|indexes|plugins?|state[_-]?dir)(?:$|[_-])"
)
_ADDRESS = re.compile(r"(?i)\s*(?:https?|wss?|grpcs?|tcp|tls|unix|file|ftp|git\+\w+):/")


def refusal(path: tuple[str, ...], value: Any) -> str | None:
    """Why an untrusted file may not set this key to this value; ``None`` if it may.

    Example:
        >>> refusal(("target", "aws", "region"), "eu-west-1")
        >>> refusal(("target", "aws", "provider"), "evil:Adapter")
        'names code to import'
    """
    if path[-1] == "provider" and isinstance(value, str) and not re.fullmatch(r"[a-z][a-z0-9_-]*", value):
        return "names code to import"
    keys = path[2:] if path[0] == "target" else path  # targets have free names
    if keys[:1] == ("tags",):
        return None  # free text
    if any(map(_KEY.search, keys)):
        return "decides whom to believe, where to connect or what to run"
    if isinstance(value, str) and _ADDRESS.match(value):
        return "is an address"
    return _inside(path, value)


def _inside(path: tuple[str, ...], value: Any) -> str | None:
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in cast("Any", value).items()]
    elif isinstance(value, list):
        items = [(path[-1], item) for item in cast("Any", value)]
    return next((reason for key, item in items if (reason := refusal((*path, key), item))), None)


class TrustStore:
    """Remembers in the state folder which files were trusted, by absolute path and SHA-256.

    Args:
        state_dir: The state folder; made with mode 0700 when something is first trusted.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "trust.json"

    def trusts(self, file: Path, content: bytes) -> bool:
        """Whether exactly this content of this file was trusted."""
        return self._read().get(str(file.resolve())) == hashlib.sha256(content).hexdigest()

    def trust(self, file: Path, content: bytes) -> str:
        """Trusts this content of this file, and no other, and gives its SHA-256 (hex).

        Raises:
            ConfigError: When the state folder cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        self._write({**self._read(), str(file.resolve()): digest})
        return digest

    def forget(self, file: Path) -> None:
        """Takes the trust back."""
        known = self._read()
        if known.pop(str(file.resolve()), None) is not None:
            self._write(known)

    def _read(self) -> dict[str, str]:
        try:
            if self.path.stat().st_uid != os.getuid():
                return {}  # somebody else's word
            known = json.loads(self.path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{self.path} is damaged: {error}", hint="delete it and trust again") from error
        return cast("dict[str, str]", known) if isinstance(known, dict) else {}

    def _write(self, known: Mapping[str, str]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".trust-")  # mode 0600
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(known, stream, indent=2, sort_keys=True)
            Path(name).replace(self.path)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error
