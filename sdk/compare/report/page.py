"""One page that needs nothing else."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from .cells import table
from .text import head, notes

if TYPE_CHECKING:
    from ..comparison import Comparison


def fragment(found: Comparison) -> str:
    """For a notebook: verdict, table and notes, in the notebook's own style."""
    columns, rows = table(found)
    top = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    verdict, *rest = (html.escape(line) for line in head(found))
    points = "".join(f"<li>{html.escape(note)}</li>" for note in notes(found))
    return (
        f"<div><p><b>{verdict}</b><br>{'<br>'.join(rest)}</p>"
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table><ul>{points}</ul></div>"
    )


def page(found: Comparison) -> str:
    """The whole page."""
    return f"<!doctype html><meta charset=utf-8><title>mlport compare</title>{fragment(found)}"
