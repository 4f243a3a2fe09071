"""Alarm rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.config import Rule, parse_rule
from sdk.config.rules import METRICS
from sdk.errors import ConfigError, UnknownKeyError


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("p95_ms > 100 for 5m", Rule("p95_ms", ">", 100.0, 300.0)),
        ("error_rate>=0.01", Rule("error_rate", ">=", 0.01)),
        ("error_rate > 1%", Rule("error_rate", ">", 0.01)),
        ("client_error_rate > 20%", Rule("client_error_rate", ">", 0.2)),
        ("  rate < 1.5  for  1h30m ", Rule("rate", "<", 1.5, 5400.0)),
    ],
)
def test_a_rule_is_read(text: str, rule: Rule) -> None:
    """Metric, comparison, threshold, and how long it must last."""
    assert rule == parse_rule(text)


@pytest.mark.parametrize(
    "text",
    ["", "p95_ms", "p95_ms = 1", "p95_ms > x", "p95_ms > -1", "p95_ms > 1 for", "p95_ms > 1 for ever", "rate>5%"],
)
def test_anything_else_is_refused_naming_the_setting_and_showing_the_form(text: str) -> None:
    """The message says where it stands and how to write it."""
    with pytest.raises(ConfigError, match=r"^monitor\.alarms = .*; write (it|the number) "):
        parse_rule(text, field="monitor.alarms")


def test_an_unknown_metric_is_an_error_with_a_did_you_mean() -> None:
    """A slip would otherwise be an alarm that never rings."""
    with pytest.raises(UnknownKeyError, match="unknown metric 'p95'; did you mean 'p95_ms'"):
        parse_rule("p95 > 100")


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [("rate < 1", 0.5, True), ("rate < 1", 1.0, False), ("rate <= 1", 1.0, True), ("rate > 1", None, False)],
)
def test_a_rule_judges_a_value(text: str, value: float | None, holds: bool) -> None:
    """An unknown value never rings."""
    assert holds is parse_rule(text).holds(value)


@given(
    st.sampled_from(sorted(METRICS)), st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 999), st.integers(0, 9)
)
def test_a_rule_can_be_read_back(metric: str, compare: str, threshold: int, minutes: int) -> None:
    """Text and value are inverse."""
    rule = Rule(metric, compare, float(threshold), minutes * 60.0)
    assert rule == parse_rule(str(rule))
