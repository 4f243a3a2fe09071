"""Find out, by calling a model, which missing values it accepts.

What an estimator declares is not enough: pipelines and meta-estimators speak for one of their parts, and unknown
libraries declare nothing. So the model is called with copies of an example row, each with a missing value in another
column. It accepts those that it answers. An answer that itself has missing values does not count, unless the library
declares that the model accepts missing values.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sdk.errors import PackagingError
from sdk.packaging import columns, examples
from sdk.packaging.plain import PlainArray
from sdk.packaging.usercode import running
from sdk.util import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdk.packaging.manifest import Tensor

MOST_ROWS = 16
MOST_CALLS = 24
FEW_CALLS = 8
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A model and the way to call it.

    Args:
        predict: Returns the model's answer to an argument.
        example: The prepared example.
        answer: The model's answer to the example.
        lenient: Whether an answer may have missing values too, as the library declares that the model accepts them.
        calls: The most calls; functions and classes, whose calls may have side effects, get fewer than estimators.
        clock: Returns seconds; calls to a slow model stop soon after ``SECONDS``.
    """

    predict: Callable[[Any], Any]
    example: Any
    answer: Any
    lenient: bool = False
    calls: int = MOST_CALLS
    clock: Callable[[], float] = time.monotonic

    def takes(self, inputs: Sequence[Tensor]) -> frozenset[str]:
        """Return the names of the inputs in which the model accepts missing values.

        The model is first called with all of them missing, which is usually the only call. If that fails, it is called
        for those of each type, and then for halves of those that failed.
        """
        shown = _shown_missing(self.example)
        known = shown | examples.whole_in(self.example)  # whole inputs are not tried: no row has its own value
        wanted = [one for one in inputs if one.name not in known and may_be_missing(one)]
        if not wanted or not _can_be_asked(self.example):
            return shown
        found, end = set(shown), self.clock() + SECONDS
        waiting = [wanted]
        for _ in range(self.calls):
            if not waiting:
                break
            group = waiting.pop(0)
            if self._answers(group):
                found |= {one.name for one in group}
            elif self.clock() > end:
                break
            else:
                waiting += _parts(group)
        return frozenset(found)

    def _answers(self, group: Sequence[Tensor]) -> bool:
        data = examples.argument(_with_gaps(self.example, group))
        try:
            with warnings.catch_warnings(), running("the model takes no missing values", operation="predict"):
                warnings.simplefilter("ignore")
                answer = self.predict(data)
                return self.lenient or not _has_gap(answer) or _has_gap(self.answer)
        except PackagingError:
            return False


def _shown_missing(example: Any) -> frozenset[str]:
    """Return the inputs in which the example itself has missing values, which the model has answered."""
    if examples.is_frame(example):
        return frozenset(str(name) for name in example.columns if example[name].isna().any())
    named = examples.arrays(example)
    return frozenset(name for name, value in named.items() if examples.has_missing(value))


def may_be_missing(tensor: Tensor) -> bool:
    """Check whether the type of an input can have missing values; numpy's whole numbers and booleans cannot."""
    return tensor.column_type is not None or not tensor.dtype.startswith(("int", "uint", "bool"))


def _can_be_asked(example: Any) -> bool:
    if examples.is_frame(example):
        return True
    with_rows = [one for name, one in examples.arrays(example).items() if name not in examples.whole_in(example)]
    return all(not isinstance(one, PlainArray) and hasattr(one, "dtype") and one.ndim for one in with_rows)


def _parts(group: list[Tensor]) -> list[list[Tensor]]:
    """Split a group that the model does not answer: by type, else into halves."""
    kinds: dict[str, list[Tensor]] = {}
    for one in group:
        kinds.setdefault("category" if one.levels else one.dtype.partition("[")[0].rstrip("0123456789"), []).append(one)
    if len(kinds) > 1:
        return list(kinds.values())
    half = len(group) // 2
    return [group[:half], group[half:]] if half else []


def _with_gaps(example: Any, group: Sequence[Tensor]) -> Any:
    """Copy one row of the example several times, so that each input of the group is missing once."""
    if examples.is_frame(example):
        return _table_with_gaps(example, {one.name: place for place, one in enumerate(group)}, len(group))
    import numpy as np

    named = examples.arrays(example)
    gaps = {one.name: math.nan if one.missing == "nan" or one.dtype.startswith("float") else None for one in group}
    sizes = [math.prod(named[one.name].shape[1:]) for one in group]
    rows = min(max(sizes), MOST_ROWS)
    whole = examples.whole_in(example)
    made = {name: value if name in whole else np.repeat(value[:1], rows, axis=0) for name, value in named.items()}
    for name, gap in gaps.items():
        flat = made[name].reshape(rows, -1)
        for place in range(flat.shape[1]):
            flat[place % rows, place] = gap
    return made if examples.is_named(example) else made["input"]


def _table_with_gaps(table: Any, places: Mapping[str, int], wanted: int) -> Any:
    rows = min(wanted, MOST_ROWS)
    complete = table.notna().all(axis=1).to_numpy().tolist()
    row = complete.index(True) if True in complete else 0
    copies = table.iloc[[row] * rows].reset_index(drop=True)
    made = {name: copies[name] for name in table.columns}
    for name in table.columns:
        if str(name) not in places:
            continue
        place = places[str(name)] % rows
        if str(copies[name].dtype).startswith("float"):
            made[name] = copies[name].to_numpy(copy=True)
            made[name][place] = math.nan
        else:
            listed = cells.column(copies[name])
            listed[place] = None
            made[name] = columns.made(columns.describe(str(name), table[name]), listed)
    return type(table)(made)


def _has_gap(value: Any) -> bool:
    """Check whether an answer of any kind has a missing value."""
    if examples.is_named(value):
        return any(map(_has_gap, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_gap, cast("Sequence[Any]", value)))
    found: Any = value
    if hasattr(found, "isna"):
        return bool(found.isna().to_numpy().any())
    array: Any = examples.as_array(found) if hasattr(found, "detach") or hasattr(found, "toarray") else found
    kind = getattr(getattr(array, "dtype", None), "kind", "")
    if kind:
        return columns.any_number(array, "isnan") if kind == "f" else kind == "O" and _has_gap(array.tolist())
    return bool(found is None or (isinstance(found, float) and math.isnan(found)))
