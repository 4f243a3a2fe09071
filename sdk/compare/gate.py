"""Conditions on a comparison, for CI: parsed into a tree of a few allowed constructs, and never executed as code."""

from __future__ import annotations

import ast
import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError, GateFailed
from ..util.suggest import did_you_mean
from .baseline import changes, incomparable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .result import Row
    from .results import Results

_FIELDS: dict[str, Callable[[Row], float | None]] = {
    "p50_ms": lambda row: row.ms("p50"),
    "p90_ms": lambda row: row.ms("p90"),
    "p95_ms": lambda row: row.ms("p95"),
    "p99_ms": lambda row: row.ms("p99"),
    "first_ms": lambda row: row.first_ms,
    "deploy_s": lambda row: row.deploy_s,
    "rate": lambda row: None if row.highest is None else row.highest.rate,
    "error_share": lambda row: row.error_share if row.requests else None,
    "usd_per_1k": lambda row: row.cost.usd_per_1k,
    "usd_per_1k_full": lambda row: row.cost.usd_per_1k_full,
    "usd_per_month": lambda row: row.cost.usd_per_month,
    "score": lambda row: None if row.score is None else row.score.value,
    "automation": lambda row: None if row.automation is None else row.automation.share,
    "deploy_steps": lambda row: None if row.effort is None else row.effort.steps,
}
_CHANGES = ("p50_change_ms", "p95_change_ms", "usd_per_1k_change")
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LONGEST = 1_000


class Condition:
    """A condition such as ``p95_ms > 100 or usd_per_1k > 0.02``.

    It may contain numbers, names, comparisons, ``and``, ``or``, ``not`` and brackets only. A comparison with an
    unknown value holds, so that a gate does not pass because something could not be measured.

    Args:
        text: The condition.

    Raises:
        ConfigError: The text is not a condition; the error names the wrong part.

    Example:
        >>> Condition("p95_ms > 100").holds({"p95_ms": 120.0})
        True
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > _LONGEST:
            raise ConfigError(f"--fail-if has {len(text)} characters, {_LONGEST} are allowed")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise _wrong(text, "it cannot be read") from error
        self._check(self._tree)

    def holds(self, values: Mapping[str, float | None]) -> bool:
        """Return whether the condition holds for these values."""
        return self._truth(self._tree, values)

    @property
    def names(self) -> set[str]:
        """The names of the fields in the condition."""
        return {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self._check(part)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                self._check(part)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
                for part in (left, *others):
                    self._check_value(part)
            case _:
                raise _wrong(self.text, f"{ast.unparse(node)!r} is no comparison")

    def _check_value(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return None
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
                return self._check_value(node.operand)
            case ast.Name(id=name) if name in _FIELDS or name in _CHANGES:
                return None
            case ast.Name(id=name):
                raise _wrong(self.text, f"{name!r} is unknown", did_you_mean(name, [*_FIELDS, *_CHANGES]))
            case _:
                raise _wrong(self.text, f"{ast.unparse(node)!r} is neither a number nor a field")

    def _truth(self, node: ast.expr, values: Mapping[str, float | None]) -> bool:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(self._truth(part, values) for part in parts)
            case ast.BoolOp(values=parts):
                return any(self._truth(part, values) for part in parts)
            case ast.UnaryOp(operand=part):
                return not self._truth(part, values)
            case ast.Compare(left=left, ops=ops, comparators=others):
                numbers = [_number(part, values) for part in (left, *others)]
                return all(
                    one is None or other is None or _COMPARE[type(op)](one, other)
                    for one, op, other in zip(numbers, ops, numbers[1:], strict=False)
                )
            case _:
                raise AssertionError(ast.dump(node))


def _number(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() as number)):
            return -float(number)
        case ast.Name(id=name):
            return values[name]
        case _:
            raise AssertionError(ast.dump(node))


def _wrong(text: str, why: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"{text[:80]!r} is no condition: {why}", hint=hint or "write it like: p95_ms > 100 or usd_per_1k > 0.02"
    )


def values_of(row: Row, baseline: Results | None) -> dict[str, float | None]:
    """Return the fields of a row: all unknown if it is invalid; a change that the statistics do not support is 0."""
    if row.invalid:
        return dict.fromkeys((*_FIELDS, *_CHANGES))
    values: dict[str, float | None] = {name: read(row) for name, read in _FIELDS.items()}
    if baseline is not None and incomparable(row, baseline):
        return {**values, **dict.fromkeys(_CHANGES)}
    found = {change.name: change.by for change in changes(row, baseline)} if baseline else {}
    return {**values, **{name: found.get(name, 0.0) for name in _CHANGES}}


@dataclass(frozen=True, slots=True)
class Judged:
    """One row under a condition: why it has no figures, or whether the condition holds, and with which values."""

    key: str
    values: str
    holds: bool
    failed: str = ""

    @property
    def passed(self) -> bool:
        """Whether the row has figures and the condition does not hold for it."""
        return not (self.failed or self.holds)


def judge(found: Results, text: str | None, baseline: Results | None = None) -> list[Judged]:
    """Return the result of each row under a condition; without a condition, only failed subjects do not pass.

    Raises:
        ConfigError: The text is not a condition, or it uses changes without a baseline.
    """
    if text is None:
        return [Judged(row.key, "", holds=False, failed=row.failed) for row in found.rows]
    condition = Condition(text)
    if condition.names & set(_CHANGES) and baseline is None:
        raise ConfigError(f"{text!r} asks for a change", hint="give a baseline to compare with")
    judged: list[Judged] = []
    for row in found.rows:
        values = values_of(row, baseline)
        shown = ", ".join(f"{name} = {_shown(values[name])}" for name in sorted(condition.names))
        judged.append(Judged(row.key, shown, condition.holds(values), row.failed))
    return judged


def check(found: Results, text: str, baseline: Results | None = None) -> None:
    """Raise an error when a condition holds for any row.

    Raises:
        GateFailed: The condition holds, or a subject failed; the error names the rows and their values.
        ConfigError: The text is not a condition, or it uses changes without a baseline.
    """
    failed = [f"{one.key} ({one.failed or one.values})" for one in judge(found, text, baseline) if not one.passed]
    if failed:
        raise GateFailed(f"{text} holds for {'; '.join(failed)}", operation="compare")


def _shown(value: float | None) -> str:
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.4g}"
