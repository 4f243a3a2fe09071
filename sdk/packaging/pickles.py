"""Read what a pickle names without running it: modules, texts, and how the file is to be read.

joblib writes arrays as raw bytes among the opcodes, and may compress the whole file. Its files often have the suffix of
a pickle. So a file is decompressed first, and what follows the first array is searched for the names of modules.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import pickletools
import re
import sys
import tempfile
import zlib
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any, cast

from sdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

MOST_STEPS = 1_000_000
MOST_BYTES = 1 << 28
"""How much of a compressed file is read: a small file may hold a very large one."""

TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
Step = tuple[str, Any]

_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_PART = 1 << 20
_LZ4 = b'\x04"M\x18'
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x5d\x00": lzma.open,
}
_JOBLIB = b"joblib.numpy_pickle"
_NAME = rb"[A-Za-z_][A-Za-z0-9_.]*"
# A class in a pickle: its module and its name, as texts with their lengths (since protocol 4) or as two lines.
# They only look ahead, so that bytes before a class that look like its beginning do not hide it.
_CLASS = re.compile(rb"(?=\x8c(?s:(.))(%s)\x94?\x8c(?s:.)%s\x94?\x93)" % (_NAME, _NAME))
_CLASS_LINES = re.compile(rb"(?:(?<![A-Za-z0-9_.])|(?<=[qh][A-Za-z0-9_.]))(?=c(%s)\n%s\n)" % (_NAME, _NAME))


@contextmanager
def opened(path: Path) -> Generator[mmap.mmap]:
    """Map the bytes of a pickle into memory, decompressed into a temporary file if they are compressed.

    Raises:
        ConfigError: The file is damaged, or compressed in a way that nothing installed here can read.
    """
    with path.open("rb") as file:
        parts = _decompressed(path, file.read(8))
        if parts is None:
            with mapped(file) as data:
                yield data
            return
    with tempfile.TemporaryFile() as plain:
        try:
            for part in parts:
                plain.write(part)
                if plain.tell() > MOST_BYTES:
                    break
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            hint = "get it again from where it was made"
            raise ConfigError(f"path: {path.name} is damaged: {error}", hint=hint) from error
        plain.flush()
        with mapped(plain) as data:
            yield data


@contextmanager
def mapped(file: IO[bytes]) -> Generator[mmap.mmap]:
    """Map a file; an empty one, which cannot be mapped, as a byte that begins no pickle."""
    empty = not file.seek(0, 2)
    with closing(mmap.mmap(-1, 1) if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
        yield data


def _decompressed(path: Path, head: bytes) -> Iterator[bytes] | None:
    """Return the parts of a compressed file, or ``None`` if the file is not compressed."""
    if head[:1] == b"\x78" and not int.from_bytes(head[:2], "big") % 31:
        return _inflated(path)
    if head.startswith(_LZ4):
        if not find_spec("lz4"):
            hint = "pip install lz4, or save it with compress=3, which needs no library"
            raise ConfigError(f"path: {path.name} is compressed with lz4, which is not installed", hint=hint)
        return _parts(import_module("lz4.frame").open, path)
    return next((_parts(open_, path) for magic, open_ in _OPENERS.items() if head.startswith(magic)), None)


def _parts(open_: Callable[[Path], Any], path: Path) -> Iterator[bytes]:
    with open_(path) as file:
        while part := file.read(_PART):
            yield part


def _inflated(path: Path) -> Iterator[bytes]:
    """Iterate over the parts of a zlib stream, for which Python has no file object."""
    stream = zlib.decompressobj()
    with path.open("rb") as file:
        while part := stream.unconsumed_tail or file.read(_PART):
            yield stream.decompress(part, _PART)
    if not stream.eof:
        raise EOFError("it is cut off")


def is_joblib(path: Path) -> bool:
    """Check whether only joblib can read a file, whatever its suffix is: it is compressed, or has raw arrays."""
    with path.open("rb") as file:
        if _decompressed(path, file.read(8)) is not None:
            return True
    with opened(path) as data:
        return data.find(_JOBLIB) >= 0


def packers(path: Path) -> frozenset[str]:
    """Return the modules that decompress a file and are not Python's own."""
    with path.open("rb") as file:
        return frozenset({"lz4"} if file.read(4) == _LZ4 else ())


def modules(data: mmap.mmap) -> set[str]:
    """Return the modules that a pickle names.

    Where arrays of joblib, or more than a million opcodes, hide the end, they are also found by how a class is written.
    There, modules that are not installed do not count, since other bytes may look alike.
    """
    texts = ["", ""]
    found: set[str] = set()
    name = ""
    for name, value in steps(data, 0):
        if name in TEXTS:
            texts = [texts[-1], value]
        elif name == "GLOBAL":
            found.add(str(value).partition(" ")[0])
        elif name == "STACK_GLOBAL":
            found.add(texts[0])
    found = {one for one in found if one.replace(".", "").replace("_", "").isalnum()}
    return found if name == "STOP" else found.union(_written(data))


def _written(data: mmap.mmap) -> Iterator[str]:
    known: dict[str, bool] = {}
    lengths = b"\x80\x04" <= data[:2] <= b"\x80\x7f"
    for match in (_CLASS if lengths else _CLASS_LINES).finditer(data):
        name = match[2 if lengths else 1].decode()
        if lengths and match[1][0] != len(name):
            continue
        top = name.partition(".")[0]
        if top not in known:
            known[top] = top in sys.modules or find_spec(top) is not None
        if known[top]:
            yield name


def steps(data: mmap.mmap, start: int) -> Generator[Step]:
    """Iterate over the opcodes of the pickle at a place, with references to earlier texts resolved."""
    data.seek(start)
    memo: dict[int, Any] = {}
    last: Any = None
    value: Any
    try:
        for number, (opcode, value, _) in enumerate(pickletools.genops(cast("Any", data))):
            if number >= MOST_STEPS:
                break
            name = opcode.name
            if name == "MEMOIZE" or name in _PUTS:
                memo[len(memo) if name == "MEMOIZE" else int(value)] = last
                continue
            known = memo.get(int(value)) if name in _GETS else value if name in TEXTS else None
            last = known
            yield ("UNICODE", known) if isinstance(known, str) else (name, value)
    except Exception:  # noqa: BLE001  damaged or interrupted bytes raise almost anything
        return
