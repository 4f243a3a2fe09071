"""The one rule for names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import InvalidNameError
from sdk.util.names import check_name, suggest_name

RULE = re.compile(r"^[a-z]([a-z0-9]|-(?=[a-z0-9])){2,22}$")


@pytest.mark.parametrize("name", ["abc", "a-b", "churn-2", "a1b", "a" * 23, "a-b-c-d-e-f-g-h-i-j-k-l"])
def test_a_name_that_every_platform_takes_is_given_back(name: str) -> None:
    """Valid names pass unchanged."""
    assert name == check_name(name)


BAD = [
    "",
    "a",
    "ab",
    "a" * 24,
    "1ab",
    "-ab",
    "ab-",
    "a--b",
    "Abc",
    "a_b",
    "a.b",
    "a b",
    "abc\n",
    "\nabc",
    "é12",
    "\u043012",
]


@pytest.mark.parametrize("name", BAD)
def test_any_other_name_is_refused_with_the_rule_and_one_that_would_do(name: str) -> None:
    """The error names the rule and proposes a name, which is itself valid."""
    with pytest.raises(InvalidNameError, match="3 to 23 characters") as caught:
        check_name(name)
    proposal = re.search(r"use '([^']*)'", str(caught.value))
    assert proposal
    assert proposal[1] == check_name(proposal[1])


def test_the_message_says_what_the_name_is_of() -> None:
    """A job's name is not called an endpoint's."""
    with pytest.raises(InvalidNameError, match="job name 'X'"):
        check_name("X", what="job")


def test_a_trailing_line_feed_is_not_overlooked() -> None:
    """`$` would accept it; the rule is matched against the whole text."""
    with pytest.raises(InvalidNameError):
        check_name("churn\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Über Model!", "uber-model"),
        ("churn_v2", "churn-v2"),
        ("2fast", "model-2fast"),
        ("x", "x-model"),
        ("", "model"),
    ],
)
def test_a_suggestion_stays_close_to_the_text(text: str, expected: str) -> None:
    """Letters and digits are kept where they can be."""
    assert expected == suggest_name(text)


@given(st.text())
def test_every_suggestion_is_valid(text: str) -> None:
    """Whatever was written, the proposed name passes."""
    assert RULE.match(suggest_name(text))
    assert suggest_name(text) == check_name(suggest_name(text))


@given(st.from_regex(r"[a-z0-9-]{1,25}", fullmatch=True))
def test_the_check_is_exactly_the_published_rule(text: str) -> None:
    """No name passes that the rule refuses, and the other way round."""
    try:
        passed = bool(check_name(text))
    except InvalidNameError:
        passed = False
    assert bool(RULE.match(text)) == passed
