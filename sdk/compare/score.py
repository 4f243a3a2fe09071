"""The score of the answers against labels, since a fast and cheap target must also answer correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from .result import Automation, Score

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDED = 1e-3  # by which the sum of probabilities may differ from 1


def score(answers: Sequence[Any], labels: Sequence[Any]) -> Score:
    """Return the accuracy if the labels are classes, the coefficient of determination (r2) if they are measurements.

    Classes are strings, booleans and whole numbers. An answer that is a list of probabilities or scores counts as the
    index of its largest entry.

    Raises:
        ConfigError: The numbers of labels and answers differ, or an answer is not a number where a label is.

    Example:
        >>> score([1, 0, 1, 1], [1, 0, 0, 1]).value
        0.75
    """
    if len(answers) != len(labels) or not labels:
        raise ConfigError(f"{len(labels)} labels for {len(answers)} answers", hint="give one label per row")
    if any(isinstance(label, float) and not label.is_integer() for label in labels):
        return Score("r2", _r2([_number(one) for one in answers], [float(one) for one in labels]), len(labels))
    right = sum(_same(answer, label) for answer, label in zip(answers, labels, strict=True))
    return Score("accuracy", right / len(labels), len(labels))


def automation(answers: Sequence[Any], labels: Sequence[Any] | None, confidence: float) -> Automation | None:
    """Return the share of the answers whose highest probability is at least ``confidence``.

    Answers that are not probabilities (numbers from 0 to 1 with the sum 1) have no confidence: the result is ``None``.

    Raises:
        ConfigError: The numbers of labels and answers differ.

    Example:
        >>> automation([[0.95, 0.05], [0.6, 0.4]], [0, 1], 0.9)
        Automation(confidence=0.9, share=0.5, count=2, right=1.0)
    """
    if not answers or not all(_probabilities(one) for one in answers):
        return None
    sure = [place for place, one in enumerate(answers) if max(one) >= confidence]
    right = None
    if labels is not None and sure:
        if len(labels) != len(answers):
            raise ConfigError(f"{len(labels)} labels for {len(answers)} answers", hint="give one label per row")
        right = sum(_same(answers[place], labels[place]) for place in sure) / len(sure)
    return Automation(confidence, len(sure) / len(answers), len(answers), right)


def _probabilities(answer: Any) -> bool:
    """Return whether an answer is a list of two or more probabilities."""
    if not _listed(answer) or len(answer) < 2 or not all(isinstance(one, int | float) for one in answer):
        return False
    return all(0 <= one <= 1 for one in answer) and abs(sum(answer) - 1) <= _ROUNDED


def _same(answer: Any, label: Any) -> bool:
    if _listed(answer) and not _listed(label):
        entries: Any = answer
        answer = entries[0] if len(entries) == 1 else max(range(len(entries)), key=entries.__getitem__)
    return bool(answer == label) or str(answer) == str(label)


def _listed(value: Any) -> bool:
    return isinstance(value, list) and len(cast("Sequence[Any]", value)) > 0


def _number(answer: Any) -> float:
    value = answer[0] if _listed(answer) else answer
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the answer {str(value)[:40]!r} is no number, but the labels are") from error


def _r2(answers: Sequence[float], labels: Sequence[float]) -> float:
    middle = sum(labels) / len(labels)
    spread = sum((label - middle) ** 2 for label in labels)
    left = sum((label - answer) ** 2 for answer, label in zip(answers, labels, strict=True))
    return 1.0 - left / spread if spread else float(left == 0)
