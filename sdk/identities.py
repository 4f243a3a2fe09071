"""Whose the buckets, registries and containers of a target are: seen once, remembered, and compared each time.

Names of buckets are shared by all customers of a cloud, so one that is easy to guess may exist already under somebody
else, who then gets the data that is written to it. An adapter finds out whose a thing is before it is first used and
asks here whether that is what it was; a change of owner is an error until the user has agreed to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from typing import TYPE_CHECKING

from . import foreign
from .errors import SecurityError, UnreadableError
from .private import write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_FOLDER = "identities"


class Identities:
    """What was seen of the things that a target uses.

    Args:
        state_dir: Folder of the state; things that were forgotten are seen for the first time again.
        provider: Provider, for errors.
    """

    def __init__(self, state_dir: Path, provider: str) -> None:
        self._folder, self._provider = state_dir / _FOLDER, provider
        self._lock = threading.Lock()
        self._checked: set[str] = set()

    def once(self, name: str, look: Callable[[], Mapping[str, str]]) -> None:
        """Look whose a thing is and compare, the first time in this process.

        Args:
            name: The thing, such as ``s3://BUCKET``.
            look: Finds out; raises if it is not what it should be.

        Raises:
            SecurityError: It was something else when it was used before.
        """
        if name in self._checked:
            return
        with self._lock:
            if name not in self._checked:
                self.check(name, look())
                self._checked.add(name)

    def check(self, name: str, identity: Mapping[str, str]) -> None:
        """Compare an identity with the one that is remembered, and remember it.

        Raises:
            SecurityError: They differ.
        """
        known = self.compare(name, identity)
        if known != dict(identity):
            self._remember(self._file(name), name, identity)

    def compare(self, name: str, identity: Mapping[str, str]) -> Mapping[str, str]:
        """The identity that is remembered; nothing is written.

        Raises:
            SecurityError: It is another one.
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
        """On a full disk it is not remembered: what frees space must work there too."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(file, json.dumps({"name": name, "identity": dict(identity)}, indent=1).encode())


def _read(file: Path, name: str) -> dict[str, str]:
    """What is remembered; nothing where there is no record, or one that cannot be read."""
    try:
        with foreign.understood(str(file)):
            found = foreign.table(file.read_bytes(), str(file))
            if found["name"] != name:
                return {}
            return {str(field): str(value) for field, value in dict(found["identity"]).items()}
    except (OSError, UnreadableError):
        return {}
