"""Hides secrets and control characters in every text that leaves the process: logs, errors, plans, journals.

There are two filters, applied one after the other. *Known values*: a registered value (a resolved secret, a token that
mlport made) is found raw, in base64 at any alignment, URL-escaped, JSON-escaped and HTML-escaped. *Shapes*: text that
looks like a credential is hidden although it was not registered. The second filter is a safety net; register every
secret you know.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MASK = "[redacted]"
_SHORTEST = 5  # a shorter value would hide half of every text
_SHORTEST_BASE64 = 8

_WORD = (
    r"(?:passw(?:or)?d|passphrase|secret(?:[_-]?(?:access[_-]?)?key)?|(?<!max_)(?<!max-)token|api[_-]?key"
    r"|access[_-]?key|private[_-]?key|account[_-]?key|credentials?|connection[_-]?string)"
)
_WORDS = "pass secret token key credential connection"
_SECRET_NAME = re.compile(rf"(?i){_WORD}(?!s|iz|[_-]?id\b)|authorization|cookie|signature\Z")

# The shapes of credentials: words of which one must be in the (lower-cased) text, which is quick to check, and the
# expression; its group 1, if any, is kept. No expression repeats what an inner one repeats, so all are linear.
_SHAPES = tuple(
    (tuple(words.split()), re.compile(shape))
    for words, shape in (
        (
            "private",
            (
                r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=\\\s:,.]|-(?!----))*"
                r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----)?"
            ),
        ),
        ("://", r"(://)[^\s/?#'\"<>\\]{1,2000}(?=@)"),
        (
            "authorization cookie",
            r"(?i)(\b(?:(?:proxy-)?authorization|(?:set-)?cookie)\\?[\"']?\s{0,5}[:=]\s{0,5}\\?[\"']?)[^\r\n\"'\\]+",
        ),
        (
            "bearer basic",
            r"\b((?i:bearer|basic)\s{1,5})(?=[A-Za-z0-9._~+/-]{0,200}(?:[0-9=_~+/]|[a-z][A-Z]))[A-Za-z0-9._~+/-]{8,}=*",
        ),
        ("code key", r"(?i)((?:[?&;]|%3F|%26)(?:code|key)(?:=|%3D))[^\s&;,\"'<>]+"),
        ("sig x-", r"(?i)(\b(?:sig|signature|x-(?:amz|goog|ms)-[a-z-]{1,40})(?:=|%3D))[^\s&;,\"'<>]+"),
        ("x-", r"(?i)(\bx-(?:amz-security-token|goog-api-key|api-key)\\?[\"']?\s{0,5}:\s{0,5}\\?[\"']?)[^\s\"',\\]+"),
        ("eyj", r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*"),
        ("akia asia", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        (
            "ya29 aiza gocspx 1//0",
            r"\bya29\.[A-Za-z0-9_-]+|\bAIza[A-Za-z0-9_-]{30,}|\bGOCSPX-[A-Za-z0-9_-]+|\b1//0[A-Za-z0-9_-]{20,}",
        ),
        ("8q~", r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{30,}"),
        (
            "gh github_pat glpat hf_",
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[A-Za-z0-9_-]{15,}|hf_[A-Za-z0-9]{20,})",
        ),
        (
            "sk- xox npm_ pypi-",
            r"\b(?:sk-[A-Za-z0-9_-]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,})",
        ),
        (_WORDS, rf"(?i)({_WORD}\\?[\"']?\s{{0,5}}[:=]\s{{0,5}}\\\")(?:[^\"\\]|\\(?!\"))+"),
        (_WORDS, rf"(?i)({_WORD}[\"']?\s{{0,5}}[:=]\s{{0,5}}\")(?:[^\"\\]|\\.)+"),
        (_WORDS, rf"(?i)({_WORD}[\"']?\s{{0,5}}[:=]\s{{0,5}}')(?:[^'\\]|\\.)+"),
        (_WORDS, rf"(?i)({_WORD}[\"']?\s{{0,5}}=\s{{0,5}})(?!\[redacted)[^\s,;&}}\"'\\\])]+"),
        (
            _WORDS,
            rf"(?i)({_WORD}\s{{0,5}}:\s{{0,5}})(?!\[redacted)(?=\S{{0,200}}[0-9])[^\s,;&}}\"'\\\])]+",
        ),  # requires a digit, so that prose is not hidden
    )
)

# C0 except tab and line feed, DEL, C1, line separators, bidirectional marks, lone surrogates.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def is_secret_name(name: str) -> bool:
    """Check whether a setting, header or variable of this name holds a secret.

    Example:
        >>> is_secret_name("client_secret"), is_secret_name("region")
        (True, False)
    """
    return bool(_SECRET_NAME.search(name))


def escape_controls(text: str) -> str:
    r"""Make control and direction characters visible, so that a container's log cannot control a terminal.

    Line feeds and tabs are kept.

    Example:
        >>> escape_controls("red \x1b[31m")
        'red \\x1b[31m'
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


class Redactor:
    """A filter that hides secrets in text and in plain data; can be shared between threads.

    Args:
        secrets: Values to hide wherever they occur; values under five characters are ignored.

    Example:
        >>> Redactor(["s3cret-value"])("password is s3cret-value")
        'password is [redacted]'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._needles: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Register values that must never be shown."""
        fresh = {needle for secret in secrets for needle in _spellings(secret)}
        with self._lock:
            self._needles |= fresh
            longest_first = sorted(self._needles, key=lambda needle: (-len(needle), needle))
            self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return the text without its secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        lower = text.lower()
        for words, shape in _SHAPES:
            if any(word in lower for word in words):
                text = shape.sub(_keep_name, text)
        return text

    def safe(self, text: str) -> str:
        """Return the text without its secrets and control characters, ready for a terminal."""
        return escape_controls(self(text))

    def data(self, value: Any) -> Any:
        """Return a copy of plain data without its secrets: in every string, and every value under a secret's name."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, bytes):
            return self(value.decode("utf-8", "backslashreplace"))
        if isinstance(value, dict):
            return self._mapping(cast("Any", value))
        if isinstance(value, list | tuple | set | frozenset):
            return [self.data(item) for item in cast("list[Any]", value)]
        return value

    def _mapping(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        return {
            (self(key) if isinstance(key, str) else key): (
                MASK if isinstance(key, str) and item and is_secret_name(key) else self.data(item)
            )
            for key, item in value.items()
        }

    def __repr__(self) -> str:
        return f"Redactor({len(self._needles)} spellings)"


def _keep_name(match: re.Match[str]) -> str:
    return (match[1] if match.re.groups else "") + MASK


def _spellings(secret: str) -> Iterator[str]:
    """Yield the spellings in which a value may occur in texts, as a whole and line by line."""
    for piece in {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}:
        if len(piece) >= _SHORTEST:
            yield from (piece, html.escape(piece), repr(piece)[1:-1])
            yield from (json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1])
            for quoted in (
                urllib.parse.quote(piece, safe=""),
                urllib.parse.quote(piece),
                urllib.parse.quote_plus(piece),
            ):
                yield from (quoted, re.sub("%..", lambda match: match[0].lower(), quoted))
            yield from _base64_cores(piece.encode("utf-8", "surrogatepass"))


def _base64_cores(secret: bytes) -> Iterator[str]:
    """Yield the base64 characters that depend on the secret alone, for each of the three alignments."""
    for offset, skipped in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(offset) + secret
        decided = len(padded) * 8 // 6
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            core = encode(padded).decode("ascii")[skipped:decided]
            if len(core) >= _SHORTEST_BASE64:
                yield core
