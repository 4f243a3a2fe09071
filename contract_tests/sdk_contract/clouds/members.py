"""Which members of a cloud's requests a mini cloud supports. It refuses every other member by name.

A table has the path of each supported member: ``A.B`` for a member of a structure, ``A[]`` for the items of a list,
``A{}`` for the values of a map, ``A.*`` for free content. The structures on the way need no entry of their own. A
member without an entry is refused, so a member that a cloud adds later is never accepted silently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STEP = re.compile(r"\[\]|\{\}|\*|[^.\[\]{}*]+")
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_MOST_NAMED = 20


@dataclass(frozen=True)
class Played:
    """How one member is supported.

    Attributes:
        why: What it does, or where it is shown.
        acts: Whether it changes what the mini cloud does; else it is only stored and shown as the cloud shows it.
        values: The supported values; all values that the cloud's own model allows when empty.
        output: Whether the cloud fills it in and ignores what a request contains, as is done here too.
    """

    why: str
    acts: bool = True
    values: tuple[object, ...] = ()
    output: bool = False


Table: TypeAlias = "Mapping[str, Played]"


def acts(why: str, *values: object) -> Played:
    """Declare a member that changes what the mini cloud does.

    Args:
        why: What it does.
        values: The only supported values; all when left out.
    """
    return Played(why, acts=True, values=values)


def shown(why: str, *values: object) -> Played:
    """Declare a member that is stored and shown, and has no other effect.

    Args:
        why: Where it is shown, and what it has no effect on.
        values: The only supported values; all when left out.
    """
    return Played(why, acts=False, values=values)


def output(*paths: str) -> dict[str, Played]:
    """Declare members that the cloud fills in, including everything within them; what a request contains is ignored."""
    how = Played("filled in by the cloud, which ignores what is sent", acts=False, output=True)
    return {whole: how for path in paths for whole in (path, f"{path}.*")}


def under(prefix: str, table: Table) -> dict[str, Played]:
    """Return the entries of a table one level deeper.

    Example:
        >>> list(under("Tags[]", {"Key": acts("listed")}))
        ['Tags[].Key']
    """
    return {f"{prefix}.{path}": how for path, how in table.items()}


@dataclass
class _Node:
    """One place in a table."""

    steps: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    played: Played | None = None


class Members:
    """The members of one operation.

    Args:
        table: The supported members.

    Example:
        >>> members = Members({"A.B": acts("…", 1), "C{}": shown("…")})
        >>> list(members.refused({"A": {"B": 2, "D": 0}, "C": {"any": "x"}}))
        ['A.B with the value 2 (only 1)', 'A.D']
        >>> members.find("A.B").why, members.find("A.D")
        ('…', None)
    """

    def __init__(self, table: Table) -> None:
        self.table = dict(table)
        self._root = _Node()
        for path, how in table.items():
            node = self._root
            for step in steps(path):
                node = node.steps.setdefault(step, _Node())
            node.played = how
            if path.endswith("*"):
                node.steps["*"] = node

    def find(self, path: str) -> Played | None:
        """Return how a member is supported; ``None`` for a refused member."""
        node: _Node | None = self._root
        for step in steps(path):
            node = node.steps.get(step, node.steps.get("*")) if node else None
        return None if node is None else node.played or _first(node)

    def refused(self, body: Mapping[str, Any]) -> Iterator[str]:
        """Yield the path of every member of a request that is not supported, and every unsupported value."""
        yield from _refused(self._root, body, "")

    def plain(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request with the names of the table, without the members that the cloud fills in.

        Example:
            >>> members = Members({"endpointId": acts("…"), "labels{}": acts("…"), **output("createTime")})
            >>> members.plain({"endpoint_id": "e", "labels": {"a_b": "c"}, "create_time": "now"})
            {'endpointId': 'e', 'labels': {'a_b': 'c'}}
        """
        found: dict[str, Any] = _plain(self._root, body)
        return found


def steps(path: str) -> list[str]:
    """Split a path into its parts.

    Example:
        >>> steps("A.B[].C{}")
        ['A', 'B', '[]', 'C', '{}']
    """
    return _STEP.findall(path)


def refusal(operation: str, named: list[str]) -> str:
    """Return the text of a refusal.

    Example:
        >>> refusal("CreateModel", ["Containers", "VpcConfig.Subnets"])
        'This mini cloud does not play these members of CreateModel: Containers, VpcConfig.Subnets.'
    """
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"This mini cloud does not play these members of {operation}: {', '.join(named[:_MOST_NAMED])}{more}."


def _first(node: _Node) -> Played | None:
    """Return any entry below a structure; a structure is supported as far as its members are."""
    pending = [node]
    while pending:
        one = pending.pop()
        if one.played:
            return Played("as far as its members are", one.played.acts)
        pending += one.steps.values()
    return None


def _refused(node: _Node | None, value: Any, where: str) -> Iterator[str]:
    """Yield the places below a node that have no entry; with ``None`` as node no place has one."""
    if value is None:
        return
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield from _member(node, name, item, where)
    elif isinstance(value, list):
        below, items = _below(node, "[]"), list[Any](value)  # pyright: ignore[reportUnknownArgumentType]  # any JSON
        for number, item in enumerate(items):
            yield from _refused(below, item, f"{where}[{number}]")
    elif node is not None and node.played and node.played.values and value not in node.played.values:
        allowed = ", ".join(map(str, node.played.values))
        yield f"{where} with the value {value} (only {allowed})"


def _member(node: _Node | None, name: str, item: Any, where: str) -> Iterator[str]:
    path = f"{where}.{name}" if where else name
    if item is None or item == []:
        return
    below = _step(node, name)
    if below is None:
        yield path
    yield from _refused(below, item, path)


def _step(node: _Node | None, name: str) -> _Node | None:
    """Return the node of a member, of a value of a map, or of free content."""
    if node is None:
        return None
    return node.steps.get(name) or node.steps.get("{}") or node.steps.get("*")


def _below(node: _Node | None, step: str) -> _Node | None:
    """Return the node of a list's items; a list of plain values needs no entry of its own."""
    if node is None:
        return None
    return node.steps.get(step) or node.steps.get("*") or (node if node.played else None)


def _plain(node: _Node | None, value: Any) -> Any:
    """Return a value with the names of a node's members, which a request may write with underscores."""
    if isinstance(value, dict):
        renamed = {_named(node, name): item for name, item in cast("dict[str, Any]", value).items()}
        below = {name: _step(node, name) for name in renamed}
        return {name: _plain(below[name], item) for name, item in renamed.items() if not _is_output(below[name])}
    if isinstance(value, list):
        items = list[Any](value)  # pyright: ignore[reportUnknownArgumentType]  # any JSON
        return [_plain(_below(node, "[]"), item) for item in items]
    return value


def _is_output(node: _Node | None) -> bool:
    return node is not None and node.played is not None and node.played.output


def _named(node: _Node | None, name: str) -> str:
    """Return the name that a table uses for a member."""
    camel = _UNDERSCORE.sub(lambda found: found[1].upper(), name)
    return camel if node is not None and name not in node.steps and camel in node.steps else name
