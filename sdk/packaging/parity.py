"""Compare another engine with the live object: it must give the same answers, or the error reports the differences.

The comparison covers the rows of the example and many more drawn from its columns. Numbers may differ by what single
precision costs. A label may differ only on a row whose two best classes have the same probability within that
tolerance: votes of a forest tie exactly, and the engines break ties differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdk.errors import PackagingError
from sdk.packaging import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RELATIVE, ABSOLUTE = 1e-4, 1e-5
_DRAWN = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of comparing two answers to the same rows.

    Args:
        rows: The number of rows compared.
        wrong: The number of rows that differ by more than is allowed.
        ties: The number of rows whose labels differ, but whose two best classes are equally probable.
        largest: The largest difference of a number.
        first: The answers for the first wrong row: the object's, the engine's.
    """

    rows: int
    wrong: int
    ties: int
    largest: float
    first: tuple[Any, Any] | None


def rows_like(data: Any, *, rows: int = _DRAWN) -> Any:
    """Draw more rows like an example's: values come from the same column, and numbers also from its range.

    Args:
        data: An array of rows, or a table; if it has missing numbers, so do the drawn rows.
        rows: The number of rows to draw.
    """
    import numpy as np

    random = np.random.default_rng(0)
    if examples.is_frame(data):
        drawn = type(data)({name: _drawn(data[name].to_numpy(), rows, random) for name in data.columns})
        return drawn.astype(data.dtypes.to_dict())  # categories are drawn as the values that they represent
    flat = data.reshape(len(data), -1)
    columns = [_drawn(flat[:, number], rows, random) for number in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(rows, *data.shape[1:]).astype(data.dtype)


def _drawn(column: Any, rows: int, random: Any) -> Any:
    import numpy as np

    picked = random.choice(column, rows)
    known = column[~np.isnan(column)] if column.dtype.kind == "f" else column[:0]
    if not known.size:
        return picked
    between = (random.random(rows) < 0.5) & ~np.isnan(picked)
    picked[between] = random.uniform(known.min(), known.max(), int(between.sum()))
    return picked


def check(
    obj: Any,
    method: str,
    batches: Sequence[Any],
    engine: Callable[[Any], Any],
) -> None:
    """Compare an object with an engine on several batches of rows.

    Args:
        obj: The live estimator.
        method: The method of the object to compare.
        batches: Rows in the form that the object takes.
        engine: Returns the engine's answer to a batch.

    Raises:
        PackagingError: The answers differ; the message has the number of rows, the largest difference and the limits.
    """
    for data in batches:
        expected, found = examples.as_array(getattr(obj, method)(data)), engine(data)
        certain = _certain(obj, data) if method == "predict" and hasattr(obj, "predict_proba") else None
        verdict = compare(expected, found, certain)
        if verdict.wrong:
            raise PackagingError(
                f"engine: the ONNX model differs from {type(obj).__name__} on {verdict.wrong} of {verdict.rows} rows, "
                f"by up to {verdict.largest:.3g} (allowed: {RELATIVE:g} of the value and {ABSOLUTE:g}); first it "
                f"answers {_short(verdict.first, 1)} for {_short(verdict.first, 0)}",
                operation="convert",
                hint="leave engine= out; the estimator itself is served then",
            )


def _certain(obj: Any, data: Any) -> Any:
    """Check for each row whether one class is clearly the most probable."""
    import numpy as np

    best = np.sort(obj.predict_proba(data), axis=1)
    return best[:, -1] - best[:, -2] > 2 * RELATIVE if best.shape[1] > 1 else np.ones(len(best), dtype=bool)


def compare(expected: Any, found: Any, certain: Any = None) -> Verdict:
    """Compare two answers to the same rows, row by row.

    Args:
        expected: The object's answer, an array.
        found: The engine's answer; an additional or missing axis of length 1 does not matter.
        certain: For each row, whether its label must be the same; all rows if omitted.

    Example:
        >>> import numpy as np
        >>> compare(np.array([1.0, 2.0]), np.array([[1.00001], [2.5]])).wrong
        1
    """
    import numpy as np

    rows = len(expected)
    if len(found) != rows or found.size != expected.size:
        return Verdict(rows, rows, 0, float("inf"), (expected[:1].tolist(), found[:1].tolist()))
    found = found.reshape(expected.shape)
    if expected.dtype.kind == "f":
        apart = np.nan_to_num(np.abs(expected - found))
        bad = ~np.isclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        largest = float(apart.max(initial=0.0))
    else:
        bad, largest = found.astype(expected.dtype) != expected, 0.0
    wrong = bad.reshape(rows, -1).any(axis=1)
    tied = wrong & ~certain if certain is not None else np.zeros(rows, dtype=bool)
    wrong &= ~tied
    first = int(np.argmax(wrong)) if wrong.any() else None
    shown = None if first is None else (expected[first : first + 1].tolist()[0], found[first : first + 1].tolist()[0])
    return Verdict(rows, int(wrong.sum()), int(tied.sum()), largest, shown)


def _short(pair: tuple[Any, Any] | None, number: int) -> str:
    return str(pair[number] if pair else None)[:80]
