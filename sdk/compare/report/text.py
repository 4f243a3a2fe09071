"""The report as plain text for terminals and as Markdown."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from .cells import NONE, figure, name, open_ended, usd
from .columns import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..result import Served
    from ..results import Results


def plain(found: Results, width: int | None = None) -> str:
    """Return the report for a terminal: the table is transposed and split into parts that fit the width.

    Args:
        found: The comparison.
        width: Columns of the terminal; by default those of the current one (or ``COLUMNS``), 120 without a terminal.
    """
    columns, rows = table(found)
    lines = [found.warning, ""] if found.warning else []
    lines += [*head(found), ""]
    for part in _parts(columns, rows, width or shutil.get_terminal_size((120, 24)).columns):
        lines += [*_aligned(part), ""]
    for kind, texts in notes(found):
        lines += [kind, *(f"- {text}" for text in texts), ""]
    return "\n".join(lines[:-1])


def markdown(found: Results, first: Sequence[str] = ()) -> str:
    """Return the report as Markdown.

    Args:
        found: The comparison.
        first: Lines to insert after the verdict.
    """
    columns, rows = table(found)
    verdict, *rest = head(found)
    lines = ["# Comparison", ""]
    lines += [f"> **{safe(found.warning)}**", ""] if found.warning else []
    lines += [f"**{safe(verdict)}**", "", *first, *(f"{safe(line)}  " for line in rest), ""]
    lines += [markdown_row(columns), markdown_row(["---"] * len(columns)), *(markdown_row(row) for row in rows)]
    for kind, texts in notes(found):
        lines += ["", f"**{kind}**", "", *(f"- {safe(text)}" for text in texts)]
    return "\n".join(lines) + "\n"


def head(found: Results) -> list[str]:
    """Return the verdict and the conditions of the comparison, as lines."""
    objective = f"p95 within {found.p95_ms:g} ms" if found.p95_ms is not None else "no objective"
    traffic, place = "no traffic given", found.place
    if found.traffic is not None:
        traffic = f"{found.traffic.per_month:,.0f} requests a month ({found.traffic.profile})"
    return [
        found.verdict,
        f"{found.model}; {objective}; {traffic}; {found.payload}",
        f"measured from {place.host} ({place.system}, {place.processors} processors), {found.created}",
    ]


def notes(found: Results) -> Iterator[tuple[str, list[str]]]:
    """Yield the notes that a reader needs to judge the table, by kind, the most important kind first."""
    kinds = {
        "What is missing": _missing(found),
        "Differences": _differences(found),
        "Cost": _cost(found),
        "How certain the figures are": _doubts(found),
        "What the targets report of themselves": _said(found),
        "Where the prices come from": _sources(found),
    }
    for kind, items in kinds.items():
        if lines := _merged(items):
            yield kind, lines


def _merged(items: Iterable[tuple[str, str]]) -> list[str]:
    """Merge equal notes into one, with the names of all subjects that it is about.

    Example:
        >>> _merged([("a", "is late"), ("b", "is lost"), ("c", "is late"), ("", "that is all")])
        ['a, c: is late', 'b: is lost', 'that is all']
    """
    about: dict[str, dict[str, None]] = {}
    for name_, text in items:
        about.setdefault(text, {})[name_] = None
    return [f"{', '.join(names)}: {text}" if "" not in names else text for text, names in about.items()]


def _missing(found: Results) -> Iterator[tuple[str, str]]:
    yield from (("", note) for note in found.notes)
    for row in found.rows:
        if row.failed:
            yield row.key, f"failed: {row.failed}"
        yield from ((row.key, f"invalid: {reason}") for reason in row.invalid)
        if open_ended(row) and row.highest is not None:
            yield row.key, f"the highest rate is only known from below: {row.highest.reason}"


def _cost(found: Results) -> Iterator[tuple[str, str]]:
    yield from ((row.key, row.cost.note) for row in found.rows if row.cost.note)
    names = {row.key: name(row) for row in found.rows}
    for point in found.break_evens:
        serverless, other = names[point.serverless], names[point.other]
        yield "", f"{serverless} is cheaper than {other} below {point.per_month:,.0f} requests a month"
    yield from (("", text) for text in _money(found))


def _doubts(found: Results) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        yield from ((row.key, flag) for flag in row.flags)
        yield from ((row.key, note) for note in sorted({one.note for one in row.latency.values() if one.note}))


def _said(found: Results) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        if row.served is not None:
            yield row.key, _own_p95(row.served, row.ms("p95"))


def _own_p95(served: Served, measured: float | None) -> str:
    """Return the p95 that a target itself reports, and why it differs from the measured one."""
    inside = NONE if served.p95 is None else figure(served.p95)
    text = f"its own p95 is {inside} ms ({served.scope}, {served.method})"
    if served.p95 is None or measured is None:
        return text
    gap = f"{figure(abs(measured - served.p95))} ms"
    if served.p95 <= measured:
        return f"{text}, {gap} less than measured here: it leaves out the network and what waits in front of it"
    return f"{text}, {gap} more than measured here: it includes the warm-up and the search for the highest rate"


def _sources(found: Results) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        if row.price.source:
            seen = f", seen {row.price.as_of}" if row.price.as_of else ""
            source = row.price.source if row.price.status == "given" else f"from {row.price.source}"
            yield row.key, f"price {source}{seen} ({row.price.status})"


def _money(found: Results) -> Iterator[str]:
    """Yield notes on the cost of the comparison itself."""
    unbilled = [name(row) for row in found.rows if row.billed is False]
    if unbilled and len(unbilled) == len(found.rows):
        yield "nothing was billed for this comparison"
        return
    if unbilled:
        yield f"nothing was billed for {', '.join(unbilled)}"
    if found.spent_usd is not None:
        estimated = "" if found.estimated_usd is None else f", {usd(found.estimated_usd)} estimated"
        yield f"this comparison cost {usd(found.spent_usd)} by the price list{estimated}"


def _differences(found: Results) -> Iterator[tuple[str, str]]:
    names = {row.key: name(row) for row in found.rows}
    for pair in found.pairs:
        gap = pair.difference
        if pair.quantile != "p95":
            continue
        one, other = names.get(pair.one, pair.one), names.get(pair.other, pair.other)
        if not gap.excludes_zero or gap.value is None or gap.low is None or gap.high is None:
            why = f": {gap.note}" if gap.note else ""
            yield f"{one} and {other}", f"no difference of p95 shown{why}"
            continue
        fast, slow = (one, other) if gap.value < 0 else (other, one)
        low, high = sorted((abs(gap.low), abs(gap.high)))
        yield "", f"{fast} is faster than {slow}: p95 by {figure(abs(gap.value))} ms [{figure(low)}..{figure(high)}]"


_GAP = "  "


def _parts(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[list[str]]]:
    """Transpose the table and split it into as few parts as fit the width; a subject is never split."""
    first = max(map(len, columns))
    parts: list[list[Sequence[str]]] = []
    room = 0
    for row in rows:
        needed = len(_GAP) + max(map(len, row))
        if needed > room:
            parts.append([])
            room = width - first
        parts[-1].append(row)
        room -= needed
    return [[[column, *(row[place] for row in part)] for place, column in enumerate(columns)] for part in parts]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def markdown_row(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(safe(cell) for cell in cells)} |"


def safe(text: str) -> str:
    """Escape a text, since a name from the user must not end a cell or become markup."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
