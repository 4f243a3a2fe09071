"""Conditions are parsed, never run; a gate does not open because something is unknown."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.compare.baseline import all_changes, incomparable, supported
from sdk.compare.gate import Condition
from sdk.compare.stats import Estimate
from sdk.compare.traffic import Traffic
from sdk.errors import ConfigError, GateFailed
from tests.compare.rows import comparison, estimates, row


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p95_ms > 100", True),
        ("p95_ms > 120", False),
        ("p95_ms >= 120 and usd_per_1k < 1", True),
        ("p95_ms < 100 or usd_per_1k > 0.02", False),
        ("not p95_ms < 100", True),
        ("100 < p95_ms <= 120", True),
        ("p95_ms != 120 or (p95_ms == 120 and not usd_per_1k > -1)", False),
        ("p99_ms > 1e9", True),  # unknown
        ("p99_ms < 0", True),
    ],
)
def test_holds(text: str, holds: bool) -> None:
    """By value; p99_ms is unknown."""
    assert holds == Condition(text).holds({"p95_ms": 120.0, "usd_per_1k": 0.01, "p99_ms": None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p95_ms", "is no comparison"),
        ("p95 > 100", "did you mean 'p95_ms'"),
        ("p95_ms > limit()", "neither a number nor a field"),
        ("__import__('os').system('true') > 0", "neither a number nor a field"),
        ("p95_ms > 'a'", "neither a number nor a field"),
        ("p95_ms > True", "neither a number nor a field"),
        ("p95_ms + 1 > 2", "neither a number nor a field"),
        ("p95_ms in (1, 2)", "is no comparison"),
        ("(lambda: 1)() > 0", "neither a number nor a field"),
        ("p95_ms >", "cannot be read"),
        ("", "cannot be read"),
        ("p95_ms > 1 " + "or p95_ms > 1 " * 200, "characters"),
    ],
)
def test_everything_else_is_refused(text: str, message: str) -> None:
    """With the part that is wrong."""
    with pytest.raises(ConfigError, match=message):
        Condition(text)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse(text: str) -> None:
    """Any text is a condition with a truth, or a ConfigError."""
    with contextlib.suppress(ConfigError):
        condition = Condition(text)
        assert condition.holds(dict.fromkeys(condition.names, 1.0)) in {True, False}


def test_check_names_the_rows() -> None:
    """Any row that fails closes the gate: exit code 7."""
    found = comparison(row("a"), row("b", p95=150.0), traffic=Traffic.of(1e6))
    found.check("p95_ms > 200 or usd_per_1k > 1")
    with pytest.raises(GateFailed, match=r"holds for b \(p95_ms = 150\)") as caught:
        found.check("p95_ms > 100")
    assert 7 == caught.value.exit_code
    with pytest.raises(GateFailed, match=r"c \(no quota\)"):
        comparison(row("a"), row("c", failed="no quota")).check("p95_ms > 200")
    with pytest.raises(GateFailed, match="score = unknown"):
        found.check("score < 0.9")


def test_changes_need_a_baseline() -> None:
    """There is nothing to compare with."""
    with pytest.raises(ConfigError, match="asks for a change"):
        comparison(row("a")).check("p95_change_ms > 0")


def test_only_supported_changes_are_told() -> None:
    """60 +- 1 against 50 +- 1 is slower; 51 +- 1 is not."""
    old = comparison(row("a", p95=50.0), row("b", p95=50.0), row("c", usd=0.2), traffic=Traffic.of(1e6))
    new = comparison(row("a", p95=60.0), row("b", p95=51.0), row("c", usd=0.23), row("new"), traffic=Traffic.of(1e6))
    told = [change.text for change in all_changes(new, old)]
    assert ["a: p50 is 5 ms slower", "a: p95 is 10 ms slower", "c: $0.168 per 1,000 instead of $0.146"] == told
    new.check("p95_change_ms > 15", old)
    with pytest.raises(GateFailed, match=r"a \(p95_change_ms = 10\)"):
        new.check("p95_change_ms > 5", old)


def test_an_invalid_row_opens_no_gate() -> None:
    """What it measured is unknown, whichever field is asked for; neither is it a baseline for others."""
    late = row("a", p95=2.0, usd=0.01, invalid=("the generator was late",))
    found, old = comparison(late, traffic=Traffic.of(1e6)), comparison(row("a"), traffic=Traffic.of(1e6))
    for condition in ("p95_ms > 200", "usd_per_1k > 1", "error_share > 0.5", "p95_change_ms > 5"):
        with pytest.raises(GateFailed, match="= unknown"):
            found.check(condition, old)
    assert [] == all_changes(old, found)
    with pytest.raises(GateFailed, match="p95_change_ms = unknown"):
        old.check("p95_change_ms > 5", found)


def test_a_mini_cloud_is_no_baseline_for_the_platform() -> None:
    """In neither direction; two mini clouds, or results that do not say, are compared as always."""
    real, mini = row("a", p95=90.0, official=True), row("a", official=False, host="127.0.0.1:5001")
    for old, new in ((comparison(mini), comparison(real)), (comparison(real), comparison(mini))):
        assert [] == all_changes(new, old)
        assert "is of a mini cloud" in incomparable(new.rows[0], old)
        with pytest.raises(GateFailed, match="p95_change_ms = unknown"):
            new.check("p95_change_ms > 5", old)
    comparison(mini).check("p95_change_ms > 5", comparison(mini))
    comparison(real).check("p95_change_ms > 50", comparison(row("a")))


def test_indicative_figures_support_nothing() -> None:
    """Intervals that do not rest on runs are not enough, nor are missing ones."""
    runs = estimates(50.0)["p95"]
    assert supported(runs, Estimate(90.0, 89.0, 91.0, "independent")) is None
    assert supported(None, runs) is None
    assert supported(Estimate(None), runs) is None
    assert 40.0 == supported(runs, estimates(90.0)["p95"])
