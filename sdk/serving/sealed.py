"""Imports from a folder that must not change: Python writes no compiled files there.

Libraries in other folders are compiled and cached as usual, so that the next process with them starts faster.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class _Loader(SourceFileLoader):
    """A loader of source files, and of compiled files that came with them, that never writes."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        """Skip writing the compiled file."""


def seal(folder: Path) -> None:
    """Prevent imports from writing compiled files below a folder."""
    roots = tuple({f"{folder}{os.sep}", f"{folder.resolve()}{os.sep}"})
    finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES), (SourcelessFileLoader, BYTECODE_SUFFIXES)
    )

    def hook(path: str) -> FileFinder:
        if not f"{path}{os.sep}".startswith(roots):
            raise ImportError(path)
        return finder(path)  # type: ignore[return-value]

    sys.path_hooks.insert(0, hook)
    for path in [path for path in sys.path_importer_cache if f"{path}{os.sep}".startswith(roots)]:
        del sys.path_importer_cache[path]
