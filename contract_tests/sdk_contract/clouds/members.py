"""Which members of a cloud's requests a mini cloud plays. Every other member is refused by name.

A table has the path of each played member: ``A.B`` for a member of a structure, ``A[]`` for the items of a list,
``A{}`` for the values of a map, ``A.*`` for free content. Structures on the way need no entry of their own. What has no
entry is refused, so a member that a cloud adds later is never accepted in silence.
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
    """How one member is played.

    Attributes:
        why: What it does, or where it is shown.
        acts: Whether it changes what the mini cloud does; else it is only stored and shown as the cloud shows it.
        values: The values that are played; all that the cloud's own model allows when empty.
        output: Whether the cloud fills it in itself and ignores what a request says, which is done here too.
    """

    why: str
    acts: bool = True
    values: tuple[object, ...] = ()
    output: bool = False


Table: TypeAlias = "Mapping[str, Played]"


def acts(why: str, *values: object) -> Played:
    """A member that changes what the mini cloud does.

    Args:
        why: What it does.
        values: The only values that are played; all when left out.
    """
    return Played(why, acts=True, values=values)


def shown(why: str, *values: object) -> Played:
    """A member that is stored and shown, and has no other effect.

    Args:
        why: Where it is shown, and what it has no effect on.
        values: The only values that are played; all when left out.
    """
    return Played(why, acts=False, values=values)


def output(*paths: str) -> dict[str, Played]:
    """Members that the cloud fills in itself, with all within them; what a request says of them is ignored."""
    how = Played("filled in by the cloud, which ignores what is sent", acts=False, output=True)
    return {whole: how for path in paths for whole in (path, f"{path}.*")}


def under(prefix: str, table: Table) -> dict[str, Played]:
    """The entries of a table one level deeper.

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
        table: What is played.

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
        """How a member is played; ``None`` for one that is refused."""
        node: _Node | None = self._root
        for step in steps(path):
            node = node.steps.get(step, node.steps.get("*")) if node else None
        return None if node is None else node.played or _first(node)

    def refused(self, body: Mapping[str, Any]) -> Iterator[str]:
        """Every member of a request that is not played, each by its path, and every value that is not."""
        yield from _refused(self._root, body, "")

    def plain(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request with the names of the table, and without what the cloud fills in.

        Example:
            >>> members = Members({"endpointId": acts("…"), "labels{}": acts("…"), **output("createTime")})
            >>> members.plain({"endpoint_id": "e", "labels": {"a_b": "c"}, "create_time": "now"})
            {'endpointId': 'e', 'labels': {'a_b': 'c'}}
        """
        found: dict[str, Any] = _plain(self._root, body)
        return found


def steps(path: str) -> list[str]:
    """The parts of a path.

    Example:
        >>> steps("A.B[].C{}")
        ['A', 'B', '[]', 'C', '{}']
    """
    return _STEP.findall(path)


def refusal(operation: str, named: list[str]) -> str:
    """The text of a refusal.

    Example:
        >>> refusal("CreateModel", ["Containers", "VpcConfig.Subnets"])
        'This mini cloud does not play these members of CreateModel: Containers, VpcConfig.Subnets.'
    """
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"This mini cloud does not play these members of {operation}: {', '.join(named[:_MOST_NAMED])}{more}."


def _first(node: _Node) -> Played | None:
    """Any entry below a structure, which is played as far as its members are."""
    pending = [node]
    while pending:
        one = pending.pop()
        if one.played:
            return Played("as far as its members are", one.played.acts)
        pending += one.steps.values()
    return None


def _refused(node: _Node | None, value: Any, where: str) -> Iterator[str]:
    """The places below a node that have no entry; with ``None`` as node every place has none."""
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
    """The node of a member, of a value of a map, or of free content."""
    if node is None:
        return None
    return node.steps.get(name) or node.steps.get("{}") or node.steps.get("*")


def _below(node: _Node | None, step: str) -> _Node | None:
    """The node of a list's items; a list of plain values needs no entry of its own."""
    if node is None:
        return None
    return node.steps.get(step) or node.steps.get("*") or (node if node.played else None)


def _plain(node: _Node | None, value: Any) -> Any:
    """A value with the names of a node's members, which a request may write with underscores."""
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
    """The name that a table has for a member."""
    camel = _UNDERSCORE.sub(lambda found: found[1].upper(), name)
    return camel if node is not None and name not in node.steps and camel in node.steps else name
