"""The filters of lists, logs and metrics: comparisons joined by AND, OR and NOT, as AIP-160 defines them.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, cast

from .errors import Refusal

Test = Callable[[Any], bool]
_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])|(?P<word>AND|OR|NOT)(?![\w.:=])|(?P<field>(?:"[^"]+"|[\w.\-/])+)\s*"""
    r"""(?P<op>!=|<=|>=|=~|=|:|<|>)\s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s()]+))"""
)
_STEP = re.compile(r'"[^"]+"|[^."]+')
_SNAKE = re.compile(r"_([a-z])")


def parse(text: str) -> Test:
    """Parse a filter into a test of whether an item matches; an empty filter matches everything.

    Raises:
        Refusal: The filter cannot be parsed.

    Example:
        >>> fits = parse('labels.team="a" AND display_name=churn')
        >>> fits({"displayName": "churn", "labels": {"team": "a"}}), fits({"displayName": "churn"})
        (True, False)
    """
    tokens = _tokens(text)
    if not tokens:
        return lambda _: True
    test, rest = _any(tokens)
    if rest:
        raise _unreadable(text)
    return test


def _tokens(text: str) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    at = 0
    while text[at:].strip():
        token = _TOKEN.match(text, at)
        if token is None:
            raise _unreadable(text)
        found.append(token)
        at = token.end()
    return found


def _any(tokens: list[re.Match[str]]) -> tuple[Test, list[re.Match[str]]]:
    test, rest = _all(tokens)
    while rest and rest[0]["word"] == "OR":
        other, rest = _all(rest[1:])
        test = _either(test, other)
    return test, rest


def _all(tokens: list[re.Match[str]]) -> tuple[Test, list[re.Match[str]]]:
    test, rest = _one(tokens)
    while rest and rest[0]["paren"] != ")" and rest[0]["word"] != "OR":
        other, rest = _one(rest[1:] if rest[0]["word"] == "AND" else rest)
        test = _both(test, other)
    return test, rest


def _one(tokens: list[re.Match[str]]) -> tuple[Test, list[re.Match[str]]]:
    if not tokens:
        raise Refusal("INVALID_ARGUMENT", "the filter ends too early")
    first, rest = tokens[0], tokens[1:]
    if first["word"] == "NOT":
        test, rest = _one(rest)
        return (lambda item: not test(item)), rest
    if first["paren"] == "(":
        test, rest = _any(rest)
        if not rest or rest[0]["paren"] != ")":
            raise Refusal("INVALID_ARGUMENT", "a parenthesis in the filter is not closed")
        return test, rest[1:]
    if first["field"] is None:
        raise _unreadable(first[0])
    return _comparison(first["field"], first["op"], _unquoted(first["value"])), rest


def _either(one: Test, other: Test) -> Test:
    return lambda item: one(item) or other(item)


def _both(one: Test, other: Test) -> Test:
    return lambda item: one(item) and other(item)


def _comparison(field: str, op: str, value: str) -> Test:
    if op == ":" and field == "labels":
        return lambda item: value in (item.get("labels") or {})

    def test(item: Any) -> bool:
        found = lookup(item, field)
        return _holds(found, op, value)

    return test


def _holds(found: Any, op: str, value: str) -> bool:
    if op == ":":
        return found is not None and (value == "*" or fnmatchcase(str(found), value) or value in str(found))
    if op in {"=", "!="}:
        return (found is not None and fnmatchcase(str(found), value)) == (op == "=")
    if op == "=~":
        return found is not None and re.search(value, str(found)) is not None
    if found is None:
        return False
    one, other = _ordered(str(found)), _ordered(value)
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[op])


def _ordered(text: str) -> Any:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return text


def lookup(item: Any, path: str) -> Any:
    """Return the value under a dotted path.

    Names of fields may be written in camel or snake case; keys of maps may hold dashes, and anything if quoted.

    Example:
        >>> lookup({"displayName": "x"}, "display_name")
        'x'
        >>> lookup({"labels": {"made by": "x"}}, 'labels."made by"')
        'x'
    """
    found = item
    for name in (step.strip('"') for step in _STEP.findall(path)):
        if not isinstance(found, dict):
            return None
        known = cast("dict[str, Any]", found)
        found = known.get(name, known.get(_SNAKE.sub(lambda hit: hit[1].upper(), name)))
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value


def _unreadable(text: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", f"List filter expression is invalid: {text!r}")
