"""The charts: options of the charting library as plain values, each with the same figures as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cost import cost_of
from ..traffic import Traffic
from ..verdict import keeps
from .cells import figure, name, usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..result import Row
    from ..results import Results

Option = dict[str, Any]

# Colours that any kind of colour vision can distinguish (after Okabe and Ito 2008), each with a contrast of 3:1 or more
# to the light and the dark page. Symbols and dashes differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C06C9A", "#B87F00", "#2C8EC7", "#7D5FB2", "#7A7A7A")
_SYMBOLS = ("circle", "rect", "triangle", "diamond", "pin", "arrow", "roundRect", "circle")
_DASHES = ("solid", "dashed", "dotted")
_MARKED = 8  # a line has about so many symbols
_LEAST, _MOST, _STEPS = 3, 9, 96  # traffic from 10^3 to 10^9 requests a month
_WIDE = 20.0  # the ratio of the highest cost to the lowest from which an axis is logarithmic
_CHEAPEST_USD = 0.01  # lower end of the axis of monthly costs


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the report.

    Args:
        id: The id of its element on the page.
        title: The title.
        text: A description in a sentence, for readers who cannot see the chart.
        option: The options of the charting library.
        columns: The column names of the table with the same figures.
        rows: The rows of that table.
    """

    id: str
    title: str
    text: str
    option: Option
    columns: tuple[str, ...]
    rows: list[list[str]]


def charts(found: Results) -> list[Chart]:
    """Return the charts for which there are enough figures."""
    measured = [row for row in found.rows if row.usable]
    made = (_trade(found, measured), _tails(found, measured), _curves(found, measured))
    return [chart for chart in made if chart is not None]


def _base(x: str, y: str, *, x_log: bool = False, y_log: bool = False) -> Option:
    axis = {"nameLocation": "middle", "scale": True}
    return {
        "animation": False,
        "color": list(COLOURS),
        "grid": {"left": 64, "right": 24, "top": 28, "bottom": 56},
        "legend": {"show": False},  # the page has one of buttons, for keyboards and screen readers
        "tooltip": {"trigger": "item", "confine": True},
        "aria": {"enabled": True},
        "xAxis": {**axis, "type": "log" if x_log else "value", "name": x, "nameGap": 30},
        "yAxis": {**axis, "type": "log" if y_log else "value", "name": y, "nameGap": 46},
    }


def _line_at(value: float, text: str) -> Option:
    """Return a vertical line across a chart."""
    return {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"type": "dashed", "color": "#888"},
        "label": {"formatter": text, "position": "end"},
        "data": [{"xAxis": value}],
    }


def _mark(place: int) -> Option:
    colour = COLOURS[place % len(COLOURS)]
    dash = _DASHES[place % len(_DASHES)]
    return {"itemStyle": {"color": colour}, "lineStyle": {"color": colour, "width": 2, "type": dash}}


def _place(found: Results, row: Row) -> int:
    """Return the position of a subject, which gives it the same colour and symbol in every chart."""
    return [one.key for one in found.rows].index(row.key)


def _line(place: int, row: Row) -> Option:
    symbol = _SYMBOLS[place % len(_SYMBOLS)]
    return {**_mark(place), "type": "line", "name": name(row), "symbol": symbol, "symbolSize": 9}


