"""Add compiled Python files to layers: a read-only root cannot cache them, and imports without them take twice as long.

They are *unchecked-hash* files (PEP 552), so they hold no time stamp. Marshal format 2 is used because newer formats
record which objects happen to be shared in the compiling process, so that the same source would give other bytes
after another import. Fresh interpreters of the image's own Python version compile them, one per core.
"""

from __future__ import annotations

import os
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import PackagingError
from sdk.packaging import uvrun, venv

from .layers import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LENGTH = struct.Struct("<L")
_FEW = 16  # with fewer sources, a second process costs more than it saves
_MOST = 4
_WORKER = """
import marshal, struct, sys, warnings
from importlib.util import MAGIC_NUMBER, source_hash
warnings.simplefilter("ignore")  # other people's invalid escapes are not ours to report
read, write, length = sys.stdin.buffer.read, sys.stdout.buffer.write, struct.Struct("<L")
def take():
    return read(length.unpack(read(4))[0])
while True:
    size = read(4)
    if not size:
        break
    name, source = read(length.unpack(size)[0]).decode(), take()
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
        made = MAGIC_NUMBER + length.pack(1) + source_hash(source) + marshal.dumps(code, 2)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        made = b""  # some packages ship templates
    write(length.pack(len(made)) + made)
"""


def tag(python: str) -> str:
    """Return the cache tag of compiled files for this Python version; empty if this machine has no such interpreter.

    It is part of a layer's key: with and without compiled files, the layers differ.
    """
    return f"cpython-{python.replace('.', '')}" if _interpreter(python) else ""


def compiled(entries: Iterable[Entry], *, python: str) -> list[Entry]:
    """Return the entries and, for each ``.py`` that compiles, its compiled file.

    Nothing is added if this machine has no interpreter of version ``python`` (such as ``"3.11"``).
    """
    found = list(entries)
    interpreter = _interpreter(python)
    sources = [entry for entry in found if entry.path.endswith(".py") and entry.content is not None]
    if interpreter is None or not sources:
        return found
    workers = 1 if len(sources) < _FEW else min(os.cpu_count() or 1, _MOST)
    with ThreadPoolExecutor(workers) as pool:
        shares = [
            pool.submit(_compile, sources[number::workers], interpreter, tag(python)) for number in range(workers)
        ]
        for share in shares:
            found += share.result()
    return found


@cache
def _interpreter(python: str) -> Path | None:
    try:
        return venv.interpreter(python)
    except PackagingError:
        return None


def _compile(sources: Sequence[Entry], interpreter: Path, cache_tag: str) -> list[Entry]:
    parts: list[bytes] = []
    for entry in sources:
        content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content or b""
        name = f"/{entry.path}".encode()
        parts += [_LENGTH.pack(len(name)), name, _LENGTH.pack(len(content)), content]
    command = [str(interpreter), "-I", "-S", "-c", _WORKER]
    env = uvrun.allowed_environment()
    done = subprocess.run(command, input=b"".join(parts), capture_output=True, check=False, cwd="/", env=env)  # noqa: S603  no shell
    if done.returncode:
        raise PackagingError(
            f"{interpreter} cannot compile: {done.stderr.decode(errors='replace').strip()[-500:]}", operation="compile"
        )
    made = _answers(done.stdout)
    return [Entry(_cache_path(entry.path, cache_tag), code) for entry, code in zip(sources, made, strict=True) if code]


def _answers(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    position = 0
    while position < len(data):
        (size,) = _LENGTH.unpack_from(data, position)
        found.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return found


def _cache_path(path: str, cache_tag: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name[:-3]}.{cache_tag}.pyc"
