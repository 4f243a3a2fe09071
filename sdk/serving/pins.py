"""The grammar of a lock: only exact versions with hashes, so that a lock is pure data.

An installer obeys options in a requirements file, such as ``--no-binary`` or ``--find-links``. A lock may come from an
untrusted source, so it is parsed here, and the installer gets a file written from the parsed values.

One line is one pin: ``name==version[ ; marker] --hash=sha256:<64 hex> [--hash=…]``. Locks of earlier versions of mlport
continue a line before each hash; exactly that form is accepted as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES = 8 << 20
MOST_PINS = 5_000
MOST_HASHES = 2_000
LONGEST_MARKER = 4_000

_FOLDED = " \\\n    --hash="
_UNSAFE = re.compile(r"[^\n\x20-\x7e]")
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?)"
    r"==(?P<version>(?:[0-9]{1,6}!)?[0-9]{1,20}(?:\.[0-9]{1,20}){0,20}(?:(?:a|b|rc)[0-9]{1,20})?"
    r"(?:\.post[0-9]{1,20})?(?:\.dev[0-9]{1,20})?(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?)"
)
_LONGEST_VERSION = 128
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_TOKEN = re.compile(
    r" *(?:(?P<B>and\b|or\b)"
    r"|(?P<O>===|==|~=|!=|<=|>=|<|>|in\b|not in\b)"
    r"|(?P<V>(?:python_version|python_full_version|os_name|sys_platform|platform_release|platform_system"
    r"|platform_version|platform_machine|platform_python_implementation|implementation_name|implementation_version)\b)"
    r"|(?P<S>'[A-Za-z0-9 ._*+!/-]*'|\"[A-Za-z0-9 ._*+!/-]*\")"
    r"|(?P<P>[()]))"
)
_DEEPEST_MARKER = 16


class Pin(msgspec.Struct, frozen=True):
    """One package at an exact version.

    Args:
        name: Name of the distribution.
        version: Exact version.
        hashes: SHA-256 (hex) of each file that may be installed.
        marker: The environments that need it (PEP 508); ``None`` means all.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str | None = None

    def __str__(self) -> str:
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}=={self.version}{marker}" + "".join(f" --hash=sha256:{value}" for value in self.hashes)


def parse(text: str) -> tuple[Pin, ...]:
    """Parse the pins of a lock.

    Raises:
        ValueError: A line is not a pin; the message names the line and its fault.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} characters")
    if unsafe := _UNSAFE.search(text):
        raise ValueError(f"line {text.count(chr(10), 0, unsafe.start()) + 1} holds the character {unsafe[0]!r}")
    if text and not text.endswith("\n"):
        raise ValueError("its last line has no end")
    lines = text.replace(_FOLDED, " --hash=").split("\n")[:-1]
    if len(lines) > MOST_PINS:
        raise ValueError(f"it has more than {MOST_PINS:,} lines")
    pins = tuple(map(_pin, lines))
    seen: set[tuple[str, str | None]] = set()
    for pin in pins:
        key = (re.sub(r"[-_.]+", "-", pin.name).lower(), pin.marker)
        if key in seen:
            raise ValueError(f"it pins {pin.name} twice")
        seen.add(key)
    return pins


def render(pins: Iterable[Pin]) -> str:
    """Return a lock with these pins in the form that mlport writes."""
    return "".join(f"{pin}\n" for pin in pins)


def _pin(line: str) -> Pin:
    head, *hashes = line.split(" --hash=")
    requirement, semicolon, marker = head.partition(" ; ")
    match = _PIN.fullmatch(requirement)
    if match is None or len(match["version"]) > _LONGEST_VERSION:
        raise ValueError(f"{_shown(line)} is no exact version such as numpy==2.1.0")
    if semicolon and not is_marker(marker):
        raise ValueError(f"{_shown(line)} has a marker that cannot be read")
    values = tuple(found[1] for one in hashes if (found := _SHA256.fullmatch(one)))
    if not values or len(values) != len(hashes) or len(values) > MOST_HASHES:
        raise ValueError(f"{_shown(line)} needs 1 to {MOST_HASHES:,} hashes like --hash=sha256:<64 hex digits>")
    return Pin(match["name"], match["version"], values, marker if semicolon else None)


def is_marker(text: str) -> bool:
    """Check whether a text is an environment marker of PEP 508; ``extra`` is not allowed in a lock.

    Example:
        >>> is_marker("python_full_version >= '3.12' and (sys_platform == 'linux' or os_name == 'nt')")
        True
        >>> is_marker("python_version >= '3.12' --no-binary x")
        False
    """
    if len(text) > LONGEST_MARKER:
        return False
    kinds, position = "", 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return False
        kinds += token[0].strip() if token.lastgroup == "P" else str(token.lastgroup)
        position = token.end()
    kinds = re.sub("VO[VS]|SOV", "A", kinds)
    for _ in range(_DEEPEST_MARKER):
        kinds = re.sub(r"\(A(?:BA)*\)", "A", kinds)
    return re.fullmatch("A(?:BA)*", kinds) is not None


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else f"{line[:80]}…")
