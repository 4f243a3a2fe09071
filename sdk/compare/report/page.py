"""The report as a self-contained HTML page, and as a fragment for notebooks."""

from __future__ import annotations

import functools
import html
from importlib.resources import files
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from .cells import table
from .charts import charts
from .text import head, notes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..comparison import Comparison
    from ..result import Row
    from .charts import Chart

# The page fetches nothing, whatever a name in the result contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(found: Comparison) -> str:
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


def fragment(found: Comparison) -> str:
    """Return verdict, table and notes for a notebook, in the notebook's own style."""
    verdict, *facts = map(html.escape, head(found))
    warning = f"<p><strong>{html.escape(found.warning)}</strong></p>" if found.warning else ""
    return f"<div>{warning}<p><b>{verdict}</b><br>{'<br>'.join(facts)}</p>{_main_table(found)}{_notes(found)}</div>"


def _body(found: Comparison, drawn: Sequence[Chart]) -> Iterator[str]:
    verdict, *facts = map(html.escape, head(found))
    yield f"<h1>{html.escape(_title(found))}</h1>"
    if found.warning:
        yield f'<p class="warning" role="alert">{html.escape(found.warning)}</p>'
    yield f'<p class="verdict{"" if found.best else " open"}">{verdict}</p>'
    yield from (f'<p class="facts">{fact}</p>' for fact in facts)
    yield '<h2 id="figures">Figures</h2>'
    yield f'<div class="wide" tabindex="0" role="region" aria-labelledby="figures">{_main_table(found)}</div>'
    yield from map(_figure, drawn)
    if not any(one.id == "curves" for one in drawn):
        yield '<p class="facts">No cost is known, so none is drawn.</p>'
    yield f"<h2>Before you believe it</h2>\n{_notes(found)}"


def _notes(found: Comparison) -> str:
    """Return the notes as lists, one for each kind."""
    return "\n".join(
        f"<h3>{html.escape(kind)}</h3>\n<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>"
        for kind, texts in notes(found)
    )


def _title(found: Comparison) -> str:
    simulated = [row.simulated for row in found.rows]
    where = " on mini clouds" if all(simulated) else " partly on mini clouds" if any(simulated) else ""
    return f"Comparison of {found.model}{where}"


def _figure(chart: Chart) -> str:
    title, text = html.escape(chart.title), html.escape(chart.text)
    return (
        f'<figure aria-labelledby="{chart.id}-title">\n<h2 id="{chart.id}-title">{title}</h2>\n'
        f'<div class="chart" id="{chart.id}" role="img" aria-label="{text}"></div>\n'
        f"<figcaption>{text}</figcaption>\n<details><summary>The same as a table</summary>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}">{_table(chart.columns, chart.rows)}</div>'
        "</details>\n</figure>"
    )


def _main_table(found: Comparison) -> str:
    columns, rows = table(found)
    return _table(columns, rows, [_kind(row, found) for row in found.rows])


def _kind(row: Row, found: Comparison) -> str:
    """Return the CSS classes of a row of the main table."""
    best = found.best is not None and found.best.key == row.key
    marks = {"best": best, "simulated": row.simulated, "unusable": not row.usable}
    return " ".join(mark for mark, given in marks.items() if given)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    top = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(_line(row, kind) for row, kind in zip_longest(rows, kinds, fillvalue=""))
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _line(row: Sequence[str], kind: str) -> str:
    first, *others = map(html.escape, row)
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    mark = f' class="{kind}"' if kind else ""
    return f'<tr{mark}><th scope="row">{first}</th>{cells}</tr>'


def _json(value: Any) -> str:
    """Return JSON that cannot end its surrounding HTML element; numbers that JSON cannot represent become null."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def _asset(name: str) -> str:
    return (files("sdk.compare.report") / "assets" / name).read_text(encoding="utf-8")
