"""The columns of the report: for each, its name, how it shows a row, and what it means in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..verdict import keeps
from . import cells
from .cells import NONE, usd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..result import Row
    from ..results import Results


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the report.

    Args:
        label: The name of the column.
        text: Formats the value of a row.
        meaning: What the value means, in a sentence.
        first: Whether it belongs to the figures that a decision needs first.
    """

    label: str
    text: Callable[[Row], str]
    meaning: str
    first: bool = False


def columns(found: Results) -> list[Column]:
    """Return the columns of a report, of optional ones only those for which a row has a value."""
    return [*_who(), *_costs(found), *_speed(found), *_rest(found)]


def table(found: Results) -> tuple[list[str], list[list[str]]]:
    """Return all columns as one table: their names, and a row per subject."""
    shown = columns(found)
    return [column.label for column in shown], cells_of(shown, found.rows)


def scorecard(found: Results) -> list[Column]:
    """Return the dimensions of a choice that are known of any row: accuracy, effort, running cost, automation.

    Interpretability is a dimension too; it has no column, since nothing measures it yet.
    """
    by = {column.label: column for column in columns(found)}
    cost = "$/month at your traffic" if found.traffic is not None else "$/1,000 at saturation"
    wanted = {"accuracy": "score", "effort": "effort", "running cost": cost, "automation": "automated"}
    return [by["subject"], *(replace(by[of], label=label) for label, of in wanted.items() if of in by)]


def cells_of(shown: Sequence[Column], rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of some columns, a list for each row."""
    return [[column.text(row) for column in shown] for row in rows]


def _who() -> list[Column]:
    return [
        Column("subject", cells.name, "The target, with its instance type or region where several are compared.", True),
        Column("host", cells.host, "Whether the calls went to the platform itself, to your own machine, or to a mini "
               "cloud, which only imitates a platform."),
        Column("measured", cells.measured, "Whether there are figures, and whether conclusions may be based on them."),
        Column("instance", lambda row: row.instance or NONE, "The machine type of one replica.", True),
        Column("region", lambda row: row.region or NONE, "The platform's own name for the region.", True),
        Column("replicas", cells.replicas, "How many copies of the model run at least and at most."),
    ]  # fmt: skip


def _costs(found: Results) -> list[Column]:
    of_traffic = "for the traffic that you gave" if found.traffic is not None else "once you give traffic_per_month"
    return [
        Column("price", cells.price, "What one replica costs by the price list, for an hour or a gigabyte-second.",
               True),
        Column("$/month at your traffic", cells.month, f"A month of 730 hours {of_traffic}: replicas follow it, and "
               "keep some capacity free.", True),
        Column("$/1,000 at your traffic", cells.per_1k, f"The same for 1,000 requests {of_traffic}; idle hours are "
               "included.", True),
        Column("$/1,000 at saturation", cells.per_1k_full, "1,000 requests if every replica were always as busy as the "
               "objective allows: no traffic can be cheaper."),
    ]  # fmt: skip


def _speed(found: Results) -> list[Column]:
    objective = found.p95_ms
    p95 = Column("p95 ms", lambda row: cells.ms(row.latency.get("p95")), "95 of 100 requests are answered within this "
                 "time, counted on this machine from the moment when a request was due.", True)  # fmt: skip
    kept = Column(
        f"within {objective or 0:g} ms",
        lambda row: _kept(row, objective),
        "Whether the p95 keeps the objective: yes only if the upper end of its interval does.",
        True,
    )
    return [
        Column("p50 ms", lambda row: cells.ms(row.latency.get("p50")), "Half of the requests are answered within this "
               "time."),
        p95,
        *([kept] if objective is not None else []),
        Column("p99 ms", lambda row: cells.ms(row.latency.get("p99")), "99 of 100 requests are answered within this "
               "time."),
        Column("highest rate", cells.rate, "The requests per second at which the objective was still kept, less a "
               "tenth for safety; 'at least' where more was not tried.", True),
        Column("errors", cells.errors, "How many requests failed, by HTTP status."),
    ]  # fmt: skip


def _rest(found: Results) -> list[Column]:
    optional = [
        (any(row.served is not None for row in found.rows),
         Column("own p95 ms", cells.served_p95, "The p95 that the target itself reports. It leaves out the network and "
                "whatever waits in front of the model, and covers all requests of the comparison, so it differs from "
                "the p95 that was measured.")),
        (any(row.score is not None for row in found.rows),
         Column("score", cells.score, "How good the answers are: the share of right answers, or r2 for numbers, on the "
                "labels that you gave.", True)),
        (any(row.effort is not None for row in found.rows),
         Column("effort", cells.effort, "The steps that the deploy took on the platform, each of which made or changed "
                "something, and how long it took.")),
        (any(row.automation is not None for row in found.rows),
         Column("automated", cells.automation, "The share of rows that the model answers with at least the confidence "
                "that you asked for: what need not be checked by a person.")),
        (any(row.training is not None for row in found.rows),
         Column("training", _training, "What a training of so many hours costs there.")),
    ]  # fmt: skip
    return [
        Column("first ms", lambda row: cells.plain_ms(row.first_ms), "The first request of all, over a new "
               "connection."),
        Column("deploy", lambda row: cells.seconds(row.deploy_s), "From the command until the endpoint was ready."),
        Column("floor ms", lambda row: cells.plain_ms(row.floor_ms), "The shortest TCP connect: no answer over this "
               "network can be faster."),
        *(column for wanted, column in optional if wanted),
    ]  # fmt: skip


def _kept(row: Row, objective: float | None) -> str:
    """Return whether a row keeps the objective: yes, no, or not certain."""
    reason = keeps(row, objective)
    if not reason:
        return "yes"
    found = row.latency.get("p95")
    if row.failed or found is None or found.value is None:
        return NONE
    return "not certain" if " may be over " in reason else "no"


def _training(row: Row) -> str:
    if row.training is None:
        return NONE
    about = row.training.price.approximate
    return f"{usd(row.training.usd, about=about)} for {row.training.hours:g} h on {row.training.instance}"


# The signs that appear in front of, inside and behind figures.
MARKS = (
    ("[a..b]", "The true value is between a and b in 95 of 100 comparisons."),
    ("?", "This interval assumes that requests are independent of each other, so it is too narrow under load."),
    ("~", "The price comes from a formula, not from a price list."),
    ("at most, at least", "Only one end is known: more, or less, was not tried."),
    ("unknown", "There is no price to calculate with. It does not mean that something is free."),
)


def in_words(row: Row, found: Results) -> str:
    """Return the most important figures of a row as sentences."""
    p95, rate = row.latency.get("p95"), row.highest
    said: list[str] = []
    if p95 is not None and p95.value is not None:
        interval = ""
        if p95.low is not None and p95.high is not None:
            interval = f" (the true value is between {cells.figure(p95.low)} and {cells.figure(p95.high)} ms)"
        said.append(f"95 of 100 requests were answered within {cells.figure(p95.value)} ms{interval}.")
    if rate is not None and rate.rate is not None:
        said.append(f"Up to {cells.figure(rate.rate)} requests a second kept the objective.")
    if found.traffic is not None and row.cost.usd_per_month is not None:
        said.append(f"Your {found.traffic.per_month:,.0f} requests a month cost {cells.month(row)} there.")
    return " ".join(said)
