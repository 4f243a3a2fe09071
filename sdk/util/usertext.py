"""Reader for text files that users write: requirements, configuration, rows, rules.

Editors on Windows put a byte order mark at the start of a file, and ``>`` of PowerShell 5 writes UTF-16.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from ..errors import ConfigError

LARGEST = 256 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read(path: str | Path, *, what: str = "", most: int = LARGEST) -> str:
    """Read a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        path: The file.
        what: The argument or setting that names the file, for the message.
        most: The most bytes that the file may have.

    Raises:
        ConfigError: The file cannot be read, is too large, or is not text; the message names the file and the byte.
    """
    lead = f"{what}: " if what else ""
    try:
        with Path(path).open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"{lead}{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > most:
        raise ConfigError(f"{lead}{path} is larger than {most:,} bytes")
    return decode(data, f"{lead}{path}")


def decode(data: bytes, name: str) -> str:
    r"""Decode the content of a text file.

    Args:
        data: The bytes.
        name: The name of the file, for the message.

    Raises:
        ConfigError: The bytes are not text in a known encoding.

    Example:
        >>> decode("é".encode("utf-16"), "rows.csv")
        'é'
        >>> decode(b"caf\xe9", "rows.csv")
        Traceback (most recent call last):
        sdk.errors.ConfigError: rows.csv:1: not text in UTF-8 or UTF-16: unexpected end of data ...
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise _no_text(data, name, len(mark) + error.start, error.reason) from error
    if "\0" in text:
        raise _no_text(data, name, data.index(b"\0", len(mark)), "a zero byte")
    return text


def _no_text(data: bytes, name: str, place: int, why: str) -> ConfigError:
    line = data[:place].count(b"\n") + 1
    return ConfigError(f"{name}:{line}: not text in UTF-8 or UTF-16: {why} at byte {place}", hint="save it as UTF-8")
