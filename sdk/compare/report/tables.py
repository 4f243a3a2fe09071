"""The tables of the page: on a phone each row becomes a card, and each cell repeats the name of its column.

The roles are explicit, because browsers forget that a table is one when its rows are laid out as cards.
"""

from __future__ import annotations

import html
from itertools import groupby
from typing import TYPE_CHECKING

from .columns import cells_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..result import Row
    from ..results import Results
    from .columns import Column


def of_rows(found: Results, shown: Sequence[Column], title: str) -> str:
    """Return some columns of all subjects as a table; several subjects of one target form a group with a heading.

    Args:
        found: The comparison.
        shown: The columns; the first one names the row.
        title: The id of the heading that names the table.
    """
    labels = [column.label for column in shown]
    return _table(labels, "".join(_groups(found, shown, labels)), title)


def for_notebook(found: Results, shown: Sequence[Column]) -> str:
    """Return the columns as a plain table, which takes the style of the notebook."""
    labels = [column.label for column in shown]
    kinds = [_kind(row, found) for row in found.rows]
    body = "".join(_line(labels, cells, kind) for cells, kind in zip(cells_of(shown, found.rows), kinds, strict=True))
    return f"<table>{_head(labels)}<tbody>{body}</tbody></table>"


def plain(labels: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> str:
    """Return a table of any cells."""
    body = "".join(_line(labels, row, "") for row in rows)
    return _table(labels, f'<tbody role="rowgroup">{body}</tbody>', title)


def _table(labels: Sequence[str], bodies: str, title: str) -> str:
    return f'<table role="table" aria-labelledby="{title}">{_head(labels)}{bodies}</table>'


def _head(labels: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col" role="columnheader">{html.escape(label)}</th>' for label in labels)
    return f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'


def _groups(found: Results, shown: Sequence[Column], labels: Sequence[str]) -> Iterator[str]:
    """Yield the rows of each target; those of a target with several subjects have a heading."""
    for target, grouped in groupby(found.rows, lambda row: row.target.partition("@")[0]):
        rows = list(grouped)
        kinds = [_kind(row, found) for row in rows]
        lines = "".join(_line(labels, *one) for one in zip(cells_of(shown, rows), kinds, strict=True))
        if len(rows) == 1:
            yield f'<tbody role="rowgroup">{lines}</tbody>'
            continue
        heading = f"{html.escape(target)}, {len(rows)} subjects"
        top = f'<th scope="rowgroup" role="rowheader" colspan="{len(labels)}">{heading}</th>'
        yield f'<tbody role="rowgroup" class="several"><tr class="group" role="row">{top}</tr>{lines}</tbody>'


def _kind(row: Row, found: Results) -> str:
    """Return the CSS classes of a row."""
    best = found.best is not None and found.best.key == row.key
    marks = {"best": best, "simulated": row.simulated, "unusable": not row.usable}
    return " ".join(mark for mark, given in marks.items() if given)


def _line(labels: Sequence[str], cells: Sequence[str], kind: str) -> str:
    first, *others = map(html.escape, cells)
    named = zip(map(html.escape, labels[1:]), others, strict=True)
    rest = "".join(f'<td role="cell" data-label="{label}">{cell}</td>' for label, cell in named)
    mark = f' class="{kind}"' if kind else ""
    return f'<tr{mark} role="row"><th scope="row" role="rowheader">{first}</th>{rest}</tr>'
