"""The report as a self-contained HTML page, and as a fragment for notebooks."""

from __future__ import annotations

import functools
import html
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from . import tables
from .charts import charts
from .columns import MARKS, columns, in_words, scorecard
from .text import head, notes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..results import Results
    from .charts import Chart
    from .columns import Column

# The page fetches nothing, whatever a name in the result contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(found: Results) -> str:
    """Return the whole page: verdict, table, charts, notes on how to read them, and the result as JSON."""
    drawn = charts(found)
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(_title(found))}</title>",
        f"<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n<main>",
        *_body(found, drawn),
        "</main>",
        f'<script type="application/json" id="charts">{_json({one.id: one.option for one in drawn})}</script>',
        f'<script type="application/json" id="comparison">{_json(found.to_dict())}</script>',
        f"<script>\n{_asset('echarts.common.min.js')}\n</script>",
        f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n",
    ])  # fmt: skip


def fragment(found: Results) -> str:
    """Return verdict, table and notes for a notebook, in the notebook's own style."""
    verdict, *facts = map(html.escape, head(found))
    warning = f"<p><strong>{html.escape(found.warning)}</strong></p>" if found.warning else ""
    figures = tables.for_notebook(found, columns(found))
    return f"<div>{warning}<p><b>{verdict}</b><br>{'<br>'.join(facts)}</p>{figures}{_notes(found)}</div>"


def _body(found: Results, drawn: Sequence[Chart]) -> Iterator[str]:
    verdict, *facts = map(html.escape, head(found))
    yield f"<h1>{html.escape(_title(found))}</h1>"
    if found.warning:
        yield f'<p class="warning" role="alert">{html.escape(found.warning)}</p>'
    yield f'<p class="verdict{"" if found.best else " open"}">{verdict}</p>'
    yield from (f'<p class="facts">{fact}</p>' for fact in facts)
    shown = columns(found)
    first = [column for column in shown if column.first]
    yield _section("figures", "Cost and speed", tables.of_rows(found, first, "figures"))
    yield from (_figure(chart) for chart in drawn)
    if not any(one.id == "curves" for one in drawn):
        yield '<p class="facts">No cost is known, so none is drawn.</p>'
    card = scorecard(found)
    if {column.label for column in card} & {"accuracy", "automation"}:
        yield _section("scorecard", "Scorecard", tables.of_rows(found, card, "scorecard"))
    others = [shown[0], *(column for column in shown if not column.first)]
    yield _section("more", "Further figures", tables.of_rows(found, others, "more"))
    yield _section("words", "What the figures mean", _words(found, shown))
    yield _section("notes", "Before you believe it", _notes(found))


def _section(id_: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{id_}">\n<h2 id="{id_}">{title}</h2>\n{content}\n</section>'


def _words(found: Results, shown: Sequence[Column]) -> str:
    """Return the meaning of all columns and marks, with the figures of one row in words as an example."""
    best = found.best.key if found.best is not None else ""
    row = next((row for row in sorted(found.rows, key=lambda row: row.key != best) if row.usable), None)
    said = in_words(row, found) if row is not None else ""
    example = f"<p>As an example, {html.escape(row.key)}: {html.escape(said)}</p>" if row is not None and said else ""
    meanings = [*((column.label, column.meaning) for column in shown), *MARKS]
    terms = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>" for label, text in meanings)
    return f"{example}<dl>{terms}</dl>"


def _notes(found: Results) -> str:
    """Return the notes as lists, one for each kind."""
    return "\n".join(
        f"<h3>{html.escape(kind)}</h3>\n<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>"
        for kind, texts in notes(found)
    )


def _title(found: Results) -> str:
    simulated = [row.simulated for row in found.rows]
    where = " on mini clouds" if all(simulated) else " partly on mini clouds" if any(simulated) else ""
    return f"Comparison of {found.model}{where}"


def _figure(chart: Chart) -> str:
    title, text = html.escape(chart.title), html.escape(chart.text)
    same = tables.plain(chart.columns, chart.rows, f"{chart.id}-title")
    return (
        f'<figure aria-labelledby="{chart.id}-title">\n<h2 id="{chart.id}-title">{title}</h2>\n'
        f'<figcaption>{text}</figcaption>\n<div class="legend" role="group" aria-label="Subjects in this chart" '
        f'data-chart="{chart.id}"></div>\n<div class="chart" id="{chart.id}" role="img" aria-label="{text}"></div>\n'
        f"<details><summary>The same as a table</summary>{same}</details>\n</figure>"
    )


def _json(value: Any) -> str:
    """Return JSON that cannot end its surrounding HTML element; numbers that JSON cannot represent become null."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def _asset(name: str) -> str:
    return (files("sdk.compare.report") / "assets" / name).read_text(encoding="utf-8")
