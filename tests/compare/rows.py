"""Rows and comparisons as they come out of a measurement, made by hand."""

from __future__ import annotations

from typing import Any

from sdk.compare.comparison import Comparison
from sdk.compare.result import Place, Price, Row
from sdk.compare.search import Highest
from sdk.compare.stats import Estimate
from sdk.compare.workload import Workload

PLACE = Place("laptop", "Linux", 2, "0.1.0")


def estimates(p95: float, half: float = 1.0) -> dict[str, Estimate]:
    return {
        name: Estimate(value, value - half, value + half, "runs", 20_000, 10)
        for name, value in (("p50", p95 / 2), ("p95", p95), ("p99", p95 * 1.5))
    }


def row(key: str, p95: float = 50.0, usd: float | None = 0.23, rate: float | None = 100.0, **more: Any) -> Row:
    price = Price(usd, source="a list", as_of="2026-09-28", status="quoted")
    highest = None if rate is None else Highest(rate, rate, "objective", "p95 over the objective")
    given = {
        "target": key,
        "provider": "test",
        "endpoint": f"cmp-{key}",
        "instance": "m.large",
        "region": "r1",
        "price": price,
        "rate": 30.0,
        "latency": estimates(p95),
        "highest": highest,
        "requests": 20_000,
        "floor_ms": 1.0,
        "first_ms": 80.0,
        "deploy_s": 200.0,
        "tail": ((p95 / 2, 0.5), (p95, 0.05), (p95 * 2, 0.001)),
    }
    return Row(key=key, **{**given, **more})


def comparison(*rows: Row, **more: Any) -> Comparison:
    given: dict[str, Any] = {
        "created": "2026-11-25T12:00:00+00:00",
        "model": "churn 0123456789ab",
        "payload": "5 payloads in turn",
        "place": PLACE,
        "workload": Workload(),
        "p95_ms": 100.0,
        "spent_usd": 0.12,
    }
    return Comparison(rows=rows, **{**given, **more}).judged()
