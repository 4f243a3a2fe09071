"""Durations as people write them, and did-you-mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import ConfigError
from sdk.util.durations import format_duration, parse_duration
from sdk.util.suggest import did_you_mean


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("30m", 1800.0), ("1h30m", 5400.0), ("7d", 604800.0), ("1.5h", 5400.0), ("250ms", 0.25), (3, 3.0)],
)
def test_units_are_read(text: str | float, seconds: float) -> None:
    """Days, hours, minutes, seconds and milliseconds add up to seconds."""
    assert seconds == parse_duration(text)


BAD = ["", "30", "m", "30 m", "-5m", "0s", 0, -1, float("nan"), float("inf"), True, "5m1h", "1e3s", "30m\n30m", "٣m"]


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_anything_else_is_refused_naming_the_field_and_the_fix(text: str | float) -> None:
    """No unit, a wrong order, zero and negative durations are errors."""
    with pytest.raises(ConfigError, match=r"target\.aws\.ttl = .* is not a duration; write it like 90s"):
        parse_duration(text, field="target.aws.ttl")


@given(st.integers(min_value=1, max_value=10**12))
def test_what_is_written_can_be_read_back(milliseconds: int) -> None:
    """Formatting and parsing are inverse."""
    assert milliseconds == round(parse_duration(format_duration(milliseconds / 1000)) * 1000)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("regoin", "did you mean 'region'?"),
        ("ROLE", "did you mean 'role'?"),
        ("quite-different", "known are: region, role"),
    ],
)
def test_the_closest_known_word_is_suggested(word: str, hint: str) -> None:
    """A slip of the keyboard gets one word, anything else the list."""
    assert hint == did_you_mean(word, ["role", "region"])


def test_nothing_is_suggested_where_nothing_is_known() -> None:
    """An empty list is said to be empty."""
    assert "none is known here" == did_you_mean("x", [])
