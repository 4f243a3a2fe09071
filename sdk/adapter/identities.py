"""Identities of a target's buckets, registries and containers: remembered at first use, compared at every later one.

Bucket names are shared by all customers of a cloud, so a guessable name may already belong to another customer, who
would receive the data that is written to it. An adapter determines the identity of a resource before its first use and
compares it here with the remembered one. A change of owner is an error until the user has accepted it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from typing import TYPE_CHECKING

from ..errors import SecurityError, UnreadableError
from ..util import foreign, kept
from ..util.private import write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_FOLDER = "identities"
_LARGEST = 1 << 20  # bytes of a record


class Identities:
    """The remembered identities of the resources that a target uses.

    Args:
        state_dir: The state folder; a resource whose record was deleted counts as new.
        provider: Provider, for errors.
    """

    def __init__(self, state_dir: Path, provider: str) -> None:
        self._folder, self._provider = state_dir / _FOLDER, provider
        self._lock = threading.Lock()
        self._checked: set[str] = set()

    def once(self, name: str, look: Callable[[], Mapping[str, str]]) -> None:
        """Determine and compare the identity of a resource, the first time in this process.

        Args:
            name: The resource, such as ``s3://BUCKET``.
            look: Returns its identity; raises if the resource is not what it should be.

        Raises:
            SecurityError: The resource had another identity when it was used before.
        """
        if name in self._checked:
            return
        with self._lock:
            if name not in self._checked:
                self.check(name, look())
                self._checked.add(name)

    def check(self, name: str, identity: Mapping[str, str]) -> None:
        """Compare an identity with the remembered one, and remember it.

        Raises:
            SecurityError: The identities differ.
        """
        known = self.compare(name, identity)
        if known != dict(identity):
            self._remember(self._file(name), name, identity)

    def compare(self, name: str, identity: Mapping[str, str]) -> Mapping[str, str]:
        """Compare an identity with the remembered one and return that; write nothing.

        Raises:
            SecurityError: The identities differ.
        """
        file = self._file(name)
        known = _read(file, name)
        for field, value in identity.items():
            if known.get(field, value) != value:
                raise SecurityError(
                    f"{name} is another one than before: its {field} was {known[field]} and is {value}",
                    provider=self._provider,
                    operation="verify",
                    resource=name,
                    hint=f"find out why; if that is right, remove {file}, or name another one in the target's settings",
                )
        return known

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(f'{self._provider} {name}'.encode()).hexdigest()[:32]}.json"

    def _remember(self, file: Path, name: str, identity: Mapping[str, str]) -> None:
        """Write the record; ignore a full disk, because the verbs that free space must work there too."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(file, json.dumps({"name": name, "identity": dict(identity)}, indent=1).encode())


def _read(file: Path, name: str) -> dict[str, str]:
    """Return the remembered identity; empty if the record is missing or cannot be read."""
    try:
        with foreign.understood(str(file)):
            found = foreign.table(kept.recall(file, _LARGEST) or b"", str(file))
            if found["name"] != name:
                return {}
            return {str(field): str(value) for field, value in dict(found["identity"]).items()}
    except UnreadableError:
        return {}
