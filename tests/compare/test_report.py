"""Every form of the report says the same, and the page works in a real browser without a network."""

from __future__ import annotations

import importlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdk.compare.comparison import Comparison
from sdk.compare.report.charts import charts, front
from sdk.compare.report.text import notes, plain
from sdk.compare.result import Pair, Price, Row
from sdk.compare.stats import Estimate
from sdk.compare.traffic import Traffic
from sdk.errors import ConfigError
from tests.compare.rows import comparison, row

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "reference" / "compare.schema.json"
EVIL = "</script><img src=x onerror=alert(1)>|"


def _tail(middle: float) -> tuple[tuple[float, float], ...]:
    shares = [10 ** (-4 * step / 50) for step in range(51)]
    return tuple((middle * math.exp(0.4 * math.sqrt(-2 * math.log(share))), share) for share in shares)


@pytest.fixture(scope="module")
def found() -> Comparison:
    gap = Estimate(-13.0, -15.0, -11.0, "runs", 40_000, 10)
    return comparison(
        row("local", p95=12.0, usd=None, tail=_tail(6.0), invalid=("the generator was late",)),
        row("aws", p95=48.0, tail=_tail(24.0)),
        row("gcp", p95=61.0, price=Price(0.2185, status="unverified-derived"), rate=80.0, tail=_tail(30.0)),
        row("serverless", p95=90.0, price=Price(0.00002, "gb-second", memory_gb=2.0), highest=None, tail=_tail(45.0)),
        row(EVIL, failed="no quota"),
        traffic=Traffic.of(3e6, "office"),
        pairs=(Pair("aws", "gcp", "p95", gap),),
    )


def test_all_forms_tell_the_verdict_and_its_figures(found: Comparison) -> None:
    """Terminal, Markdown, notebook and page."""
    for text in (str(found), found.to_markdown(), found._repr_html_(), found.to_html()):
        assert "serverless is the cheapest that answers 95 % within 100 ms: $5.28 a month" in text
        assert "local (invalid)" in text
        assert "INVALID" in text
        assert "unknown" in text
        assert "~$160" in text
        assert "48.0 [47.0..49.0]" in text
        assert "aws is faster than gcp: p95 by 13.0 ms [11.0..15.0]" in text
        assert "local: invalid: the generator was late" in text
        assert "serverless is cheaper than aws below 146,976,856 requests a month" in text
        assert "failed: no quota" in text


def test_notes_are_grouped_and_each_is_said_once(found: Comparison) -> None:
    """What is missing comes first, where prices come from last; what is true of several is one line."""
    grouped = dict(notes(found))
    kinds = ["What is missing", "Differences", "Cost", "Where the prices come from"]
    assert kinds == list(grouped)
    lines = [line for lines in grouped.values() for line in lines]
    assert len(lines) == len(set(lines))
    assert [f"local, aws, {EVIL}: price from a list, seen 2026-09-28 (quoted)"] == grouped["Where the prices come from"]
    for text in (str(found), found.to_markdown()):
        said = [line.strip("*") for line in text.splitlines()]
        assert kinds == [line for line in said if line in kinds]
    for text in (found._repr_html_(), found.to_html()):
        assert kinds == re.findall("<h3>(.*?)</h3>", text)
        assert 1 == text.count("seen 2026-09-28")


def test_a_difference_that_could_not_be_judged_says_why() -> None:
    """Too few requests for a comparison of two are no silence: both are named, with what would be needed."""
    short = Estimate(None, note="fewer than 5 pairs of runs with 60 requests each")
    found = comparison(row("a"), row("b"), row("c"), pairs=(Pair("a", "b", "p95", short), Pair("b", "c", "p95", short)))
    said = "a and b, b and c: no difference of p95 shown: fewer than 5 pairs of runs with 60 requests each"
    assert [said] == dict(notes(found))["Differences"]


def _mini(key: str, **more: Any) -> Row:
    return row(key, host="127.0.0.1:5001", official=False, billed=False, **more)


