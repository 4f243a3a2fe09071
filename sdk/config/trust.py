"""Settings that a project file may contain before the user has trusted it with ``mlport config trust``.

A configuration file in a cloned repository was written by someone else. It may choose among installed providers, and
set location, hardware and size of a target. Every other key counts only once the file is trusted. The rule lists what
is allowed: a new setting, or one of an unknown adapter, is refused until it is added here. Trust applies to the exact
bytes of a file, so any change requires a new confirmation.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from ..util import kept
from ..util.private import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "MLPORT_TRUST"
_LARGEST = 16 << 20  # bytes of the list of trusted files
TARGET_KEYS = frozenset(
    {
        *("provider", "region", "project", "account", "subscription", "resource_group", "workspace", "role"),
        *("instance", "resources", "replicas", "ttl", "tags"),
    }
)
"""The keys that an untrusted project file may set in a target's table."""
TOP_KEYS = frozenset({"default", "objective", "monitor"})
"""The top-level keys that it may set: the default target, the objective and the alarms."""

_ADDRESS = re.compile(r"(?i)\s*(?:https?|wss?|grpcs?|tcp|tls|unix|file|ftp|git\+\w+):/")


def refusal(path: tuple[str, ...], value: Any) -> str | None:
    """Return why an untrusted file may not set this key to this value; ``None`` if it may.

    Example:
        >>> refusal(("target", "aws", "region"), "eu-west-1")
        >>> refusal(("target", "aws", "provider"), "evil:Adapter")
        'names code to import'
        >>> refusal(("owner",), "somebody")
        'is not among what it may set'
    """
    keys = path[2:] if path[0] == "target" else path  # targets have free names
    if keys and keys[0] not in (TARGET_KEYS if path[0] == "target" else TOP_KEYS):
        return "is not among what it may set"
    if keys == ("provider",) and isinstance(value, str) and not re.fullmatch(r"[a-z][a-z0-9_-]*", value):
        return "names code to import"
    if keys[:1] != ("tags",) and _holds_address(value):  # tags are free text
        return "is an address"
    return None


def _holds_address(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_address, cast("Any", value).values()))
    if isinstance(value, list):
        return any(map(_holds_address, cast("Any", value)))
    return isinstance(value, str) and _ADDRESS.match(value) is not None


def named_trust(env: Mapping[str, str]) -> frozenset[str]:
    """Return the SHA-256 (hex) of the project files that the environment trusts, as a CI job does.

    Raises:
        ConfigError: The variable holds something other than SHA-256 digests.
    """
    digests = env.get(VARIABLE, "").replace(",", " ").split()
    for digest in digests:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ConfigError(f"{VARIABLE} is not the SHA-256 of a project file", hint="sha256sum mlport.toml shows it")
    return frozenset(digests)


class TrustStore:
    """A store, in the state folder, of the trusted files by absolute path and SHA-256.

    Args:
        state_dir: The state folder; created with mode 0700 when the first file is trusted.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "trust.json"

    def trusts(self, file: Path, content: bytes) -> bool:
        """Check whether exactly this content of this file is trusted."""
        return self._read().get(str(file.resolve())) == hashlib.sha256(content).hexdigest()

    def trust(self, file: Path, content: bytes) -> str:
        """Trust this content of this file, and no other; return its SHA-256 (hex).

        Raises:
            ConfigError: The state folder cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        self._write({**self._read(), str(file.resolve()): digest})
        return digest

    def forget(self, file: Path) -> None:
        """Withdraw the trust in a file."""
        known = self._read()
        if known.pop(str(file.resolve()), None) is not None:
            self._write(known)

    def _read(self) -> dict[str, str]:
        try:
            if self.path.lstat().st_uid != os.getuid():
                return {}  # the file of another user
            known = json.loads(kept.read_regular(self.path, _LARGEST) or b"{}")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, RecursionError):
            return {}  # a damaged file trusts nothing; the next `trust` replaces it
        return cast("dict[str, str]", known) if isinstance(known, dict) else {}

    def _write(self, known: Mapping[str, str]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.path, json.dumps(known, indent=2, sort_keys=True).encode())
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error
