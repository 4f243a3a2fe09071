"""The picture of a comparison's page in the README, with invented figures, made in a browser.

    python -m benchmarks.compare.picture docs/pictures/compare.png [comparison.json]

With a saved comparison, the picture shows that one instead.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

from sdk.compare.comparison import Comparison
from sdk.compare.result import Pair, Place, Price, Row
from sdk.compare.search import Highest
from sdk.compare.stats import Estimate
from sdk.compare.traffic import Traffic
from sdk.compare.workload import Workload
from tests.compare.browser import Browser

WIDTH, SCALE = 1100, 0.85
MOST_BYTES = 150_000
SHARES = [10 ** (-4 * step / 50) for step in range(51)]
# Subject, instance, region, p95 in ms, US dollars per hour, highest rate.
SUBJECTS = (
    ("aws@us-east-1 ml.m5.large", "ml.m5.large", "us-east-1", 48.0, 0.1152, 60.0),
    ("aws@us-east-1 ml.c5.4xlarge", "ml.c5.4xlarge", "us-east-1", 22.0, 0.816, 600.0),
    ("gcp", "n1-standard-4", "europe-west4", 61.0, 0.2405, 80.0),
    ("azure", "Standard_DS3_v2", "westeurope", 118.0, 0.272, 90.0),
)


def example() -> Comparison:
    """Return a comparison of four subjects whose figures are invented."""
    rows = [_row(one) for one in SUBJECTS]
    gap = Estimate(26.0, 24.0, 28.0, "runs", 20_000, 10)
    return Comparison(
        created="2026-11-30T12:00:00+00:00",
        model="churn (an example: all figures are invented)",
        payload="50 payloads in turn",
        place=Place("an imagined machine", "Linux", 2, "0"),
        workload=Workload(),
        p95_ms=100.0,
        traffic=Traffic.of(3e6, "office"),
        rows=tuple(rows),
        pairs=(Pair(rows[0].key, rows[1].key, "p95", gap),),
    ).judged()


def _row(subject: tuple[str, str, str, float, float, float]) -> Row:
    key, instance, region, p95, usd, rate = subject
    latency = {
        name: Estimate(share * p95, share * p95 * 0.97, share * p95 * 1.03, "runs", 20_000, 10)
        for name, share in (("p50", 0.6), ("p95", 1.0), ("p99", 1.4))
    }
    tail = tuple((p95 * 0.5 * math.exp(0.4 * math.sqrt(-2 * math.log(share))), share) for share in SHARES)
    return Row(
        key=key, target=key.partition(" ")[0], provider="example", endpoint="example", instance=instance, region=region,
        official=True, billed=True, price=Price(usd, source="an example", status="quoted"), latency=latency,
        highest=Highest(rate, rate, "objective", "p95 over the objective"), requests=20_000, tail=tail,
    )  # fmt: skip


def picture(found: Comparison) -> bytes:
    """Return the page down to the end of its first chart as a PNG file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        found.to_html(folder / "page.html")
        with Browser(folder / "browser") as browser:
            browser.open(folder / "page.html", WIDTH)
            height = browser.js("document.querySelector('#trade').getBoundingClientRect().bottom + scrollY")
            return browser.picture(WIDTH, int(height), SCALE)


def main() -> None:
    made = picture(Comparison.load(sys.argv[2]) if len(sys.argv) > 2 else example())
    if len(made) > MOST_BYTES:
        sys.exit(f"the picture has {len(made)} bytes, {MOST_BYTES} are allowed")
    Path(sys.argv[1]).write_bytes(made)


if __name__ == "__main__":
    main()