def test_a_mini_cloud_never_passes_for_the_platform() -> None:
    """A banner before everything else, a mark on each row and in each chart, and no money spent."""
    found = comparison(_mini("azure", tail=_tail(6.0)), spent_usd=0.0, estimated_usd=0.0, traffic=Traffic.of(1e6))
    banner = "NOT A REAL CLOUD: every row of this comparison ran on a mini cloud"
    for text in (str(found), found.to_markdown(), found._repr_html_(), found.to_html()):
        assert banner in text
        assert text.index(banner) < text.index("on a mini cloud, not the real platform: azure is the only one")
        assert "azure at 127.0.0.1:5001" in text
        assert "azure (mini cloud)" in text
        assert "MINI CLOUD" in text
        assert "nothing was billed for this comparison" in text
        assert "this comparison cost" not in text
    assert '<p class="warning" role="alert">' in found.to_html()
    assert "on mini clouds</title>" in found.to_html()
    kept = json.loads(found.to_json())
    assert kept["warning"].startswith(banner)
    assert ("127.0.0.1:5001", False, False) == tuple(kept["rows"][0][name] for name in ("host", "official", "billed"))
    assert 0.0 == kept["spent_usd"]
    assert kept["best"]["reason"].startswith("on a mini cloud, not the real platform")
    names = {series["name"] for chart in charts(found) for series in chart.option["series"] if "name" in series}
    assert {"azure (mini cloud)", "Pareto front"} == names


def test_a_mini_cloud_beside_a_real_one_takes_no_part() -> None:
    """However cheap and fast it looks, the verdict is about the real platforms, and says who was left out."""
    real: dict[str, Any] = {"official": True, "billed": True, "host": "api.example"}
    found = comparison(
        row("aws", **real), row("gcp", usd=0.5, **real), _mini("azure", usd=0.01), traffic=Traffic.of(1e6)
    )
    assert found.best is not None
    assert "aws" == found.best.key
    assert found.verdict.endswith("; left out as mini clouds: azure")
    assert "1 of 3 rows of this comparison ran on a mini cloud" in found.warning
    assert "nothing was billed for azure (mini cloud)" in str(found)
    assert "partly on mini clouds</title>" in found.to_html()
    assert "" == comparison(row("aws", **real)).warning


def test_an_old_result_says_that_the_host_was_not_recorded(tmp_path: Path) -> None:
    """What was kept by an older version is not passed off as one or the other."""
    plain = json.loads(comparison(row("a")).to_json())
    plain["rows"] = [{k: v for k, v in one.items() if k not in {"host", "official", "billed"}} for one in plain["rows"]]
    (tmp_path / "old.json").write_text(json.dumps(plain))
    assert "not recorded" in str(Comparison.load(tmp_path / "old.json"))


def test_an_invalid_row_is_no_result() -> None:
    """Headline, table, JSON, charts and differences: nothing rests on a measurement that disturbed itself."""
    late = row("late", p95=2.0, usd=0.01, tail=_tail(2.0), invalid=("the generator was late",))
    found = comparison(late, row("aws", tail=_tail(6.0)), traffic=Traffic.of(1e6))
    assert found.best is not None
    assert "aws" == found.best.key
    assert "late: invalid: the generator was late" in found.verdict
    assert ["the generator was late"] == json.loads(found.to_json())["rows"][0]["invalid"]
    assert '<tr class="unusable" role="row"><th scope="row" role="rowheader">late (invalid)</th>' in found.to_html()
    drawn = {series.get("name") for chart in charts(found) for series in chart.option["series"]}
    assert "late (invalid)" not in drawn
    assert comparison(late).best is None


def test_what_always_runs_is_known_without_a_highest_rate() -> None:
    """The least of a month is in the table, and the reason in the notes."""
    found = comparison(row("a", rate=None), traffic=Traffic.of(1e6))
    for text in (str(found), found.to_markdown(), found.to_html()):
        assert "at least $168" in text
        assert "no rate was seen that keeps the objective; what always runs costs $167.90 a month" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits(width: int) -> None:
    """Subjects that do not fit beside each other stand below each other, none is cut."""
    rows = [row(f"target-{n}", instance="Standard_DS2_v2", region="westeurope") for n in range(6)]
    lines = plain(comparison(*rows), width).splitlines()
    table = [line for line in lines if line.startswith(("subject", "host", "p95 ms", "instance"))]
    assert max(map(len, table)) <= width
    assert [f"target-{n}" for n in range(6)] == " ".join(line for line in table if line[:7] == "subject").replace(
        "subject", "").split()  # fmt: skip


def test_names_are_never_markup(found: Comparison) -> None:
    """A subject may be called anything."""
    assert EVIL not in found.to_html()
    assert EVIL not in found._repr_html_()
    assert "<img src=x" not in found.to_html()
    assert "<img src=x" not in found.to_markdown()
    widths = {line.count("|") - line.count("\\|") for line in found.to_markdown().splitlines() if line.startswith("| ")}
    assert 1 == len(widths)


