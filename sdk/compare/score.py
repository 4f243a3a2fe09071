"""The score of the answers against labels, since a fast and cheap target must also answer correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from .result import Score

if TYPE_CHECKING:
    from collections.abc import Sequence


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
