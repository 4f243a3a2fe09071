"""The page in a real browser: on a desk, on a phone, on paper, light and dark, by keyboard and for a screen reader."""

from __future__ import annotations

import base64
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from sdk.compare.report.charts import COLOURS
from sdk.compare.result import Pair, Price, Served
from sdk.compare.stats import Estimate
from sdk.compare.traffic import Traffic
from tests.compare.browser import CHROMIUM, Browser
from tests.compare.rows import comparison, row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.compare.comparison import Comparison

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

PAPERS = {"light": (1.0, 1.0, 1.0), "dark": (0x17 / 255, 0x17 / 255, 0x1B / 255)}
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FIRST = ["price", "$/month at your traffic", "$/1,000 at your traffic", "p95 ms", "within 100 ms", "highest rate"]


def _tail(middle: float) -> tuple[tuple[float, float], ...]:
    shares = [10 ** (-4 * step / 50) for step in range(51)]
    return tuple((middle * math.exp(0.4 * math.sqrt(-2 * math.log(share))), share) for share in shares)


def _found() -> Comparison:
    """Nine subjects with long names, and everything that a row can have."""
    gap = Estimate(-13.0, -15.0, -11.0, "runs", 40_000, 10)
    official: dict[str, Any] = {"official": True, "billed": True, "host": "runtime.example"}
    aws = {"target": "aws", **official}
    large = row("aws ml.m5.large", instance="ml.m5.large", usd=0.1152, p95=48.0, tail=_tail(24.0), **aws)
    big = row("aws ml.g5.12xlarge", instance="ml.g5.12xlarge", usd=7.09, p95=8.0, tail=_tail(4.0), **aws)
    own = Served("container", "gauge", 9, 20.0, 44.0)
    return comparison(
        large,
        big,
        row("gcp", price=Price(0.2185, status="unverified-derived"), rate=80.0, instance="a2-ultragpu-1g",
            region="northamerica-northeast1", p95=61.0, tail=_tail(30.0), served=own, **official),
        row("azure", p95=120.0, usd=0.293, instance="Standard_NC40ads_H100_v5", region="westeurope", tail=_tail(60.0)),
        row("serverless", p95=90.0, price=Price(0.00002, "gb-second", memory_gb=2.0), highest=None, tail=_tail(45.0)),
        row("a-target-with-a-very-long-name-that-never-ends", usd=None, p95=70.0, tail=_tail(35.0)),
        row("mini", p95=5.0, official=False, billed=False, host="127.0.0.1:5000", tail=_tail(2.0)),
        row("late", invalid=("the generator was late",), tail=_tail(9.0)),
        row("broken", failed="no quota", latency={}, highest=None, requests=0),
        traffic=Traffic.of(3e6, "office"),
        pairs=(Pair("aws ml.m5.large", "gcp", "p95", gap),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page") / "compare.html"
    _found().to_html(made)
    return made


@pytest.mark.parametrize("width", [1440, 1100, 768, 390, 320])
def test_no_width_needs_a_horizontal_scrollbar(browser: Browser, page: Path, width: int) -> None:
    """Neither the page nor anything on it is wider than the window, with the tables below the charts open."""
    browser.open(page, width)
    browser.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert 0 == browser.js(OVER)
    wider = f"""[...document.querySelectorAll('main *:not(svg *)')].filter((one) => {{
        const box = one.getBoundingClientRect(), inline = getComputedStyle(one).display === 'inline';
        const over = box.right > {width} + 0.5 || (!inline && one.scrollWidth > one.clientWidth + 1);
        return !one.closest('thead') && box.width > 0 && over;
    }}).map((one) => `${{one.tagName}} ${{one.className}} ${{one.textContent.slice(0, 40)}}`)"""
    assert [] == browser.js(wider)


def test_price_and_cost_are_seen_at_once(browser: Browser, page: Path) -> None:
    """On 1440 pixels they are in the first table, for each subject."""
    browser.open(page, 1440)
    head = browser.js("[...document.querySelectorAll('table')[0].rows[0].cells].map((one) => one.textContent)")
    assert ["subject", "instance", "region", *FIRST] == head
    prices = browser.js("""[...document.querySelector('table').querySelectorAll('[data-label=price]')].map((one) =>
        [one.textContent, one.getBoundingClientRect().right < innerWidth])""")
    assert 9 == len(prices)
    assert [["$0.115/h", True], ["$7.09/h", True], ["~$0.218/h", True]] == prices[:3]


def test_a_phone_shows_cards(browser: Browser, page: Path) -> None:
    """Each cell is a line of its own with the name of its column; to a screen reader it is still a table."""
    browser.open(page, 390, 844)
    lines = browser.js("""[...document.querySelectorAll('table')[0].querySelectorAll('tr')[2].cells].map((one) =>
        [getComputedStyle(one, '::before').content, one.getBoundingClientRect().top])""")
    assert [f'"{label}"' for label in ("instance", "region", *FIRST)] == [content for content, _ in lines[1:]]
    assert all(upper < lower for (_, upper), (_, lower) in pairwise(lines))
    browser("Accessibility.enable")
    nodes = browser("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node.get("ignored")]
    assert 2 == roles.count("table")  # those below the charts are folded
    assert {"columnheader", "rowheader", "cell", "row"} <= set(roles)


def test_every_control_is_reached_by_tab_and_works_by_key(browser: Browser, page: Path) -> None:
    """In the order of the page, and visibly; a subject that is switched off leaves the chart."""
    browser.open(page, 1440)
    count = browser.js("document.querySelectorAll('button, summary').length")
    tops: list[float] = []
    for _ in range(count):
        browser.press("Tab")
        top, outline = browser.js("""[document.activeElement.getBoundingClientRect().top + scrollY,
            getComputedStyle(document.activeElement).outlineStyle]""")
        assert "solid" == outline
        tops.append(top)
    assert tops == sorted(tops)
    browser.js("document.querySelector('.legend button').focus()")
    drawn = "document.querySelector('#trade svg').textContent.includes('aws ml.m5.large')"
    assert browser.js(drawn)
    browser.press(" ")
    assert "false" == browser.js("document.activeElement.getAttribute('aria-pressed')")
    assert not browser.js(drawn)


def test_everything_has_a_name(browser: Browser, page: Path) -> None:
    """What a screen reader announces: tables, figures, images and buttons have names; headings skip no level."""
    browser.open(page, 1440)
    browser.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser("Accessibility.enable")
    nodes = [node for node in browser("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    names: dict[str, list[str]] = {}
    for node in nodes:
        names.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in ("table", "figure", "image", "button", "region", "columnheader", "rowheader"):
        assert names[role], role
        assert all(names[role]), role
    assert {"Cost and speed", "Further figures", "Cost at your traffic against latency"} <= set(names["table"])
    levels = browser.js("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert 1 == levels[0]
    assert all(lower - upper <= 1 for upper, lower in pairwise(levels))


CONTRAST = """(() => {
  const part = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const shares = [0.2126, 0.7152, 0.0722];
  const light = (c) => c.reduce((sum, one, at) => sum + shares[at] * part(one / 255), 0);
  const read = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const c = read(getComputedStyle(at).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('main *:not(svg *)')].filter((one) =>
      [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())).map((one) => {
    const [a, b] = [light(read(getComputedStyle(one).color).slice(0, 3)), light(behind(one))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), `${one.tagName} ${one.textContent.slice(0, 30)}`];
  }).filter(([ratio]) => ratio < 4.5);
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: Browser, page: Path, dark: bool) -> None:
    """4.5 : 1 at least, as WCAG 2.2 AA asks for, in the colours of the reader's system."""
    browser.open(page, 1440, dark=dark)
    paper = browser.js("getComputedStyle(document.body).backgroundColor")
    assert ("rgb(23, 23, 27)" if dark else "rgb(255, 255, 255)") == paper
    assert [] == browser.js(CONTRAST)
    labels = browser.js("[...document.querySelectorAll('#curves svg text')].map((one) => one.getAttribute('fill'))")
    assert {"#ececf1" if dark else "#1b1b1f"} == set(labels)


def _light(colour: tuple[float, ...]) -> float:
    r, g, b = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("paper", PAPERS)
def test_lines_have_contrast(paper: str) -> None:
    """3 : 1 at least for what is drawn, on both backgrounds."""
    behind = _light(PAPERS[paper])
    for colour in COLOURS:
        drawn = _light(tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)))
        upper, lower = max(drawn, behind), min(drawn, behind)
        assert (upper + 0.05) / (lower + 0.05) >= 3, colour


def test_paper(browser: Browser, page: Path) -> None:
    """All on white, the main table as a table, every chart in one piece; a few sheets."""
    browser.open(page, 1045, dark=True, medium="print")  # the width of A4 on its side, within its margins
    assert "rgb(255, 255, 255)" == browser.js("getComputedStyle(document.body).backgroundColor")
    assert "table-row" == browser.js("getComputedStyle(document.querySelector('tbody tr')).display")
    assert 0 == browser.js(OVER)
    pdf = base64.b64decode(browser("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 8


@pytest.mark.parametrize("width", [1280, 390])
def test_the_charts_are_drawn(browser: Browser, page: Path, width: int) -> None:
    """As SVG, with the objective, the user's own traffic, and a symbol that differs for each subject."""
    browser.open(page, width)
    drawn = browser.js("[...document.querySelectorAll('.chart svg')].map((one) => one.closest('.chart').id)")
    assert ["trade", "tail", "curves"] == drawn
    assert "objective 100 ms" in browser.js("document.querySelector('#trade svg').textContent")
    assert "your traffic" in browser.js("document.querySelector('#curves svg').textContent")