class _Structure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_else(found: Comparison) -> None:
    """Below 1.5 MB, without a reference to anywhere, and with the result in it."""
    text = found.to_html()
    assert len(text.encode()) < 1_500_000
    structure = _Structure()
    structure.feed(text)
    assert [] == [(tag, facts) for tag, facts in structure.tags if {"src", "href", "data", "action"} & set(facts)]
    assert "default-src 'none'" in text
    embedded = re.search(r'<script type="application/json" id="comparison">(.*?)</script>', text)
    assert embedded is not None
    assert found.verdict == json.loads(embedded[1])["verdict"]


def test_the_page_is_accessible(found: Comparison) -> None:
    """A language, a title, headed tables, named charts, and each chart as a table too."""
    structure = _Structure()
    structure.feed(found.to_html())
    by = {name: [facts for tag, facts in structure.tags if tag == name] for name, _ in structure.tags}
    assert "en" == by["html"][0]["lang"]
    assert 1 == len(by["h1"]) == len(by["title"])
    assert all(facts["scope"] in {"col", "row"} for facts in by["th"])
    drawn = [facts for facts in by["div"] if facts.get("class") == "chart"]
    assert 3 == len(drawn) == len(by["details"]) == len(by["figcaption"])
    assert all(facts["role"] == "img" and facts["aria-label"] for facts in drawn)
    ids = [facts["id"] for _, facts in structure.tags if "id" in facts]
    assert len(ids) == len(set(ids))
    assert {facts["aria-labelledby"] for _, facts in structure.tags if "aria-labelledby" in facts} <= set(ids)


def test_a_subject_looks_the_same_in_every_chart(found: Comparison) -> None:
    """One colour and one symbol each."""
    looks: dict[str, set[tuple[str, str]]] = {}
    for chart in charts(found):
        for series in chart.option["series"]:
            if series.get("name") in {"aws", "gcp", "serverless"}:
                looks.setdefault(series["name"], set()).add((series["itemStyle"]["color"], series["symbol"]))
    assert [1, 1, 1] == [len(one) for one in looks.values()]
    assert 3 == len(set.union(*looks.values()))


def test_charts_without_prices() -> None:
    """Nothing is drawn that is not known, and the page says so."""
    bare = comparison(row("a", usd=None, tail=_tail(10.0)))
    assert ["tail"] == [chart.id for chart in charts(bare)]
    assert "No cost is known, so none is drawn." in bare.to_html()


def test_front() -> None:
    """The points that no other beats in both."""
    assert [(1.0, 9.0), (2.0, 4.0), (5.0, 1.0)] == front([(5.0, 1.0), (2.0, 4.0), (3.0, 5.0), (1.0, 9.0), (6.0, 1.0)])


def _form(schema: Any) -> Any:
    """A schema without what depends on the versions of libraries: its descriptions and the order of lists."""
    if isinstance(schema, dict):
        return {k: _form(value) for k, value in schema.items() if k != "description" or not isinstance(value, str)}
    return sorted((_form(item) for item in schema), key=json.dumps) if isinstance(schema, list) else schema


def test_the_schema_is_the_documented_one(found: Comparison) -> None:
    """docs/reference/compare.schema.json is what results keep to; a change of form needs a new version."""
    documented = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert _form(documented) == _form(json.loads(json.dumps(msgspec.json.schema(Comparison))))
    validator = importlib.import_module("jsonschema").Draft202012Validator(documented)
    assert [] == list(validator.iter_errors(json.loads(found.to_json())))


def test_read_again(tmp_path: Path, found: Comparison) -> None:
    """Kept, read, and shown the same; another version or another file is refused by name."""
    kept = tmp_path / "r.json"
    found.to_json(kept)
    assert found == Comparison.load(kept)
    assert found.to_html() == Comparison.load(kept).to_html()
    kept.write_text(kept.read_text().replace("mlport.compare/1", "mlport.compare/9"))
    with pytest.raises(ConfigError, match=r"is no comparison in the form mlport\.compare/1"):
        Comparison.load(kept)
    with pytest.raises(ConfigError, match="cannot be read"):
        Comparison.load(tmp_path / "none.json")


def test_failed_quantiles_survive_the_file(tmp_path: Path) -> None:
    """JSON has no infinity: what failed is null there, never a number."""
    broken = comparison(row("a", latency={"p95": Estimate(math.inf, note="too many requests failed")}))
    broken.to_json(tmp_path / "r.json")
    again = Comparison.load(tmp_path / "r.json")
    assert again.row("a").ms("p95") is None
    assert again.best is None
