"""Price tables and the cheapest instance that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.adapter.prices import PriceRow, cheapest, find_price, read_prices
from sdk.adapter.types import Resources
from sdk.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "platform,region,usage,instance_type,vcpu,memory_gib,gpu,gpu_count,usd_per_hour,source,as_of,status\n"
TABLE = (
    HEAD
    + """cloud,mars,inference,small,2,4,,0,0.10,list,2026-08,quoted
cloud,mars,inference,medium,4,16,,0,0.20,list,2026-08,quoted
cloud,mars,inference,odd,4,16,,0,0.15,derived,2026-07,unverified-derived
cloud,mars,inference,large,16,64,,0,0.80,list,2026-08,quoted
cloud,mars,inference,secret,8,32,,0,,list,2026-08,unknown
cloud,mars,inference,giant,64,512,,0,,list,2026-08,unknown
cloud,mars,inference,gpu,8,32,T4,1,0.70,list,2026-08,quoted
cloud,mars,training,small,2,4,,0,0.12,list,2026-08,quoted
cloud,venus,inference,small,2,4,,0,0.30,list,2026-08,quoted
"""
)


def rows(tmp_path: Path, text: str = TABLE) -> tuple[PriceRow, ...]:
    file = tmp_path / "prices.csv"
    file.write_text(text)
    return read_prices(file)


def test_a_row_tells_price_source_date_and_certainty(tmp_path: Path) -> None:
    """Everything a report needs to be checked later."""
    expected = PriceRow(
        "cloud", "mars", "inference", "odd", 4.0, 16.0, "", 0, 0.15, "derived", "2026-07", "unverified-derived"
    )
    assert (expected, "hour", "USD") == (rows(tmp_path)[2], expected.unit, expected.currency)


def test_an_unknown_price_is_none_never_zero(tmp_path: Path) -> None:
    """Neither an empty cell nor an absent row becomes a number."""
    table = rows(tmp_path)
    secret = find_price(table, "secret", region="mars")
    assert secret
    assert (None, None) == (secret.usd_per_hour, find_price(table, "nothing", region="mars"))


def test_a_price_belongs_to_one_region_and_one_use(tmp_path: Path) -> None:
    """The same type costs something else elsewhere and for training."""
    table = rows(tmp_path)
    found = [
        find_price(table, "small", region="mars"),
        find_price(table, "small", region="mars", usage="training"),
        find_price(table, "small", region="venus"),
    ]
    assert [0.10, 0.12, 0.30] == [row.usd_per_hour for row in found if row]


def test_a_price_in_another_unit_or_currency_is_not_dollars_per_hour(tmp_path: Path) -> None:
    """It is shown, never added up."""
    text = (
        HEAD.replace("status", "status,unit,currency") + "cloud,mars,inference,x,1,1,,0,5,list,2026,quoted,month,EUR\n"
    )
    row = rows(tmp_path, text)[0]
    assert (5.0, None) == (row.price, row.usd_per_hour)


WRONG = {
    "zero": ("cloud,mars,inference,x,2,4,,0,0,list,2026,quoted", r"prices\.csv:2: usd_per_hour = 0 is not above 0"),
    "negative": ("cloud,mars,inference,x,2,4,,0,-1,list,2026,quoted", "usd_per_hour = -1 is not above 0; leave an"),
    "text": ("cloud,mars,inference,x,two,4,,0,1,list,2026,quoted", r"prices\.csv:2: vcpu = 'two' is not a number"),
    "short": ("cloud,mars,inference,x,2", r"prices\.csv:2: memory_gib is missing"),
    "double": ("cloud,mars,inference,x,2,4,,0,1,list,2026,quoted\n" * 2, "two prices for cloud mars inference x hour"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_is_refused_naming_the_line(tmp_path: Path, case: str) -> None:
    """A price nobody can have meant is not taken silently."""
    text, expected = WRONG[case]
    with pytest.raises(ConfigError, match=expected):
        rows(tmp_path, HEAD + text + "\n")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """An older table is not misread."""
    with pytest.raises(ConfigError, match="the column 'as_of' is missing"):
        rows(tmp_path, HEAD.replace("as_of,", ""))


CHOICES = {
    "processors": (Resources(cpu=3), "odd"),
    "memory": (Resources(memory_gib=16), "odd"),
    "both": (Resources(cpu=1, memory_gib=20), "gpu"),
    "little": (Resources(cpu=0.5), "small"),
    "gpu": (Resources(gpu=1), "gpu"),
    "dearest": (Resources(cpu=16), "large"),
    "unknown price only": (Resources(cpu=32), "giant"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_cheapest_that_fits_is_chosen(tmp_path: Path, case: str) -> None:
    """By price, not by size; an unknown price only when nothing else fits."""
    resources, expected = CHOICES[case]
    assert expected == cheapest(rows(tmp_path), resources, region="mars").instance


def test_the_choice_has_a_reason(tmp_path: Path) -> None:
    """It names the price, its certainty and date, the next best, and what could not be compared."""
    reason = cheapest(rows(tmp_path), Resources(cpu=4, memory_gib=16), region="mars").reason
    assert reason == (
        "odd (4 vCPU, 16 GiB, $0.15/h) is the cheapest of 4 inference instances in mars with 4 vCPU and 16 GiB"
        " (unverified-derived price, seen 2026-07); next is medium (4 vCPU, 16 GiB, $0.2/h); 2 more have no known price"
    )


def test_a_choice_without_any_price_says_so(tmp_path: Path) -> None:
    """Unknown is said, not hidden."""
    reason = cheapest(rows(tmp_path), Resources(cpu=32), region="mars").reason
    assert "giant is the smallest of 1 inference instances in mars with 32 vCPU; no price is known" == reason


def test_when_nothing_fits_the_nearest_are_named(tmp_path: Path) -> None:
    """With size and price, so that one can choose."""
    expected = (
        r"no inference instance in mars has 60 vCPU and 4 GPU; the nearest are: giant \(64 vCPU, 512 GiB, price unk"
    )
    with pytest.raises(ConfigError, match=expected):
        cheapest(rows(tmp_path), Resources(cpu=60, gpu=4), region="mars")


def test_an_unknown_region_gets_a_did_you_mean(tmp_path: Path) -> None:
    """No price is made up for it."""
    with pytest.raises(ConfigError, match="no price is known for inference in region 'marz'; did you mean 'mars'"):
        cheapest(rows(tmp_path), Resources(cpu=1), region="marz")


def test_asking_for_nothing_is_an_error(tmp_path: Path) -> None:
    """The cheapest of all is hardly what was meant."""
    with pytest.raises(ConfigError, match="resources asks for nothing; give cpu, memory_gib or gpu"):
        cheapest(rows(tmp_path), Resources(), region="mars")


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 9))), min_size=1),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_nothing_cheaper_fits(sizes: list[tuple[int, int, int | None]], cpu: int, memory: int) -> None:
    """Whatever the table, the choice fits and no fitting row with a price is below it."""
    table = [
        PriceRow("c", "r", "inference", f"i{n}", v, m, "", 0, p, "s", "2026", "q") for n, (v, m, p) in enumerate(sizes)
    ]
    fitting = [row for row in table if row.vcpu >= cpu and row.memory_gib >= memory]
    try:
        chosen = cheapest(table, Resources(cpu, memory), region="r").row
    except ConfigError:
        assert [] == fitting
        return
    prices = [row.price for row in fitting if row.price is not None]
    assert (True, min(prices) if prices else None) == (chosen in fitting, chosen.price)
