"""The page `docs/reference/fidelity.md`: every operation and member that the mini clouds serve."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fidelity import sagemaker_listed, vertex_listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdk_contract.clouds.members import Members, Played
    from tests.fidelity.models import Member

_HEAD = """# What the mini clouds play

For each operation that a mini cloud serves, every member of its input in the official model, at every depth. A member

* *acts*: it changes what the mini cloud does. Where a value stands in brackets, only that is played, and others are
  refused by name;
* is *shown*: stored and shown as the cloud shows it, with no other effect;
* is *ignored as by the cloud*: the cloud fills it in itself, or changes it only where an update mask names it;
* or is *refused*: a request with it gets the cloud's own error, which names the member.

What has no entry in the tables is refused, so a member that is new is never accepted in silence. The tests in
`tests/fidelity` send each of these members and look at what comes of it.

"""


@dataclass(frozen=True)
class Listed:
    """One operation.

    Attributes:
        name: As the cloud calls it.
        members: Those of the official model.
        table: How they are played.
    """

    name: str
    members: Sequence[Member]
    table: Members


@dataclass(frozen=True)
class Cloud:
    """One mini cloud.

    Attributes:
        name: As people call it.
        source: Where its official model comes from.
        operations: Those that it serves.
        notes: What the figures leave out.
    """

    name: str
    source: str
    operations: Sequence[Listed]
    notes: str = ""


def page() -> str:
    """The whole page."""
    clouds = [
        Cloud(name, listed.SOURCE, [Listed(*one) for one in listed.operations()], listed.NOTES)
        for name, listed in (("SageMaker", sagemaker_listed), ("Vertex AI", vertex_listed))
    ]
    return _HEAD + "".join(_figures(clouds)) + "".join(text for cloud in clouds for text in _cloud(cloud))


def _figures(clouds: Sequence[Cloud]) -> Iterator[str]:
    yield "| mini cloud | operations | members | acting | shown | ignored as by the cloud | refused by name |\n"
    yield "| --- | --- | --- | --- | --- | --- | --- |\n"
    for cloud in clouds:
        found = [one.table.find(member.path) for one in cloud.operations for member in one.members]
        kinds = Counter("refused" if how is None else _kind(how) for how in found)
        counts = [
            len(cloud.operations),
            len(found),
            *(kinds[kind] for kind in ("acts", "shown", "ignored", "refused")),
        ]
        yield f"| {cloud.name} | {' | '.join(f'{one:,}' for one in counts)} |\n"


def _kind(how: Played) -> str:
    return "ignored" if how.output else "acts" if how.acts else "shown"


def _cloud(cloud: Cloud) -> Iterator[str]:
    yield f"\n## {cloud.name}\n\nThe official model: {cloud.source}.\n{cloud.notes}"
    for one in cloud.operations:
        yield f"\n### {one.name}\n\n"
        yield from _operation(one)


def _operation(one: Listed) -> Iterator[str]:
    listed = [(member.path, one.table.find(member.path)) for member in one.members if not member.inner]
    played = [(path, how) for path, how in listed if how and not how.output]
    if played:
        yield "| member | played | how |\n| --- | --- | --- |\n"
    for path, how in played:
        only = f" ({', '.join(f'`{value}`' for value in how.values)})" if how.values else ""
        yield f"| `{path}`{only} | {_kind(how)} | {how.why} |\n"
    found = {member.path: one.table.find(member.path) for member in one.members}
    if names := list(_outermost([path for path, how in found.items() if how and how.output])):
        yield f"\nIgnored as by the cloud: {', '.join(names)}.\n"
    if names := list(_outermost([path for path, how in found.items() if how is None])):
        yield f"\nRefused by name: {', '.join(names)}.\n"


def _outermost(names: Sequence[str]) -> Iterator[str]:
    """Each member that is not within another, with the number of those within it."""
    outer = ""
    for name in names:
        if outer and name.startswith((f"{outer}.", f"{outer}[", f"{outer}{{")):
            continue
        outer = name
        inner = sum(other.startswith((f"{name}.", f"{name}[", f"{name}{{")) for other in names)
        yield f"`{name}`{f' and {inner} within it' if inner else ''}"
