"""Compiled files in the layers: a read-only root can never cache them, and importing without them takes twice as long.

They are *unchecked-hash* files (PEP 552), so they hold no time stamp and the same source gives the same bytes.
"""

from __future__ import annotations

import importlib.util
import marshal
import struct
import sys
import warnings
from typing import TYPE_CHECKING

from .layers import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_UNCHECKED_HASH = 1


def compiled(entries: Iterable[Entry], *, python: str) -> Iterator[Entry]:
    """The entries, each ``.py`` followed by its compiled file.

    Nothing is added when ``python`` (such as ``"3.11"``) is not the version of this interpreter, whose byte code the
    image could not read, nor for a source that does not compile (some packages ship templates).
    """
    same = python == f"{sys.version_info.major}.{sys.version_info.minor}"
    for entry in entries:
        yield entry
        if same and entry.path.endswith(".py") and entry.content is not None:
            code = _compile(entry)
            if code is not None:
                yield Entry(_cache_path(entry.path), code)


def _compile(entry: Entry) -> bytes | None:
    source = entry.content if isinstance(entry.content, bytes) else _read(entry.content)
    if source is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes are not ours to report
            code = compile(source, f"/{entry.path}", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return None
    header = importlib.util.MAGIC_NUMBER + struct.pack("<L", _UNCHECKED_HASH) + importlib.util.source_hash(source)
    return header + marshal.dumps(code)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def _cache_path(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"