def _points(line: Sequence[tuple[float, float]], place: int) -> list[Any]:
    """Return the points of a line, a few with a symbol; each subject has them elsewhere, so that none hides another."""
    every = max(1, len(line) // _MARKED)
    return [
        list(point) if at % every == place % every else {"value": list(point), "symbolSize": 0}
        for at, point in enumerate(line)
    ]


def spend(row: Row) -> float | None:
    """Return the cost of 1,000 requests to draw: at the user's traffic, else at saturation."""
    return row.cost.usd_per_1k if row.cost.usd_per_1k is not None else row.cost.usd_per_1k_full


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto front: the points that no other point beats in both values, from left to right.

    Example:
        >>> front([(1.0, 5.0), (2.0, 6.0), (3.0, 1.0)])
        [(1.0, 5.0), (3.0, 1.0)]
    """
    kept: list[tuple[float, float]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept


def _trade(found: Results, rows: Sequence[Row]) -> Chart | None:
    """Return the chart of cost against latency."""
    shown: list[tuple[Row, float, float]] = []
    for row in rows:
        p95, cost = row.ms("p95"), spend(row)
        if p95 is not None and math.isfinite(p95) and cost is not None:
            shown.append((row, p95, cost))
    if not shown:
        return None
    costs = [cost for _, _, cost in shown]
    option = _base("p95, ms", "US dollars per 1,000 requests", y_log=max(costs) > _WIDE * min(costs) > 0)
    mini = all(row.simulated for row, _, _ in shown)  # a mini cloud never displaces a real platform on the front
    option["xAxis"] |= {"min": 0, "max": max(found.p95_ms or 0.0, *(p95 for _, p95, _ in shown)) * 1.1}
    option["series"] = [_dot(_place(found, one[0]), one, option["xAxis"]["max"]) for one in shown]
    option["series"] += [_bar(_place(found, row), row, cost) for row, _, cost in shown]
    option["series"].append(_front([(p95, cost) for row, p95, cost in shown if not row.simulated or mini]))
    if found.p95_ms is not None:
        option["series"][0]["markLine"] = _line_at(found.p95_ms, f"objective {found.p95_ms:g} ms")
    where = "at your traffic" if found.traffic is not None else "at saturation"
    return Chart(
        "trade",
        f"Cost {where} against latency",
        _trade_text(found, shown, where),
        option,
        ("subject", "p95 ms", f"$ per 1,000 {where}"),
        [[name(row), figure(p95), usd(cost, about=row.cost.approximate)] for row, p95, cost in shown],
    )


def _trade_text(found: Results, shown: Sequence[tuple[Row, float, float]], where: str) -> str:
    """Return the chart in words: how to read it, and which subjects no other one beats in both."""
    real = [one for one in shown if not one[0].simulated] or shown
    best = front([(p95, cost) for _, p95, cost in real])
    names = ", ".join(name(row) for row, p95, cost in sorted(real, key=lambda one: one[1]) if (p95, cost) in best)
    objective = "" if found.p95_ms is None else f" Right of {found.p95_ms:g} ms the objective is missed."
    return (
        f"Each subject by its p95 and what 1,000 requests cost {where}; lower left is better.{objective} "
        f"None is both faster and cheaper than these, from fast to cheap: {names}."
    )


def _dot(place: int, shown: tuple[Row, float, float], widest: float) -> Option:
    """Return the dot of a subject; its name extends towards the middle of the chart, where there is room."""
    row, p95, cost = shown
    return {
        **_mark(place),
        "type": "scatter",
        "name": name(row),
        "symbol": _SYMBOLS[place % len(_SYMBOLS)],
        "symbolSize": 14,
        "data": [[p95, cost]],
        "label": {
            "show": True,
            "formatter": "{a}",
            "position": "top",
            "align": "left" if 2 * p95 < widest else "right",
        },
        "labelLayout": {"hideOverlap": True},
        "tooltip": {"formatter": f"{name(row)}: p95 {figure(p95)} ms, {usd(cost)} per 1,000"},
    }


def _bar(place: int, row: Row, cost: float) -> Option:
    """Return the interval of the p95 as a bar through its dot; without data if there is no interval."""
    estimate = row.latency["p95"]
    ends = [] if estimate.low is None or estimate.high is None else [[estimate.low, cost], [estimate.high, cost]]
    mark = {**_mark(place), "lineStyle": {"color": COLOURS[place % len(COLOURS)], "width": 2}}
    return {**mark, "type": "line", "symbol": "rect", "symbolSize": [2, 12], "data": ends, "silent": True}


def _front(points: Sequence[tuple[float, float]]) -> Option:
    return {
        "type": "line",
        "name": "Pareto front",
        "step": "end",
        "symbol": "none",
        "silent": True,
        "z": 1,
        "lineStyle": {"color": "#888", "width": 1, "type": "dotted"},
        "itemStyle": {"color": "#888"},
        "data": [list(point) for point in front(points)],
    }


def _tails(found: Results, rows: Sequence[Row]) -> Chart | None:
    """Return the chart of the distribution: the share of requests that take longer than so many milliseconds."""
    shown = [row for row in rows if row.tail]
    if not shown:
        return None
    option = _base("ms", "share of the requests that took longer", x_log=True, y_log=True)
    option["yAxis"]["max"] = 1
    option["series"] = [
        {
            **_line(_place(found, row), row),
            "data": _points([(max(ms, 1e-3), share) for ms, share in row.tail], _place(found, row)),
        }
        for row in shown
    ]
    option["tooltip"]["trigger"] = "axis"
    if found.p95_ms is not None:
        option["series"][0]["markLine"] = _line_at(found.p95_ms, f"objective {found.p95_ms:g} ms")
    shares = (0.5, 0.1, 0.05, 0.01, 0.001)
    return Chart(
        "tail",
        "Latency: the share of requests that took longer",
        "One line per subject; the further down a line reaches on the left, the shorter its tail.",
        option,
        ("subject", *(f"{100 * share:g} % over, ms" for share in shares)),
        [[name(row), *(_over(row, share) for share in shares)] for row in shown],
    )


def _over(row: Row, share: float) -> str:
    """Format the latency that this share of the requests exceeds; ``-`` beyond the measured tail."""
    found = [ms for ms, rest in row.tail if rest <= share]
    return figure(found[0]) if found else "-"


def _curves(found: Results, rows: Sequence[Row]) -> Chart | None:
    """Return the chart of the monthly cost against the traffic."""
    profile = found.traffic.weights if found.traffic is not None else "flat"
    steps = [10 ** (_LEAST + (_MOST - _LEAST) * step / _STEPS) for step in range(_STEPS + 1)]
    lines: list[tuple[Row, list[tuple[float, float]]]] = []
    for row in rows:
        costs = [(step, cost_of(row, Traffic.of(step, profile), found.headroom).usd_per_month) for step in steps]
        line = [(step, cost) for step, cost in costs if cost]
        if line:
            lines.append((row, line))
    if not lines:
        return None
    option = _base("requests a month", "US dollars a month", x_log=True, y_log=True)
    option["xAxis"] |= {"min": 10**_LEAST, "max": 10**_MOST}
    lowest = max(_CHEAPEST_USD, min(cost for _, line in lines for _, cost in line))
    option["yAxis"]["min"] = 10 ** math.floor(math.log10(lowest))
    option["tooltip"]["trigger"] = "axis"
    option["series"] = [_curve(found, row, line) for row, line in lines]
    if found.traffic is not None:
        option["series"][0]["markLine"] = _line_at(found.traffic.per_month, "your traffic")
    shown = (1e5, 1e6, 1e7, 1e8)
    return Chart(
        "curves",
        "Cost of a month against traffic",
        f"One line per subject; where two lines cross is their break-even point. {_cheapest(found, lines)}",
        option,
        ("subject", *(f"$ at {step:,.0f} a month" for step in shown)),
        [[name(row), *(_month(row, step, profile, found.headroom) for step in shown)] for row, _ in lines],
    )


def _cheapest(found: Results, lines: Sequence[tuple[Row, list[tuple[float, float]]]]) -> str:
    """Return in words which subject is the cheapest up to which traffic, of those that keep the objective."""
    fit = [(row, line) for row, line in lines if not keeps(row, found.p95_ms)]
    fit = [one for one in fit if not one[0].simulated] or fit
    if not fit:
        return "None of them keeps the objective."
    costs = [dict(line) for _, line in fit]
    ranges: list[tuple[str, float]] = []
    for step in sorted({step for _, line in fit for step, _ in line}):
        best = min(zip(fit, costs, strict=True), key=lambda one: one[1].get(step, math.inf))
        key = name(best[0][0])
        if ranges and ranges[-1][0] == key:
            ranges.pop()
        ranges.append((key, step))
    said = [f"{key} up to about {figure(float(f'{until:.2g}'))} requests a month" for key, until in ranges[:-1]]
    last = f"{ranges[-1][0]} at any traffic" if not said else f"{ranges[-1][0]} above that"
    return f"The cheapest{' that keeps the objective' * (found.p95_ms is not None)}: {', '.join([*said, last])}."


def _month(row: Row, per_month: float, profile: Any, headroom: float) -> str:
    cost = cost_of(row, Traffic.of(per_month, profile), headroom)
    return usd(cost.usd_per_month, about=cost.approximate)


def _curve(found: Results, row: Row, line: Sequence[tuple[float, float]]) -> Option:
    points = [
        {
            "coord": [point.per_month, min(line, key=lambda one: abs(math.log(one[0] / point.per_month)))[1]],
            "name": f"break-even with {point.serverless}",
        }
        for point in found.break_evens
        if point.other == row.key and line[0][0] <= point.per_month <= line[-1][0]
    ]
    return {
        **_line(_place(found, row), row),
        "data": _points(line, _place(found, row)),
        "markPoint": {"symbol": "diamond", "symbolSize": 14, "label": {"show": False}, "data": points},
    }
