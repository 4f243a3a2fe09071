"""What decides beside latency and price: accuracy, effort, running cost, automation. What is unknown is absent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sdk.compare.gate import Condition, values_of
from sdk.compare.measured import rate_of
from sdk.compare.report.columns import scorecard
from sdk.compare.result import Automation, Effort, Score
from sdk.compare.score import automation
from sdk.errors import ConfigError
from tests.compare.rows import comparison, row
from tests.compare.test_judge import _window

SURE, UNSURE = [0.02, 0.97, 0.01], [0.5, 0.3, 0.2]


@pytest.mark.parametrize(
    ("answers", "labels", "expected"),
    [
        ([SURE, UNSURE, SURE, UNSURE], None, Automation(0.9, 0.5, 4)),
        ([SURE, UNSURE, SURE, UNSURE], [1, 0, 2, 0], Automation(0.9, 0.5, 4, right=0.5)),
        ([[0.9, 0.1]], [0], Automation(0.9, 1.0, 1, right=1.0)),  # the threshold itself is enough
        ([UNSURE], [0], Automation(0.9, 0.0, 1)),  # no answer reaches it: nothing is known of their accuracy
    ],
)
def test_automation(answers: list[Any], labels: list[Any] | None, expected: Automation) -> None:
    """The share of rows that reach the confidence, and how many of these are right."""
    assert expected == automation(answers, labels, 0.9)


@pytest.mark.parametrize("answers", [[], [1, 0], [[1.0]], [[2.0, -1.0]], [["a", "b"]], [[0.5, 0.2]], [SURE, 1], [{}]])
def test_what_is_no_probability_has_no_confidence(answers: list[Any]) -> None:
    """Classes, scores, texts, a single number: nothing is invented."""
    assert automation(answers, None, 0.5) is None


def test_labels_that_do_not_fit() -> None:
    """They are refused, not cut."""
    with pytest.raises(ConfigError, match="1 labels for 2 answers"):
        automation([SURE, SURE], [1], 0.9)


def _scored() -> Any:
    full = row(
        "full", score=Score("accuracy", 0.96, 50), effort=Effort(4, 61.5), automation=Automation(0.9, 0.8, 50, 0.99)
    )
    return comparison(full, row("bare"))


def test_all_forms_show_it() -> None:
    """Terminal, Markdown, page and JSON; a row without a figure has a dash."""
    found = _scored()
    for text in (str(found), found.to_markdown(), found.to_html()):
        assert "4 steps, 61.5 s" in text
        assert "80.0% at 0.9, 99.0% of them right (n=50)" in text
        assert "0.96 accuracy (n=50)" in text
    assert ["subject", "accuracy", "effort", "running cost", "automation"] == [one.label for one in scorecard(found)]
    assert '<h2 id="scorecard">' in found.to_html()
    kept = json.loads(found.to_json())["rows"]
    assert {"steps": 4, "wait_s": 61.5} == kept[0]["effort"]
    assert (None, None) == (kept[1]["effort"], kept[1]["automation"])


def test_what_nobody_measured_has_no_place() -> None:
    """No column, no section, no field that pretends."""
    bare = comparison(row("bare"))
    assert ["subject", "running cost"] == [one.label for one in scorecard(bare)]
    assert '<h2 id="scorecard">' not in bare.to_html()
    for word in ("effort", "automated"):
        assert word not in str(bare)


def test_a_gate_may_ask_for_it() -> None:
    """An unknown share does not pass."""
    full, bare = _scored().rows
    assert not Condition("automation < 0.7 or deploy_steps > 9").holds(values_of(full, None))
    assert Condition("automation < 0.7").holds(values_of(bare, None))


def test_failed_requests_count_in_no_rate() -> None:
    """100 requests in 10 seconds, half of them refused: five a second."""
    statuses = bytes(bytearray().join((code).to_bytes(2, "little") for code in [200, 503] * 50))
    assert 10.0 == pytest.approx(rate_of(_window()))
    assert 5.0 == pytest.approx(rate_of(_window(status=statuses)))
